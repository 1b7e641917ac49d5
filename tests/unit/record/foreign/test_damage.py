"""Damaged files of every format: an error or skipped packets, never a crash, a hang, or wrong numbers passed as right.

A changed byte inside the numbers of a packet cannot be noticed in formats without checksums: then as many numbers may
differ as bytes were changed. Bytes that are missing or too many shift all that follow, and must be noticed. Left out
is only what leaves a file that the tool could have written: see `Shape.shows`.

With --long each format is read in 10⁴ forms, in parts.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from testbed.errors import RecordError
from testbed.record.foreign.hdf5_session import SESSION
from tests.unit.record.foreign.reading import CONTAINERS, SAMPLES, ends, read, write, write_container

Rng = np.random.Generator
FORMATS = ("intel5300.dat", "atheros.dat", "nexmon.pcap", "feitcsi_vht80.csi", "esp32.csv", "picoscenes.csi")
JOINTS = {"esp32.csv": (2, 2), "nexmon.pcap": (2, 0)}
# so many bytes of a packet may be anything that a packet can begin with: parts of lengths and of fast counters
TAILS = {"intel5300.dat": 2, "atheros.dat": 6, "nexmon.pcap": 3, "feitcsi_vht80.csi": 3, "picoscenes.csi": 3}
BYTES, GROWTH_KB, LONGEST = 12_000, 300_000, 2000
FULL, PARTS, HDF5_PARTS = 10_000, 10, 40


@dataclass(frozen=True)
class Shape:
    """Bytes of each packet of an excerpt, 0 where they have no fixed length, and what a cut may leave of the next."""

    whole: int = 0
    tail: int = 0

    def shows(self, more: int) -> bool:
        """Whether a packet with so many bytes more (less, if negative) than it had can be told from a sound one.

        It cannot where these are whole packets, since then two halves of packets fit to the byte; nor where so few
        bytes are left over behind it at the end of a file, that they may as well begin a packet that was cut off.
        """
        return not self.whole or more % self.whole > self.tail


Mutation = Callable[[bytearray, Rng, Shape], int]


def changed(data: bytearray, rng: Rng, shape: Shape) -> int:
    """Some bytes overwritten; how many numbers that may touch."""
    size = int(rng.integers(1, 5))
    at = int(rng.integers(0, len(data) - size))
    data[at : at + size] = rng.integers(0, 256, size, np.uint8).tobytes()
    return 2 * size + 2


def flipped(data: bytearray, rng: Rng, shape: Shape) -> int:
    """Single bits anywhere."""
    for at in rng.integers(0, len(data), 3):
        data[at] ^= 1 << int(rng.integers(8))
    return 6


def extreme(data: bytearray, rng: Rng, shape: Shape) -> int:
    """All ones or zeros where a length may be."""
    size, at = int(rng.choice([1, 2, 4, 8])), int(rng.integers(0, len(data) - 8))
    data[at : at + size] = bytes([int(rng.choice([0, 255]))]) * size
    return 2 * size + 2


def cut_out(data: bytearray, rng: Rng, shape: Shape) -> int:
    """A stretch is missing."""
    at, size = int(rng.integers(0, len(data))), int(rng.integers(1, LONGEST))
    while not shape.shows(-size):
        size = int(rng.integers(1, LONGEST))
    del data[at : at + size]
    return 0


def put_in(data: bytearray, rng: Rng, shape: Shape) -> int:
    """A stretch is too many."""
    at = int(rng.integers(0, len(data)))
    data[at:at] = rng.integers(0, 256, int(rng.integers(30, 400)), np.uint8).tobytes()
    return 0


def ended(data: bytearray, rng: Rng, shape: Shape) -> int:
    """The file ends early."""
    del data[int(rng.integers(0, len(data))) :]
    return 0


def repeated(data: bytearray, rng: Rng, shape: Shape) -> int:
    """A stretch is there twice: its copy begins in the middle of a packet, ends in one, and may lie within one."""
    size, away = rng.integers(1, LONGEST, 2).tolist()
    while not all(shape.shows(more) for more in (away, size - away, size)):
        size, away = rng.integers(1, LONGEST, 2).tolist()
    begin = int(rng.integers(0, max(1, len(data) - size)))
    data[begin + away : begin + away] = data[begin : begin + size]
    return 0


MUTATIONS: tuple[Mutation, ...] = (changed, flipped, extreme, cut_out, put_in, ended, repeated)


def whole_packets(name: str) -> tuple[bytes, Shape]:
    """The first packets of an excerpt, and what they are like."""
    content = (SAMPLES / name).read_bytes()
    borders = [end for end in ends(name, content) if end <= BYTES]
    if name not in TAILS:
        return content[: borders[-1]], Shape()
    (whole,) = set(np.diff(borders).tolist())
    return content[: borders[-1]], Shape(whole, TAILS[name])


def numbers(packet: NDArray[np.complex128]) -> Counter[complex]:
    """Those of a packet that are not 0, in no order."""
    return Counter(packet[packet != 0].tolist())


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


def spoil(folder: Path, content: bytes, shape: Shape, rng: Rng, trials: int, joined: int = 1, torn: int = 0) -> int:
    """Read mutations of a file; how many packets came out of them. Fails on numbers from nowhere, and on memory.

    Two originals may be `joined` in one packet, and numbers at the joint `torn`, where nobody could tell: lines of text
    have no fixed length, so that a half of one and a half of another make a line that the tool could have written;
    datagrams of cores and streams make one packet if they say so.
    """
    originals = list(read(write(folder, content)).raw)
    unchanged = {packet.tobytes() for packet in originals}
    known = [numbers(packet) for packet in originals]
    index: dict[complex, set[int]] = {}
    for n, packet in enumerate(known):
        for value in packet:
            index.setdefault(value, set()).add(n)
    before, packets = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    for trial in range(trials):
        data, mutation = bytearray(content), MUTATIONS[trial % len(MUTATIONS)]
        allowed = mutation(data, rng, shape)
        try:
            found = read(write(folder, bytes(data))).raw
        except RecordError:
            continue
        packets += len(found)
        for packet in found:
            if packet.tobytes() in unchanged:
                continue
            unknown = strangers(numbers(packet), known, index, joined)
            assert unknown <= allowed + torn, (trial, mutation.__name__)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH_KB
    return packets


def parts(kinds: Sequence[str]) -> list[Any]:
    """Each kind in short (part −1), and in its parts of the full number."""
    short = [pytest.param(kind, -1, id=kind) for kind in kinds]
    return short + [
        pytest.param(kind, part, id=f"{kind}-long{part}", marks=pytest.mark.long)
        for kind in kinds
        for part in range(HDF5_PARTS if kind == "hdf5" else PARTS)
    ]


def trials(kind: str, part: int) -> int:
    """How many mutations a part has."""
    short, many = (35, HDF5_PARTS) if kind == "hdf5" else (140, PARTS)
    return short if part < 0 else FULL // many


@pytest.fixture
def draw(seed: int, part: int) -> Rng:
    """Other mutations in each part."""
    return np.random.default_rng(seed if part < 0 else [seed, part])


@pytest.mark.parametrize(("name", "part"), parts(FORMATS))
def test_mutated_recordings(tmp_path: Path, draw: Rng, name: str, part: int) -> None:
    content, shape = whole_packets(name)
    assert spoil(tmp_path, content, shape, draw, trials(name, part), *JOINTS.get(name, (1, 0))) > 0


@pytest.mark.parametrize(("kind", "part"), parts(CONTAINERS))
def test_mutated_arrays(tmp_path: Path, draw: Rng, kind: str, part: int) -> None:
    h = (draw.integers(-999, 999, (9, 2, 13)) + 1j * draw.integers(-999, 999, (9, 2, 13))).astype(np.complex64)
    arrays = {
        "h": h,
        "time": np.arange(9) * 0.1,
        "frequency_hz": np.arange(-6, 7) * 15e3,
        "rssi_dbm": -40 - draw.random((9, 2)),
    }
    content = write_container(tmp_path / "arrays", kind, arrays).read_bytes()
    with SESSION.used():
        spoil(tmp_path, content, Shape(), draw, trials(kind, part))
