"""A record whose writer was killed, seen as if it had been closed.

HDF5 marks a file that is being written, and an ordinary open refuses one that still bears the mark. A reader in
SWMR mode takes it, but waits for minutes wherever a checksum does not fit, hoping for a writer that is long
gone. So the superblock is corrected on the way in (HDF5 file format 3.0, II.A, version 3): mark cleared, end of
file as found, checksum anew. The file itself is not touched.
"""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

from testbed.record.hdf5_bytes import lookup3

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SUPERBLOCK_BYTES = 48
FLAGS_AT, EOF_AT, CHECKSUM_AT = 11, 28, 44


class SuperblockError(OSError):
    """The first bytes are not those of a record."""


def superblock(path: Path) -> bytes:
    """The first 48 bytes, checked.

    Raises:
        SuperblockError: no HDF5 file of this version, or damaged at its very beginning.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(SUPERBLOCK_BYTES)
    if len(head) < SUPERBLOCK_BYTES or not head.startswith(SIGNATURE) or head[8] != 3:
        raise SuperblockError("not an HDF5 file with a version 3 superblock")
    if lookup3(head[:CHECKSUM_AT]) != struct.unpack_from("<I", head, CHECKSUM_AT)[0]:
        raise SuperblockError("the superblock does not fit its checksum")
    return head


def was_closed(head: bytes) -> bool:
    """Whether the superblock says that no writer has the file open."""
    return head[FLAGS_AT] == 0


class Recovered(io.RawIOBase):
    """The file with a corrected superblock, zeros where its end was never written. For h5py, read only."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        head = bytearray(superblock(path))
        self._file = path.open("rb", buffering=0)
        size = os.fstat(self._file.fileno()).st_size
        self._size: int = max(size, struct.unpack_from("<Q", head, EOF_AT)[0])
        head[FLAGS_AT] = 0
        struct.pack_into("<Q", head, EOF_AT, self._size)
        struct.pack_into("<I", head, CHECKSUM_AT, lookup3(bytes(head[:CHECKSUM_AT])))
        self._head = bytes(head)
        self._at: int = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a byte of the corrected file."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        """Fill `buffer`; fewer bytes only at the end."""
        view = memoryview(buffer)
        wanted = max(0, min(len(view), self._size - self._at))
        self._file.seek(self._at)
        found = self._file.read(wanted) or b""
        view[:wanted] = found + bytes(wanted - len(found))
        if self._at < SUPERBLOCK_BYTES:
            piece = self._head[self._at : self._at + wanted]
            view[: len(piece)] = piece
        self._at += wanted
        return wanted

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
