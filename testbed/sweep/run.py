"""Running the cells of a sweep in worker processes: finished ones never again, crashing ones three times."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from testbed.sweep.cell import Cell, CellSettings, Figures, run_cell
from testbed.sweep.spec import expand, load_sweep
from testbed.sweep.table import CellTable, Row, open_table

AHEAD = 2
"""Cells handed out for each worker, so that none waits for the next."""

THREAD_LIMITS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

Work = Callable[[str, CellSettings], Figures]


@dataclass(frozen=True)
class Progress:
    """How far a sweep is: cells done and failed of all, with those of earlier runs; the last error, if any."""

    done: int
    failed: int
    total: int
    error: str | None


@dataclass(frozen=True)
class SweepResult:
    """How a sweep ended.

    Attributes:
        table: the SQLite file; rows: all cells in the order of the sweep.
        ran: cells computed now; found: cells that were finished before; failed: cells given up.
        seconds: wall time.
    """

    table: Path
    rows: list[Row]
    ran: int
    found: int
    failed: int
    seconds: float


def run_sweep(
    path: Path,
    out: Path,
    workers: int = 1,
    progress: Callable[[Progress], None] = lambda _: None,
) -> SweepResult:
    """Runs what is left of the sweep in `path`, into `out`/NAME.sqlite.

    Figures do not depend on the number of workers, nor on the order.

    Raises:
        CampaignError, ModelError: a cell that cannot be run, before any is.
        RecordError: the table cannot be read.
    """
    sweep = load_sweep(path)
    return run_cells(expand(sweep, path.parent), out / f"{sweep.name}.sqlite", workers, progress)


def run_cells(
    cells: Sequence[Cell],
    table_path: Path,
    workers: int = 1,
    progress: Callable[[Progress], None] = lambda _: None,
    work: Work = run_cell,
) -> SweepResult:
    """Runs those `cells` that the table does not hold as done or failed; each in a worker process by `work`."""
    start = time.monotonic()
    unique = {cell.key: cell for cell in cells}
    with open_table(table_path) as table:
        table.add(list(unique.values()))
        before = table.rows(list(unique))
        left = [unique[row.key] for row in before if row.status == "open"]
        found = sum(row.status == "done" for row in before)
        state = _State(table, found, sum(row.status == "failed" for row in before), len(unique), progress)
        with _one_thread_each():
            _drain(left, workers, work, state)
        rows = table.rows([cell.key for cell in cells])
    return SweepResult(table_path, rows, state.done - found, found, state.failed, time.monotonic() - start)


@dataclass
class _State:
    """The books of a running sweep."""

    table: CellTable
    done: int
    failed: int
    total: int
    progress: Callable[[Progress], None]

    def finish(self, cell: Cell, figures: Figures, seconds: float) -> None:
        self.table.finish(cell.key, figures, seconds)
        self.done += 1
        self.progress(Progress(self.done, self.failed, self.total, None))

    def crash(self, cell: Cell, error: BaseException) -> bool:
        text = f"{type(error).__name__}: {error}"
        again = self.table.crash(cell.key, text)
        self.failed += not again
        self.progress(Progress(self.done, self.failed, self.total, text))
        return again


def _drain(cells: Sequence[Cell], workers: int, work: Work, state: _State) -> None:
    """All cells; those in flight when a worker dies are suspects, and run again one at a time."""
    queue = deque(cells)
    while queue:
        suspects = _pooled(queue, workers, work, state)
        while suspects:
            alone = deque([suspects.popleft()])
            while alone:
                died = _pooled(alone, 1, work, state)
                for cell in died:
                    if state.crash(cell, BrokenProcessPool("the worker process died")):
                        alone.append(cell)


def _pooled(queue: deque[Cell], workers: int, work: Work, state: _State) -> deque[Cell]:
    """Runs the queue in one pool; the cells that were in flight when a process of it died."""
    flying: dict[Future[tuple[Figures, float]], Cell] = {}
    with _pool(min(workers, max(len(queue), 1))) as pool:
        while queue or flying:
            try:
                while queue and len(flying) < AHEAD * workers:
                    cell = queue[0]
                    flying[pool.submit(_timed, work, cell.campaign, cell.settings)] = cell
                    queue.popleft()
            except BrokenProcessPool:
                pass
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    return _rest(flying, state)
                cell = flying.pop(future)
                if error is None:
                    state.finish(cell, *future.result())
                elif state.crash(cell, error):
                    queue.append(cell)
    return deque()


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes that leave when the block is left early, and when this process dies."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_with_parent)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _leave_with_parent() -> None:
    """An orphan would wait for cells for ever."""

    def wait_for_parent() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=wait_for_parent, daemon=True).start()


def _rest(flying: dict[Future[tuple[Figures, float]], Cell], state: _State) -> deque[Cell]:
    """After a pool broke: what was finished in time is kept, the rest is suspect."""
    suspects: deque[Cell] = deque()
    for future, cell in flying.items():
        if future.exception() is None:
            state.finish(cell, *future.result())
        else:
            suspects.append(cell)
    return suspects


def _timed(work: Work, campaign: str, settings: CellSettings) -> tuple[Figures, float]:
    start = time.monotonic()
    return work(campaign, settings), time.monotonic() - start


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Workers begin with one BLAS thread each: faster for small matrices, and sums in the same order everywhere."""
    before = {name: os.environ.get(name) for name in THREAD_LIMITS}
    os.environ.update(dict.fromkeys(THREAD_LIMITS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
