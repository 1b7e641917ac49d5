"""Speed and memory of reading other people's CSI: whole import, reading alone, and other readers beside it.

Each sample of `measurements/foreign` is repeated to the wanted size. MB are of the source file, seconds are of the
processor, of this process and its children: what a run takes on one core. Peers take turns in one process; the
median of some rounds is printed. csiread reads all into memory, in compiled code; CSIKit, where it is installed, reads
in Python and gets one sample only. Memory is the peak of a process that reads the file, or imports it with --write.

    python benchmarks/foreign.py [--megabytes 100] [--rounds 3] [--only NAME] [--memory [--write]]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testbed.record.foreign.importer import import_files
from testbed.record.foreign.recognise import open_foreign

SAMPLES = Path(__file__).parents[1] / "measurements" / "foreign"
HEAD_BYTES = {"nexmon.pcap": 24}
FILES = ("intel5300.dat", "atheros.dat", "nexmon.pcap", "feitcsi_vht80.csi", "picoscenes.csi", "esp32.csv")
Work = Callable[[], Any]


def enlarge(sample: Path, out: Path, megabytes: float) -> int:
    """Repeat the packets of a sample; bytes written, no hole among them."""
    content = sample.read_bytes()
    begin = content.index(b"\n") + 1 if sample.suffix == ".csv" else HEAD_BYTES.get(sample.name, 0)
    body = content[begin:] * max(1, int(4e6 / len(content)))
    with out.open("wb") as file:
        file.write(content[:begin])
        for _ in range(max(1, int(megabytes * 1e6 / len(body)))):
            file.write(body)
    return out.stat().st_size


def read_only(path: Path) -> None:
    """All packets, one chunk after another, kept nowhere."""
    for _ in open_foreign(path).chunks():
        pass


def csiread_of(path: Path) -> dict[str, Work]:
    """The reader of csiread, where it has one and is installed; the one for ESP32 reads tables in Python."""
    with contextlib.suppress(ImportError):
        import csiread

        name = str(path)
        made: dict[str, Work] = {
            "intel5300.dat": lambda: csiread.Intel(name, nrxnum=3, ntxnum=2, if_report=False).read(),
            "atheros.dat": lambda: csiread.Atheros(name, nrxnum=3, ntxnum=2, tones=56, if_report=False).read(),
            "nexmon.pcap": lambda: csiread.NexmonPull46(name, chip="43455c0", bw=80, if_report=False).read(),
        }
        return {"csiread": made[path.name]} if path.name in made else {}
    return {}


def csikit_of(name: str) -> Work | None:
    """CSIKit on the sample itself, where it is installed."""
    try:
        from CSIKit.reader import get_reader
    except ImportError:
        return None
    path = str(SAMPLES / name)

    def work() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            get_reader(path).read_file(path)

    return work


def seconds(work: Work) -> float:
    """Processor time, children included."""
    before = os.times()
    work()
    after = os.times()
    return sum(after[:4]) - sum(before[:4])


def measure(path: Path, size: int, rounds: int) -> None:
    """Print the rates of one file."""
    out = path.with_suffix(".nc")
    works = {"import": lambda: import_files([path], out), "read": lambda: read_only(path), **csiread_of(path)}
    for work in (works["read"], *csiread_of(path).values()):
        work()  # compiled, and in the page cache
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            out.unlink(missing_ok=True)
            taken[name].append(seconds(work))
    rates = {name: size / statistics.median(t) / 1e6 for name, t in taken.items()}
    with contextlib.suppress(Exception):  # it fails on some files by itself
        if (kit := csikit_of(path.name)) is not None:
            rates["CSIKit"] = (SAMPLES / path.name).stat().st_size / seconds(kit) / 1e6
    words = "  ".join(f"{name} {rate:6.1f}" for name, rate in rates.items())
    print(f"{path.name:20s} {size / 1e6:6.0f} MB   MB/s: {words}", flush=True)
    out.unlink(missing_ok=True)


def peak_mb(path: Path, out: Path | None) -> float:
    """Peak resident memory of a process that imports the file, MB; without `out` it reads and counts."""
    code = (
        "import sys, resource; from pathlib import Path; from testbed.record.foreign.importer import import_files; "
        "import_files([Path(sys.argv[1])], Path(sys.argv[2]) if sys.argv[2] else None); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    words = [sys.executable, "-c", code, str(path), str(out or "")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="peak memory instead of speed")
    parser.add_argument(
        "--write", action="store_true", help="with --memory: write the NetCDF file too, 1 … 5 times as large"
    )
    parser.add_argument("--only", default="", help="part of a sample's name")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        for name in (n for n in FILES if options.only in n):
            path = Path(folder) / name
            size = enlarge(SAMPLES / name, path, options.megabytes)
            if options.memory:
                begin = time.perf_counter()
                peak = peak_mb(path, path.with_suffix(".nc") if options.write else None)
                took = time.perf_counter() - begin
                print(f"{name:20s} {size / 1e6:6.0f} MB  peak {peak:4.0f} MB  {took:5.1f} s", flush=True)
                path.with_suffix(".nc").unlink(missing_ok=True)
            else:
                measure(path, size, options.rounds)
            path.unlink()


if __name__ == "__main__":
    main()
