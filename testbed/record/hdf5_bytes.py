"""The few bytes of an HDF5 file that h5py does not reach: metadata checksums, the birth of a named type, its size."""

from __future__ import annotations

import struct
from pathlib import Path

_M = 0xFFFFFFFF
_TIMES_STORED = 0x20


def forget_times(path: Path, address: int) -> None:
    """Zero the four time stamps of an object header, so that equal contents are equal files.

    HDF5 stamps named types, and h5py has no switch for it as it has for datasets. Layout: HDF5 file format 3.0,
    IV.A.1.b, version 2 object header: "OHDR", version, flags, four times of 4 bytes, size of the messages (1, 2, 4 or
    8 bytes by the lowest two flags), messages, checksum.

    Args:
        path: a closed file.
        address: of the header, from `h5py.h5o.get_info`.

    Raises:
        ValueError: no such header there, or one without times.
        OSError: the file cannot be written.
    """
    with path.open("r+b") as file:
        file.seek(address)
        head = bytearray(file.read(64 << 10))
        if head[:5] != b"OHDR\x02" or not head[5] & _TIMES_STORED:
            raise ValueError(f"{path}: no object header with times at {address}")
        head[6:22] = bytes(16)
        width = 1 << (head[5] & 3)
        end = 22 + width + int.from_bytes(head[22 : 22 + width], "little")
        file.seek(address)
        file.write(bytes(head[:end]) + struct.pack("<I", lookup3(bytes(head[:end]))))


def stored_size(path: Path) -> int | None:
    """How many bytes a file should have by its own account; None where it does not say.

    Layout: HDF5 file format 3.0, II.A, superblock version 2 or 3: signature, version, widths of offsets and lengths,
    flags, base address, superblock extension, end of file, root group, checksum of these 44 bytes.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(48)
    sound = len(head) == 48 and head[:8] == b"\x89HDF\r\n\x1a\n" and head[8] in (2, 3) and head[9] == 8
    if not sound or lookup3(head[:44]) != int.from_bytes(head[44:], "little"):
        return None
    return int.from_bytes(head[28:36], "little")


def lookup3(data: bytes) -> int:
    """Bob Jenkins' lookup3 `hashlittle` with initial value 0, the checksum of HDF5 metadata."""
    a = b = c = (0xDEADBEEF + len(data)) & _M
    while len(data) > 12:
        x, y, z = struct.unpack_from("<3I", data)
        a, b, c = _mix((a + x) & _M, (b + y) & _M, (c + z) & _M)
        data = data[12:]
    if not data:
        return c
    x, y, z = struct.unpack("<3I", data.ljust(12, b"\0"))
    return _final((a + x) & _M, (b + y) & _M, (c + z) & _M)


def _rotate(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (32 - bits))) & _M


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits in (4, 6, 8, 16, 19, 4):
        a = ((a - c) & _M) ^ _rotate(c, bits)
        c = (c + b) & _M
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotate(b, bits)) & _M
        a, b, c = b, c, a
    return b
