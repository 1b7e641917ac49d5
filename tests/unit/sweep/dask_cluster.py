"""A real Dask scheduler with workers, each a process under a nanny, for the tests beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

WAIT_S = 90.0


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[str]:
    """Its address; leaving the block ends all its processes."""
    settings = os.environ | {
        "PYTHONPATH": os.getcwd(),
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
        "DASK_TEMPORARY_DIRECTORY": str(folder),
    }
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> None:
        with (folder / f"dask-{len(started)}.log").open("wb") as log:
            command = [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]]
            started.append(subprocess.Popen(command, env=settings, stdout=log, stderr=log, cwd=folder))

    try:
        told = folder / "scheduler.json"
        start("dask_scheduler", "--host=127.0.0.1", "--port=0", "--no-dashboard", f"--scheduler-file={told}")
        deadline = time.monotonic() + WAIT_S
        while not told.exists() or not told.read_text(encoding="utf-8").endswith("}"):
            assert time.monotonic() < deadline, (folder / "dask-0.log").read_text(encoding="utf-8")
            time.sleep(0.05)
        address = told.read_text(encoding="utf-8").split('"address": "')[1].split('"')[0]
        for k in range(workers):
            start("dask_worker", address, "--nthreads=1", "--no-dashboard", f"--name={k}", "--host=127.0.0.1")
        yield address
    finally:
        _end(started)


def _end(started: list[subprocess.Popen[bytes]]) -> None:
    family = [p for one in started if one.poll() is None for p in psutil.Process(one.pid).children(recursive=True)]
    for one in reversed(started):
        one.terminate()
    for one in started:
        try:
            one.wait(10)
        except subprocess.TimeoutExpired:
            one.kill()
            one.wait()
    for orphan in family:
        if orphan.is_running():
            orphan.kill()
    psutil.wait_procs(family, timeout=10)
