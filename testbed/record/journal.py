"""The journal: every round as it came, appended to one file; what a killed run is read from.

HDF5 changes its metadata in place, and a process killed between two memory pages of such a write leaves an object
that no reader can open, with all rounds behind it. (Seen: once in some 200 kills.) So each round goes here first.
Nothing in this file is ever written twice, and a kill can only leave its end unfinished. It is removed when the
HDF5 file has been closed.

An entry: "DMoE", lengths of header and body (4 and 8 bytes), CRC-32 of the header, CRC-32 of these 20 bytes, then
header and body of the frame (pipe.py). The body's arrays carry checksums of their own.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from testbed.errors import RecordError
from testbed.record.pipe import Frame

_MAGIC = b"DMoE"
_PREFIX = struct.Struct("<4sIQI")
_CHECK = struct.Struct("<I")


class Journal:
    """An open journal, for its one writer.

    Raises:
        OSError: there is one already, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o644)

    def append(self, frame: Frame) -> None:
        """Keep a frame.

        Raises:
            OSError: it could not be written; what was there before still is.
        """
        prefix = _PREFIX.pack(_MAGIC, len(frame.header), len(frame.body), zlib.crc32(frame.header))
        entry = memoryview(b"".join((prefix, _CHECK.pack(zlib.crc32(prefix)), frame.header, frame.body)))
        while entry:
            entry = entry[os.write(self._file, entry) :]

    def sync(self) -> None:
        """Push it from memory to the disk."""
        os.fsync(self._file)

    def remove(self) -> None:
        """Its rounds are safe elsewhere."""
        os.close(self._file)
        self._path.unlink()


def read_journal(path: Path) -> Iterator[Frame]:
    """All complete frames; an unfinished one at the end is left out.

    Raises:
        RecordError: it cannot be read, or an entry is damaged; names its number.
    """
    try:
        content = memoryview(path.read_bytes())
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error
    begin, number = 0, 0
    while len(content) - begin >= _PREFIX.size + _CHECK.size:
        header, body = _lengths(path, number, content[begin:])
        begin += _PREFIX.size + _CHECK.size
        if len(content) - begin < header + body:
            return
        frame = Frame(bytes(content[begin : begin + header]), bytes(content[begin + header : begin + header + body]))
        if zlib.crc32(frame.header) != _PREFIX.unpack_from(content, begin - _PREFIX.size - _CHECK.size)[3]:
            raise _damage(path, number)
        yield frame
        begin, number = begin + header + body, number + 1


def _lengths(path: Path, number: int, entry: memoryview) -> tuple[int, int]:
    magic, header, body, _ = _PREFIX.unpack_from(entry)
    (check,) = _CHECK.unpack_from(entry, _PREFIX.size)
    if magic != _MAGIC or check != zlib.crc32(entry[: _PREFIX.size]):
        raise _damage(path, number)
    return header, body


def _damage(path: Path, number: int) -> RecordError:
    return RecordError(f"{path}: damaged: entry {number}; restore the file from a copy")
