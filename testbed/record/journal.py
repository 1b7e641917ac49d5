"""The journal: every round as it came, appended to one file; what a running or killed run is read from.

HDF5 changes its metadata in place, and a process killed between two memory pages of such a write leaves an object
that no reader can open, with all rounds behind it. (Seen: once in some 200 kills.) So each round goes here first, and
is safe when it is here. Nothing in this file is ever written twice, and a kill can only leave its end unfinished.
Another process makes the HDF5 file from it (process.py), which removes the journal when that file has been closed.

An entry: "DMoE", lengths of header and body (4 and 8 bytes), CRC-32 of the header, CRC-32 of these 20 bytes, then
header and body of the frame (frame.py). The body's arrays carry checksums of their own.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from testbed.errors import RecordError
from testbed.record.frame import Arrays, Frame, Message, pack

_MAGIC = b"DMoE"
_PREFIX = struct.Struct("<4sIQI")
_CHECK = struct.Struct("<I")
_START = _PREFIX.size + _CHECK.size
_MOST_PARTS = 512


class AppendFile:
    """A file that grows by whole pieces: what could not be written whole is taken back.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, *, new: bool = False) -> None:
        only_new = os.O_EXCL if new else 0
        self._file = os.open(path, os.O_CREAT | only_new | os.O_WRONLY | os.O_APPEND, 0o644)
        self.size = os.fstat(self._file).st_size

    def append(self, parts: Sequence[bytes | memoryview]) -> None:
        """Add a piece, given in parts.

        Raises:
            OSError: it could not be written; the file is as it was.
        """
        try:
            written = _write_all(self._file, parts)
        except BaseException:
            self.cut(self.size)
            raise
        self.size += written

    def cut(self, size: int) -> None:
        """Take back what is beyond `size`, as far as the disk lets us."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, size)
            self.size = size

    def close(self) -> None:
        """No more pieces."""
        os.close(self._file)


def _write_all(file: int, parts: Sequence[bytes | memoryview]) -> int:
    left = [memoryview(part) for part in parts if len(part)]
    size = sum(map(len, left))
    while left:
        written = os.writev(file, left[:_MOST_PARTS])
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]
    return size


def entry(message: Message, arrays: Arrays) -> list[bytes | memoryview]:
    """The bytes of one journal entry, in parts."""
    header, body = pack(message, arrays)
    prefix = _PREFIX.pack(_MAGIC, len(header), sum(map(len, body)), zlib.crc32(header))
    return [prefix, _CHECK.pack(zlib.crc32(prefix)), header, *body]


class JournalReader:
    """Reads a journal from its beginning, and on where it stopped; also one that still grows.

    Raises:
        RecordError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin = 0
        self._number = 0
        try:
            self._file = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error

    def next(self) -> Frame | None:
        """The next frame; None where nothing, or an unfinished one, is there.

        Raises:
            RecordError: an entry is damaged; names its number.
        """
        found = self._prefix()
        if found is None:
            return None
        header_size, body_size, header_crc = found
        header = os.pread(self._file, header_size, self._begin + _START)
        body = os.pread(self._file, body_size, self._begin + _START + header_size)
        if len(header) < header_size or len(body) < body_size:
            return None
        if zlib.crc32(header) != header_crc:
            raise self._damage()
        self._step(header_size + body_size)
        return Frame(header, body)

    def skip(self) -> bool:
        """Pass over the next frame unread; False where no whole one is there.

        Raises:
            RecordError: its beginning is damaged.
        """
        found = self._prefix()
        if found is None or os.fstat(self._file).st_size < self._begin + _START + found[0] + found[1]:
            return False
        self._step(found[0] + found[1])
        return True

    def sync(self) -> None:
        """Push the whole file from memory to the disk."""
        os.fsync(self._file)

    def _prefix(self) -> tuple[int, int, int] | None:
        """Sizes of header and body, and the header's checksum."""
        start = os.pread(self._file, _START, self._begin)
        if len(start) < _START:
            return None
        magic, header, body, crc = _PREFIX.unpack_from(start)
        (check,) = _CHECK.unpack_from(start, _PREFIX.size)
        if magic != _MAGIC or check != zlib.crc32(start[: _PREFIX.size]):
            raise self._damage()
        return header, body, crc

    def _step(self, size: int) -> None:
        self._begin, self._number = self._begin + _START + size, self._number + 1

    def _damage(self) -> RecordError:
        return RecordError(
            f"{self._path}: damaged: entry {self._number}; restore the file from a copy, or keep what lies before it "
            "with: testbed repair"
        )

    def __enter__(self) -> Self:
        """The reader itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        os.close(self._file)


def read_journal(path: Path) -> Iterator[Frame]:
    """All complete frames, one at a time; an unfinished one at the end is left out.

    Raises:
        RecordError: it cannot be read, or an entry is damaged; names its number.
    """
    with JournalReader(path) as reader:
        while (frame := reader.next()) is not None:
            yield frame
