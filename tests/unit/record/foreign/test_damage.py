"""Damaged files of every format: an error or skipped packets, never a crash, a hang, or wrong numbers passed as right.

A changed byte inside the numbers of a packet cannot be noticed in formats without checksums: then as many numbers may
differ as bytes were changed. Bytes that are missing or too many shift all that follow, and must be noticed.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from testbed.errors import RecordError
from testbed.record.foreign.hdf5_session import SESSION
from tests.unit.record.foreign.reading import CONTAINERS, SAMPLES, ends, read, write, write_container

Rng = np.random.Generator
Sizes = set[int]
Mutation = Callable[[bytearray, Rng, Sizes], int]
FORMATS = ("intel5300.dat", "atheros.dat", "nexmon.pcap", "feitcsi_vht80.csi", "esp32.csv", "picoscenes.csi")
JOINTS = {"esp32.csv": (2, 2), "nexmon.pcap": (2, 0), "picoscenes.csi": (2, 2)}
BYTES = 12_000
GROWTH_KB, TAIL_BYTES = 300_000, 8


def stretch(rng: Rng, sizes: Sizes) -> int:
    """A number of bytes, but not that of whole packets, or a few less.

    Without checksums nobody sees where two halves were joined, nor whether the few bytes that are left at the end of
    the file begin another packet.
    """
    while True:
        size = int(rng.integers(1, 2000))
        if all(0 < size % whole < whole - TAIL_BYTES for whole in sizes):
            return size


def changed(data: bytearray, rng: Rng, sizes: Sizes) -> int:
    """Some bytes overwritten; how many numbers that may touch."""
    size = int(rng.integers(1, 5))
    at = int(rng.integers(0, len(data) - size))
    data[at : at + size] = rng.integers(0, 256, size, np.uint8).tobytes()
    return 2 * size + 2


def flipped(data: bytearray, rng: Rng, sizes: Sizes) -> int:
    """Single bits anywhere."""
    for at in rng.integers(0, len(data), 3):
        data[at] ^= 1 << int(rng.integers(8))
    return 6


def extreme(data: bytearray, rng: Rng, sizes: Sizes) -> int:
    """All ones or zeros where a length may be."""
    size, at = int(rng.choice([1, 2, 4, 8])), int(rng.integers(0, len(data) - 8))
    data[at : at + size] = bytes([int(rng.choice([0, 255]))]) * size
    return 2 * size + 2


def cut_out(data: bytearray, rng: Rng, sizes: Sizes) -> int:
    """A stretch is missing."""
    at = int(rng.integers(0, len(data)))
    del data[at : at + stretch(rng, sizes)]
    return 0


def put_in(data: bytearray, rng: Rng, sizes: Sizes) -> int:
    """A stretch is too many."""
    at = int(rng.integers(0, len(data)))
    data[at:at] = rng.integers(0, 256, int(rng.integers(30, 400)), np.uint8).tobytes()
    return 0


def ended(data: bytearray, rng: Rng, sizes: Sizes) -> int:
    """The file ends early."""
    del data[int(rng.integers(0, len(data))) :]
    return 0


def repeated(data: bytearray, rng: Rng, sizes: Sizes) -> int:
    """A stretch is there twice."""
    size = stretch(rng, sizes)
    begin, away = int(rng.integers(0, max(1, len(data) - size))), stretch(rng, sizes)
    data[begin + away : begin + away] = data[begin : begin + size]
    return 0


MUTATIONS: tuple[Mutation, ...] = (changed, flipped, extreme, cut_out, put_in, ended, repeated)


def whole_packets(name: str) -> tuple[bytes, Sizes]:
    """The first packets of an excerpt, and how many bytes one has."""
    content = (SAMPLES / name).read_bytes()
    borders = [end for end in ends(name, content) if end <= BYTES]
    return content[: borders[-1]], set(np.diff(borders).tolist()) if not name.endswith("csv") else set()


def numbers(path: Path) -> Iterator[Counter[complex]]:
    """The numbers of each packet that are not 0, in no order."""
    for packet in read(path).raw:
        yield Counter(packet[packet != 0].tolist())


def strangers(
    packet: Counter[complex], known: list[Counter[complex]], index: dict[complex, set[int]], joined: int
) -> int:
    """How many numbers are of none of the original packets that are nearest, of which so many may be joined in one."""
    votes = Counter(n for value in list(packet) for n in index.get(value, ()))
    left = packet
    for _ in range(joined):
        near = [n for n, _ in votes.most_common(3)]
        left = min((left - known[n] for n in near), key=Counter.total, default=left)
        votes = Counter(n for value in list(left) for n in index.get(value, ()))
    return left.total()


def spoil(folder: Path, content: bytes, sizes: Sizes, rng: Rng, trials: int, joined: int = 1, torn: int = 0) -> int:
    """Read mutations of a file; how many packets came out of them. Fails on numbers from nowhere, and on memory.

    Two originals may be `joined` in one packet, and numbers at the joint `torn`, where nobody could tell: lines of text
    have no fixed length, frames of several lengths may fit to the byte, and datagrams of cores and streams make one
    packet if they say so.
    """
    known = list(numbers(write(folder, content)))
    index: dict[complex, set[int]] = {}
    for n, packet in enumerate(known):
        for value in packet:
            index.setdefault(value, set()).add(n)
    before, packets = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    for trial in range(trials):
        data, mutation = bytearray(content), MUTATIONS[trial % len(MUTATIONS)]
        allowed = mutation(data, rng, sizes)
        try:
            found = list(numbers(write(folder, bytes(data))))
        except RecordError:
            continue
        packets += len(found)
        for packet in found:
            unknown = strangers(packet, known, index, joined)
            assert unknown <= allowed + torn, (trial, mutation.__name__)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH_KB
    return packets


@pytest.fixture
def trials(request: pytest.FixtureRequest) -> int:
    return 10_000 if request.config.getoption("--long") else 140


@pytest.mark.parametrize("name", FORMATS)
def test_mutated_recordings(tmp_path: Path, rng: Rng, trials: int, name: str) -> None:
    content, sizes = whole_packets(name)
    assert spoil(tmp_path, content, sizes, rng, trials, *JOINTS.get(name, (1, 0))) > 0


@pytest.mark.parametrize("kind", CONTAINERS)
def test_mutated_arrays(tmp_path: Path, rng: Rng, trials: int, kind: str) -> None:
    h = (rng.integers(-999, 999, (9, 2, 13)) + 1j * rng.integers(-999, 999, (9, 2, 13))).astype(np.complex64)
    arrays = {
        "h": h,
        "time": np.arange(9) * 0.1,
        "frequency_hz": np.arange(-6, 7) * 15e3,
        "rssi_dbm": -40 - rng.random((9, 2)),
    }
    content = write_container(tmp_path / "arrays", kind, arrays).read_bytes()
    with SESSION.used():
        spoil(tmp_path, content, set(), rng, trials // 4 if kind == "hdf5" and trials < 1000 else trials)
