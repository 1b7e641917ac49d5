"""NumPy archives (.npz) and MATLAB files of version 5 to 7 (.mat) that hold named arrays. Nothing is unpickled."""

from __future__ import annotations

import ast
import contextlib
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from testbed.errors import RecordError
from testbed.record.foreign.arrays import describe
from testbed.record.foreign.content import MATLAB, Content, Lazy
from testbed.record.foreign.mat5 import matrices
from testbed.record.foreign.scratch import Scratch, reader
from testbed.record.foreign.stream import sha256
from testbed.record.foreign.value import ForeignCsi

NPZ = "numpy"
LOCAL_HEADER = 30
MOST_MEMBERS = 256
DAMAGED = (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile, zlib.error, struct.error,
           NotImplementedError, RuntimeError, MemoryError, SyntaxError, TypeError, OverflowError)  # fmt: skip


def is_npz(start: bytes) -> bool:
    """A zip archive whose first member is a NumPy array."""
    if start[:4] != b"PK\x03\x04" or len(start) < LOCAL_HEADER:
        return False
    (length,) = struct.unpack_from("<H", start, 26)
    return start[LOCAL_HEADER : LOCAL_HEADER + length].endswith(b".npy")


def is_mat(start: bytes) -> bool:
    """The text, version and byte order of a MATLAB 5 header."""
    return start.startswith(b"MATLAB 5.0 MAT-file") and start[124:128] in (b"\x00\x01IM", b"\x01\x00MI")


@contextlib.contextmanager
def _damage(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except DAMAGED as error:
        raise RecordError(f"{path}: damaged, or not as {what} should be: {error}") from error


def open_npz(path: Path) -> ForeignCsi:
    """Raises RecordError: damaged, or arrays or axes that do not tell what they are."""
    with _damage(path, "a NumPy archive"):
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
            if len(members) > MOST_MEMBERS:
                raise ValueError(f"{len(members)} arrays, at most {MOST_MEMBERS} are read")
            arrays = {member.filename[:-4]: _member(path, archive, member) for member in members}
        text = {name: str(a.all()) for name, a in arrays.items() if a.shape == () and a.attributes["kind"] == "U"}
        arrays = {name: array for name, array in arrays.items() if name not in text}
        return describe(Content(path, NPZ, sha256(path), arrays, text))


def _member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Lazy:
    """An array that lies in the archive as it is, or is unpacked into a temporary file."""
    with archive.open(member) as stream:
        shape, fortran, dtype, begin = _npy_header(stream)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if dtype.hasobject or dtype.kind not in "fciubU" or begin + size != member.file_size:
        raise ValueError(f"{member.filename}: type {dtype}, shape {shape} in {member.file_size} bytes")
    order: Literal["C", "F"] = "F" if fortran else "C"
    told = {"kind": dtype.kind}
    if member.compress_type == zipfile.ZIP_STORED:
        _verify(archive, member)
        return Lazy(shape, reader(path, _stored_at(path, member) + begin, dtype, shape, order), attributes=told)
    unpacked = Scratch()
    with archive.open(member) as stream:
        while piece := stream.read(1 << 20):
            unpacked.write(piece)
    return Lazy(shape, reader(unpacked, begin, dtype, shape, order), attributes=told)


def _verify(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Read a member to its end, where its checksum is compared.

    Raises:
        zipfile.BadZipFile: it differs.
    """
    with archive.open(member) as stream:
        while stream.read(1 << 20):
            pass


def _npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, order, type and length of a .npy header (NEP 1); only literals are understood in it."""
    start = stream.read(8)
    if start[:6] != b"\x93NUMPY" or start[6] not in (1, 2, 3):
        raise ValueError("no .npy header")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(stream.read(width), "little")
    if length > 1 << 16:
        raise ValueError(f".npy header of {length} bytes")
    told = ast.literal_eval(stream.read(length).decode("latin-1"))
    shape = told["shape"]
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and 0 <= n < 1 << 40 for n in shape):
        raise ValueError(f"shape {shape!r}")
    if not isinstance(told["descr"], str):
        raise ValueError(f"type {told['descr']!r}")
    return shape, told["fortran_order"] is True, np.dtype(told["descr"]), 8 + width + length


def _stored_at(path: Path, member: zipfile.ZipInfo) -> int:
    """Offset of an uncompressed member's bytes."""
    with path.open("rb") as file:
        file.seek(member.header_offset)
        header = file.read(LOCAL_HEADER)
    name, extra = struct.unpack_from("<HH", header, 26)
    return member.header_offset + LOCAL_HEADER + int(name) + int(extra)


def open_mat(path: Path) -> ForeignCsi:
    """Raises RecordError: damaged, or arrays or axes that do not tell what they are."""
    with _damage(path, "a MATLAB file"):
        arrays, text = {}, {}
        for matrix in matrices(path):
            if matrix.text is not None:
                text[matrix.name] = matrix.text
            else:
                arrays[matrix.name] = Lazy(matrix.shape, matrix.take)
        return describe(Content(path, MATLAB, sha256(path), arrays, text))
