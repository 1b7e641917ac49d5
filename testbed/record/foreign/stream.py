"""A file in blocks, so that a large one needs no more memory than a small one."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from testbed.errors import RecordError
from testbed.record.foreign.peek import Bytes

BLOCK_BYTES = 4 << 20
START_BYTES = 1 << 18


def head(path: Path, size: int) -> bytes:
    """First bytes of a file.

    Raises:
        RecordError: it cannot be read, or only once, as a pipe.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            raise RecordError(f"{path}: is a pipe or a device, and would be read more than once; give a file")
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}; give the path of a CSI file") from error


def blocks(path: Path, begin: int = 0, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Contents from `begin` on, in pieces of `size` bytes; no piece is empty.

    Raises:
        RecordError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(begin)
            while piece := file.read(size):
                yield piece
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error


def sha256(path: Path) -> str:
    """SHA-256 of the contents, hexadecimal.

    Raises:
        RecordError: it cannot be read.
    """
    digest = hashlib.sha256()
    for piece in blocks(path):
        digest.update(piece)
    return digest.hexdigest()


class Window:
    """What is read and not yet understood: grows by a block, shrinks by what was consumed."""

    def __init__(self, path: Path, begin: int = 0) -> None:
        self._blocks = blocks(path, begin)
        self._next = next(self._blocks, None)
        self._rest = b""

    def grow(self) -> tuple[Bytes, bool] | None:
        """All that is not consumed with one more block, and whether the file ends with it; None after the end."""
        if self._next is None:
            return None
        piece, self._next = self._next, next(self._blocks, None)
        self._rest = self._rest + piece if self._rest else piece
        return np.frombuffer(self._rest, np.uint8), self._next is None

    def consume(self, count: int) -> None:
        """Forget the first bytes."""
        self._rest = self._rest[count:]
