"""Who runs the cells: processes of this machine, or a Dask cluster. Either is a `concurrent.futures` executor.

Workers compute with one BLAS thread each: faster for small matrices, and sums in the same order everywhere. Local
ones are started so; a Dask worker is by the nanny that starts it.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any

from testbed.errors import LinkError

THREAD_LIMITS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
JOIN_S = 60
"""How long a cluster may take to answer and to have a worker."""


@dataclass(frozen=True)
class Pool:
    """Workers for cells.

    Attributes:
        workers: cells that can run at the same time.
        open: so many workers at most, for the time of a `with` block.
        died: what a future ends with when a process died that was to run it.
    """

    workers: int
    open: Callable[[int], AbstractContextManager[Executor]]
    died: tuple[type[BaseException], ...]


def local_pool(workers: int) -> Pool:
    """Processes of this machine."""
    return Pool(workers, _processes, (BrokenProcessPool,))


@contextmanager
def cluster_pool(address: str) -> Iterator[Pool]:
    """The workers of the Dask scheduler at `address`; extra `cluster`.

    A cell whose worker dies is tried again by the scheduler, `distributed.scheduler.allowed-failures` times, before
    it counts as one crash here.

    Raises:
        LinkError: `distributed` is not installed, or nobody answers, or there is no worker.
    """
    try:
        from distributed import Client, KilledWorker
    except ImportError as error:
        raise LinkError("a cluster needs the package `distributed`: pip install 'dmoe-testbed[cluster]'") from error
    try:
        client = Client(address, timeout=JOIN_S, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise LinkError(f"cluster {address}: {error}; is a `dask scheduler` there?") from error
    with client:
        yield Pool(_workers(client, address), lambda workers: _cluster(client), (KilledWorker,))


def _workers(client: Any, address: str) -> int:  # noqa: ANN401
    """Cells that the cluster can run at the same time."""
    try:
        client.wait_for_workers(1, timeout=JOIN_S)
    except TimeoutError as error:
        raise LinkError(f"cluster {address} has no worker; start some with `dask worker {address}`") from error
    return sum(client.nthreads().values())


@contextmanager
def _cluster(client: Any) -> Iterator[Executor]:  # noqa: ANN401
    executor: Executor = client.get_executor(pure=False)
    try:
        yield executor
    finally:
        executor.shutdown(wait=False)


@contextmanager
def _processes(workers: int) -> Iterator[Executor]:
    """Worker processes that leave when the block is left early, and when this process dies."""
    context = multiprocessing.get_context("spawn")
    with _one_thread_each():
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


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started within the block begin with one BLAS thread each."""
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
