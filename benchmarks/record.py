"""Recording: milliseconds a round until it is safe, beside plainer ways that promise less; reading, and the report.

    python benchmarks/record.py [--rounds 200] [--json FILE]

A round has channel estimates, noise and SNR of K × K links, 16 tokens a node and everything else of the schema.
"testbed" checks, checksums and appends it to the journal, while the writer process makes HDF5 of the rounds before
it; "HDF5 behind" is how long that still takes after the last round. The peers write the same three channel arrays and
nothing else, in this process: "h5py SWMR" flushes each round and counts it; "h5py default" only flushes at the end (a
kill loses everything); "raw" appends to an unbuffered file. They take turns; medians and 99th percentiles of wall
time. "empty loop" is what the machine itself does to a millisecond of work. The report is timed in seconds of
processor time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np

from testbed.outcome import Energy, Measured, RoundRecord, Traffic
from testbed.record.folder import create_run
from testbed.record.read import read_run
from testbed.record.report import write_report
from testbed.record.rows import RecordShape
from testbed.record.writer import RunWriter

SIZES = {"K = 4, U = 200": (4, 200), "K = 8, U = 512": (8, 512), "K = 8, U = 1024": (8, 1024)}
LAYERS = 4
Append = Callable[[RoundRecord], object]


def make_shape(K: int, U: int) -> RecordShape:
    """One contiguous band, every tone a data tone."""
    tones = (np.arange(U) - U / 2) * 15e3
    return RecordShape(K, LAYERS, tones, tones, 2.412e9, 15e3)


def make_round(K: int, U: int, number: int, rng: np.random.Generator) -> RoundRecord:
    """Random values of the right shapes."""
    N, link = 16 * K, (K, K)
    h = rng.standard_normal((*link, U, 2), np.float32).view(np.complex64)[..., 0]
    power = np.abs(h) ** 2
    measured = Measured(
        h, np.full_like(power, 1e-3), 1e3 * power, ~np.eye(K, dtype=bool), rng.normal(0, 100, link),
        rng.normal(0, 1, link), np.zeros(link, bool),
    )  # fmt: skip
    energy = Energy(rng.random(K), rng.random(link), rng.random(link), 0.1)
    counts = rng.integers(0, 20, link)
    traffic = Traffic(counts + 1, counts // 10, counts // 20, counts % 4, rng.integers(-1, K * K, U), 0.1)
    flags = rng.random(N) < 0.1
    return RoundRecord(
        number, number % LAYERS, np.ones(K, bool), measured, np.repeat(np.arange(K), 16),
        rng.dirichlet(np.ones(K), N), rng.random((N, K)) < 0.4, flags, flags, flags, 0.5, energy, energy, 1.0,
        "converged", traffic, traffic, h[0, 1], (0, 1), {"sound": 0.1, "forward": 0.4}, (),
    )  # fmt: skip


class PlainHdf5:
    """The channel arrays in one file of this process, flushed each round or at the end only."""

    def __init__(self, path: Path, shape: RecordShape, safe: bool) -> None:
        self.file = h5py.File(path, "w", libver="latest")
        self.safe, self.rows = safe, 0
        tail = (shape.nodes, shape.nodes, len(shape.frequency_hz))
        self.data = {
            name: self.file.create_dataset(name, (0, *tail), kind, chunks=(1, *tail), maxshape=(None, *tail))
            for name, kind in (("h", "c8"), ("noise", "f4"), ("snr", "f4"))
        }
        self.counter = self.file.create_dataset("committed", data=0)
        if safe:
            self.file.swmr_mode = True

    def append(self, record: RoundRecord) -> None:
        """One round."""
        for name, dataset in self.data.items():
            dataset.resize(self.rows + 1, axis=0)
            dataset[self.rows] = getattr(record.measured, name)
        self.rows += 1
        if self.safe:
            self.file.flush()
            self.counter[()] = self.rows
            self.counter.flush()


def raw_append(path: Path) -> Append:
    """Bytes of the channel arrays at the end of a file."""
    file = path.open("ab", buffering=0)
    return lambda record: [
        file.write(a.tobytes()) for a in (record.measured.h, record.measured.noise, record.measured.snr)
    ]


def timed(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of one call."""
    start = clock()
    work()
    return clock() - start


def measure(K: int, U: int, rounds: int, folder: Path) -> dict[str, float]:
    """All ways in turn, round by round; then reading and the report of the testbed's run."""
    rng = np.random.default_rng(20250317)
    shape, made = make_shape(K, U), [make_round(K, U, n, rng) for n in range(8)]
    run = create_run(folder, "benchmark", 0, "", [], datetime.now(UTC))
    swmr, default = PlainHdf5(folder / "swmr.h5", shape, True), PlainHdf5(folder / "default.h5", shape, False)
    with RunWriter(run, shape) as writer:
        start = timed(lambda: writer.append(made[0]))
        ways: dict[str, Append] = {
            "testbed": writer.append,
            "h5py SWMR": swmr.append,
            "h5py default": default.append,
            "raw": raw_append(folder / "raw.bin"),
            "empty loop": lambda record: sum(range(30_000)),
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds):
            for name, append in ways.items():
                record = made[number % len(made)]
                taken[name].append(1e3 * timed(lambda append=append, record=record: append(record)))
        behind = timed(lambda: writer.finish(None))
    result = {"round, MB": sum(getattr(made[0].measured, a).nbytes for a in ("h", "noise", "snr")) / 1e6}
    for name, times in taken.items():
        result[f"{name}, median ms"] = statistics.median(times)
        result[f"{name}, 99 % ms"] = float(np.percentile(times, 99))
    result["first round with start, s"] = start
    result["HDF5 behind, with closing, s"] = behind
    result["reading with checksums, ms a round"] = 1e3 * timed(lambda: read_run(run.path)) / (rounds + 1)
    return result


def measure_report(K: int, U: int, folder: Path) -> dict[str, float]:
    """Processor time and size of the report of one pass."""
    rng = np.random.default_rng(20250317)
    run = create_run(folder, "report", 0, "", [], datetime.now(UTC))
    with RunWriter(run, make_shape(K, U)) as writer:
        for number in range(LAYERS):
            writer.append(make_round(K, U, number, rng))
        writer.finish(None)
    write_report(run)
    seconds = timed(lambda: write_report(run), time.process_time)
    return {"report, CPU s": seconds, "report, MB": run.report.stat().st_size / 1e6}


def main() -> None:
    """Print the table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = {}
    for name, (K, U) in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            results[name] = measure(K, U, arguments.rounds, Path(folder)) | measure_report(K, U, Path(folder))
    width = max(len(row) for row in results[name])
    print(" " * width, *(f"{name:>16}" for name in results))
    for row in results[name]:
        print(f"{row:{width}}", *(f"{result[row]:16.3g}" for result in results.values()))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
