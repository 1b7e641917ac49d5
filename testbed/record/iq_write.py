"""Recording samples: one folder a run, in it one SigMF recording for each node and direction.

    iq/node-0-rx.sigmf-data, .sigmf-meta    what node 0 heard
    iq/node-0-tx.sigmf-data, .sigmf-meta    what it sent, one period of each transmission

While it grows a recording has no `.sigmf-meta` but a journal, one line a capture, written after the capture's
samples: whatever kills the writer, all captures that are in the journal are whole. A node that begins again takes
new files, `node-0-rx-2` and so on.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from testbed.errors import RecordError
from testbed.radio.base import Capture, RadioSettings, Samples
from testbed.radio.tape import Occasion
from testbed.record.sigmf import (
    DATA,
    META,
    Direction,
    Entry,
    Header,
    SampleFormat,
    encode_samples,
    metadata,
    sample_bytes,
)
from testbed.record.space import FLOOR_BYTES, replace, require

JOURNAL: Final = ".journal"


class IqRecorder:
    """What node `node` hears and sends, into SigMF recordings in `folder`; implements `testbed.radio.tape.Recorder`.

    Args:
        folder: made if missing.
        node: number of the node.
        sample_format: "ci16" or "cf32".
        hardware: address of its radio.

    Raises:
        RecordError: the folder cannot be made.
    """

    def __init__(self, folder: Path, node: int, sample_format: SampleFormat, hardware: str) -> None:
        self._folder = folder
        self._node = node
        self._format: SampleFormat = sample_format
        self._hardware = hardware
        self._strips: dict[Direction, Strip] = {}
        with _failing(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def heard(self, occasion: Occasion | None, capture: Capture) -> None:
        """Record a capture.

        Raises:
            RecordError: the disk is full or fails, or the sample rate is not that of the captures before.
        """
        strip = self._strip("rx", capture.sample_rate_hz)
        strip.append(capture.samples, capture.centre_hz, capture.gain_db, capture.time_s, capture.overflow, occasion)

    def sent(self, occasion: Occasion | None, samples: Samples, settings: RadioSettings) -> None:
        """Record one period of a transmission; errors as of `heard`."""
        strip = self._strip("tx", settings.sample_rate_hz)
        strip.append(samples, settings.centre_hz, settings.transmit_gain_db, None, False, occasion)

    def close(self) -> None:
        """Write the descriptions; RecordError when that fails."""
        while self._strips:
            _, strip = self._strips.popitem()
            strip.close()

    def __enter__(self) -> Self:
        """The recorder itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the descriptions."""
        self.close()

    def _strip(self, direction: Direction, rate_hz: float) -> Strip:
        strip = self._strips.get(direction)
        if strip is None:
            header = Header(self._node, direction, self._format, rate_hz, self._hardware)
            strip = self._strips[direction] = Strip(self._folder, header)
        if strip.header.sample_rate_hz != rate_hz:
            raise RecordError(
                f"node {self._node}: sample rate {rate_hz} Hz after {strip.header.sample_rate_hz} Hz; a recording "
                "holds one rate: record each rate in a run of its own"
            )
        return strip


class Strip:
    """One recording that grows."""

    def __init__(self, folder: Path, header: Header) -> None:
        self.header = header
        self._samples = 0
        with _failing(folder):
            self._stem, self._data = _new_files(folder, f"node-{header.node}-{header.direction}")
            self._journal = _with(self._stem, JOURNAL).open("xb", buffering=0)
            _write(self._journal, msgspec.json.encode(header) + b"\n")

    def append(
        self,
        samples: Samples,
        centre_hz: float,
        gain_db: float,
        time_s: float | None,
        overflow: bool,
        occasion: Occasion | None,
    ) -> None:
        """Samples first, then the line that makes them count."""
        raw = encode_samples(samples, self.header.sample_format)
        entry = Entry(self._samples, samples.size, centre_hz, gain_db, time_s, overflow, occasion)
        require(self._stem.parent, FLOOR_BYTES + len(raw))
        with _failing(self._stem.parent):
            _write(self._data, raw)
            _write(self._journal, msgspec.json.encode(entry) + b"\n")
        self._samples += samples.size

    def close(self) -> None:
        """Describe what was recorded."""
        self._data.close()
        self._journal.close()
        finish_strip(self._stem)


def finish_iq(folder: Path) -> None:
    """Describe the recordings of `folder` whose writers are gone; nothing happens where there are none.

    Raises:
        RecordError: a journal is damaged, or the description cannot be written.
    """
    for journal in sorted(folder.glob(f"*{JOURNAL}")):
        finish_strip(journal.with_suffix(""))


def finish_strip(stem: Path) -> None:
    """Cut off what is not in the journal, write the description, and remove the journal."""
    header, entries = read_journal(_with(stem, JOURNAL))
    whole = sum(entry.count for entry in entries) * sample_bytes(header.sample_format)
    data = _with(stem, DATA)
    with _failing(stem.parent):
        if data.stat().st_size > whole:
            os.truncate(data, whole)
        with data.open("rb") as file:
            sha512 = hashlib.file_digest(file, "sha512").hexdigest()
    replace(_with(stem, META), msgspec.json.format(msgspec.json.encode(metadata(header, entries, sha512)), indent=1))
    _with(stem, JOURNAL).unlink()


def read_journal(path: Path) -> tuple[Header, list[Entry]]:
    """Header and whole entries; a torn last line is left out.

    Raises:
        RecordError: it cannot be read, or is damaged.
    """
    with _failing(path):
        first, *rest = path.read_bytes().split(b"\n")
    try:
        lines = [msgspec.json.decode(line, type=Entry) for line in rest[:-1]]
        return msgspec.json.decode(first, type=Header), lines
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"{path}: damaged: {error}; restore it from a copy") from error


def _with(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)


def _new_files(folder: Path, name: str) -> tuple[Path, FileIO]:
    """The first stem that is free, and its data file."""
    for number in itertools.count(1):
        stem = folder / (name if number == 1 else f"{name}-{number}")
        with contextlib.suppress(FileExistsError):
            return stem, _with(stem, DATA).open("xb", buffering=0)
    raise AssertionError


def _write(file: FileIO, data: bytes) -> None:
    """All of it: an unbuffered write may stop short."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


@contextlib.contextmanager
def _failing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RecordError(
            f"{path}: samples cannot be recorded: {error.strerror or error}; free some space or choose another --out"
        ) from error
