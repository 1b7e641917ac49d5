"""What a sweep costs beside its cells, and what a second worker gains.

    python benchmarks/sweep.py [--cells 400] [--real 16]

Overhead: wall time a cell of cells that do nothing, once the worker is there: hand-over, SQLite and bookkeeping.
Scaling: cells a second with two workers over one, from the first finished cell to the last; the start of the workers
(interpreter, imports, compiled kernels from disk), which a sweep pays once, is given apart. Beside real cells the same
is measured with cells of matrix products alone, which is what the machine grants two processes at the time: on a busy
one neither comes near 2. Processor time a cell is the same for one worker and two where they do not get in each
other's way.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from testbed.sweep.cell import Cell, CellSettings, Figures, make_cell, run_cell
from testbed.sweep.run import Progress, Work, run_cells
from testbed.sweep.table import Row

SETTINGS: dict[str, object] = {"model.name": "eight", "nodes.count": 8, "nodes.compute_energy_j": 0.4e-9, "passes": 6}


def nothing(campaign: str, settings: CellSettings) -> Figures:
    """A cell without work."""
    return {}


def real(campaign: str, settings: CellSettings) -> Figures:
    """Processor time of a cell."""
    begun = time.process_time()
    run_cell(campaign, settings)
    return {"cpu_s": time.process_time() - begun}


def products(campaign: str, settings: CellSettings) -> Figures:
    """Processor time of matrix products that stay in the core's own cache."""
    begun, square = time.process_time(), np.ones((256, 256), np.float32)
    for _ in range(800):
        square @ square
    return {"cpu_s": time.process_time() - begun}


def timed(cells: list[Cell], workers: int, work: Work) -> tuple[float, float, list[Row]]:
    """Wall seconds until the first cells finished, and cells a second from then on; with the rows."""
    moments = []

    def note(progress: Progress) -> None:
        moments.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        rows = run_cells(cells, Path(folder) / "cells.sqlite", workers, note, work).rows
    return moments[workers - 1] - start, (len(cells) - workers) / (moments[-1] - moments[workers - 1]), rows


def scaling(name: str, cells: list[Cell], work: Work) -> None:
    """One worker and two in turn, and what that says."""
    rate: dict[int, float] = {}
    for workers in (1, 2):
        begin, rate[workers], rows = timed(cells, workers, work)
        cpu = statistics.median(float(str(row.figures["cpu_s"])) for row in rows if row.figures)
        print(f"{name}, {workers}: {rate[workers]:.2f} cells/s after {begin:.1f} s; {cpu:.3f} s of processor a cell")
    print(f"{name}: two workers {rate[2] / rate[1]:.2f} × one")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=400)
    parser.add_argument("--real", type=int, default=16)
    arguments = parser.parse_args()
    empty = [make_cell(None, "", {"seed": seed}) for seed in range(arguments.cells)]
    print(f"overhead: {1e3 / timed(empty, 1, nothing)[1]:.2f} ms a cell (goal 5)")
    cells = [make_cell(None, "", SETTINGS | {"seed": seed}) for seed in range(1, arguments.real + 1)]
    run_cell(cells[0].campaign, cells[0].settings)
    scaling("products", cells, products)
    scaling("real cells", cells, real)


if __name__ == "__main__":
    main()
