"""Running the cells of a sweep in worker processes: finished ones never again, crashing ones three times."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import LinkError
from testbed.sweep.cell import Cell, CellSettings, Figures, run_cell
from testbed.sweep.pools import Pool, cluster_pool, local_pool
from testbed.sweep.spec import expand, load_sweep
from testbed.sweep.table import CellTable, Row, open_table

AHEAD = 2
"""Cells handed out for each worker, so that none waits for the next."""

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
    cluster: str | None = None,
) -> SweepResult:
    """Runs what is left of the sweep in `path`, into `out`/NAME.sqlite.

    Figures do not depend on the number of workers, nor on the order, nor on whether they are processes of this
    machine or of the Dask cluster at `cluster`.

    Raises:
        CampaignError, ModelError: a cell that cannot be run, before any is.
        RecordError: the table cannot be read.
        LinkError: the cluster cannot be reached, or has gone.
    """
    sweep = load_sweep(path)
    return run_cells(expand(sweep, path.parent), out / f"{sweep.name}.sqlite", workers, progress, cluster=cluster)


def run_cells(
    cells: Sequence[Cell],
    table_path: Path,
    workers: int = 1,
    progress: Callable[[Progress], None] = lambda _: None,
    work: Work = run_cell,
    cluster: str | None = None,
) -> SweepResult:
    """Runs those `cells` that the table does not hold as done or failed; each in a worker process by `work`.

    The workers are `workers` processes of this machine, or those of the Dask scheduler at the address `cluster`.

    Raises:
        RecordError: the table cannot be read.
        LinkError: the cluster cannot be reached, or has gone.
    """
    start = time.monotonic()
    unique = {cell.key: cell for cell in cells}
    with open_table(table_path) as table:
        table.add(list(unique.values()))
        before = table.rows(list(unique))
        left = [unique[row.key] for row in before if row.status == "open"]
        found = sum(row.status == "done" for row in before)
        state = _State(table, found, sum(row.status == "failed" for row in before), len(unique), progress)
        with cluster_pool(cluster) if cluster and left else nullcontext(local_pool(workers)) as pool:
            _drain(left, pool, work, state)
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


def _drain(cells: Sequence[Cell], pool: Pool, work: Work, state: _State) -> None:
    """All cells; those in flight when a worker dies are suspects, and run again one at a time."""
    queue = deque(cells)
    while queue:
        suspects = _pooled(queue, pool, pool.workers, work, state)
        while suspects:
            alone = deque([suspects.popleft()])
            while alone:
                for cell in _pooled(alone, pool, 1, work, state):
                    if state.crash(cell, RuntimeError("the worker process died")):
                        alone.append(cell)


def _pooled(queue: deque[Cell], pool: Pool, workers: int, work: Work, state: _State) -> deque[Cell]:
    """Runs the queue on so many workers, as long as none dies; the cells that were in flight when one did."""
    flying: dict[Future[tuple[Figures, float]], Cell] = {}
    suspects: deque[Cell] = deque()
    with pool.open(min(workers, max(len(queue), 1))) as executor:
        while flying or (queue and not suspects):
            while queue and not suspects and len(flying) < AHEAD * workers:
                try:
                    future = executor.submit(_timed, work, queue[0].campaign, queue[0].settings)
                except pool.died:
                    suspects.append(queue.popleft())
                    break
                flying[future] = queue.popleft()
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                cell = flying.pop(future)
                error = _error(future)
                if error is None:
                    state.finish(cell, *future.result())
                elif isinstance(error, pool.died):
                    suspects.append(cell)
                elif state.crash(cell, error):
                    queue.append(cell)
    return suspects


def _error(future: Future[tuple[Figures, float]]) -> BaseException | None:
    """How a cell ended; LinkError where it never will, because the cluster is gone."""
    try:
        return future.exception()
    except CancelledError as error:
        raise LinkError("the cluster has gone away; finished cells are kept, run the sweep again") from error


def _timed(work: Work, campaign: str, settings: CellSettings) -> tuple[Figures, float]:
    start = time.monotonic()
    return work(campaign, settings), time.monotonic() - start
