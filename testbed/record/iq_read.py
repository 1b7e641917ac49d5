"""Recorded samples read back: descriptions, whole recordings, and the tape that a `replay:` radio hears."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from testbed.errors import RecordError
from testbed.radio.base import Capture, Samples
from testbed.radio.tape import Occasion
from testbed.record.iq_write import JOURNAL, read_journal
from testbed.record.sigmf import DATA, META, Direction, Entry, Header, decode_samples, described, sample_bytes

_DAMAGE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError, TypeError, ValueError)


@dataclass(frozen=True)
class Recording:
    """One SigMF recording of ours: its data file, and what is in it."""

    data: Path
    header: Header
    entries: tuple[Entry, ...]

    def samples(self, entry: Entry) -> Samples:
        """(count,) samples of one entry.

        Raises:
            RecordError: the data end before.
        """
        size = sample_bytes(self.header.sample_format)
        with self.data.open("rb") as file:
            file.seek(entry.start * size)
            raw = file.read(entry.count * size)
        if len(raw) < entry.count * size:
            raise RecordError(f"{self.data}: ends within the capture at sample {entry.start}; restore it from a copy")
        return decode_samples(raw, self.header.sample_format)


def read_recordings(folder: Path, node: int | None = None, direction: Direction | None = None) -> list[Recording]:
    """The recordings of a folder, checked against their sums, in the order they were made.

    Those of a run that was killed are read from their journals.

    Raises:
        RecordError: a description or data file is missing or damaged.
    """
    found = [_read(path) for path in sorted(folder.glob(f"*{META}"), key=_natural)]
    found += [
        Recording(_beside(path, JOURNAL), *_frozen(read_journal(path)))
        for path in sorted(folder.glob(f"*{JOURNAL}"), key=_natural)
    ]
    return [
        one
        for one in found
        if (node is None or one.header.node == node) and (direction is None or one.header.direction == direction)
    ]


def _read(path: Path) -> Recording:
    data = _beside(path, META)
    try:
        meta = msgspec.json.decode(path.read_bytes())
        header, entries = described(meta)
        with data.open("rb") as file:
            found = hashlib.file_digest(file, "sha512").hexdigest()
        expected = meta["global"]["core:sha512"]
    except OSError as error:
        raise RecordError(f"{error.filename}: cannot be read: {error.strerror}; restore it from a copy") from error
    except _DAMAGE as error:
        raise RecordError(f"{path}: not a recording of this program, or damaged: {error}") from error
    if found != expected:
        raise RecordError(f"{data}: differs from its checksum; restore it from a copy")
    return Recording(data, header, tuple(entries))


def _frozen(pair: tuple[Header, list[Entry]]) -> tuple[Header, tuple[Entry, ...]]:
    return pair[0], tuple(pair[1])


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name.removesuffix(suffix) + DATA)


def _natural(path: Path) -> tuple[int, str]:
    """`node-0-rx-10` after `node-0-rx-9`."""
    return len(path.name), path.name


class IqTape:
    """What one node heard; implements `testbed.radio.tape.Tape`."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self._recordings = tuple(recordings)
        self._waiting: dict[Occasion | None, deque[tuple[Recording, Entry]]] = {}
        for recording, entry in self._all():
            self._waiting.setdefault(entry.occasion, deque()).append((recording, entry))

    def tunings(self) -> frozenset[tuple[float, float]]:
        """(sample rate, centre) in Hz of all that was heard."""
        return frozenset((recording.header.sample_rate_hz, entry.centre_hz) for recording, entry in self._all())

    def hear(self, occasion: Occasion | None, count: int) -> Capture:
        """What was heard on an occasion, at each call the next of it.

        Raises:
            RecordError: nothing of the kind was recorded, or not so many samples.
        """
        waiting = self._waiting.get(occasion)
        if not waiting:
            raise RecordError(f"{self._missing(occasion)}; {REMEDY}")
        recording, entry = waiting.popleft()
        if entry.count != count:
            raise RecordError(f"{count} samples are asked for where {entry.count} were recorded; {REMEDY}")
        return Capture(
            samples=recording.samples(entry),
            sample_rate_hz=recording.header.sample_rate_hz,
            centre_hz=entry.centre_hz,
            gain_db=entry.gain_db,
            time_s=entry.time_s or 0.0,
            overflow=entry.overflow,
        )

    def _all(self) -> Iterator[tuple[Recording, Entry]]:
        return ((recording, entry) for recording in self._recordings for entry in recording.entries)

    def _missing(self, occasion: Occasion | None) -> str:
        if occasion is None:
            return "no further capture was recorded"
        words = (
            f"frame {occasion.frame} of round {occasion.round} ({occasion.kind} by node {occasion.source}, "
            f"attempt {occasion.attempt + 1})"
        )
        if any(one is not None and one.frame == occasion.frame for one in self._waiting):
            return f"{words} was another one when it was recorded: this schedule asks for what was not on the air"
        return f"{words} was not recorded at this node"


REMEDY: Final = (
    "replay samples with the campaign they were recorded with; `testbed replay RUN` takes recorded channels through "
    "another schedule"
)
