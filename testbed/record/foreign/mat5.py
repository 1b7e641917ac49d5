"""Numeric and text arrays of a MATLAB 5 file, read from the format's definition.

Definition: "MAT-File Format", The MathWorks, chapter 1. Large arrays stay on disk; compressed ones are unpacked
into a temporary file. Cells, structures, objects and sparse arrays are passed over.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

HEADER_BYTES = 128
MATRIX, COMPRESSED, INT8, UTF8, UTF16 = 14, 15, 1, 16, 17
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8", 16: "u1", 17: "u2"}
CHAR, NUMERIC = 4, range(6, 16)
COMPLEX_FLAG = 0x08
MOST_SMALL = 1 << 16


@dataclass(frozen=True, eq=False)
class Matrix:
    """A named array.

    Attributes:
        name: of the variable.
        shape: of the array; trailing and leading ones of vectors are kept.
        take: reads a part, given one slice an axis.
        text: characters of a text variable, None for numbers.
    """

    name: str
    shape: tuple[int, ...]
    take: Callable[[tuple[slice, ...]], NDArray[Any]]
    text: str | None


@dataclass(frozen=True)
class _Element:
    """A data element: its type, where its bytes begin, how many they are, where the next element begins."""

    kind: int
    begin: int
    size: int
    after: int


def matrices(path: Path) -> Iterator[Matrix]:
    """Top-level variables.

    Raises:
        ValueError, EOFError, zlib.error: damaged.
    """
    file = path.open("rb")
    file.seek(126)
    order = "<" if file.read(2) == b"IM" else ">"
    size = file.seek(0, 2)
    at = HEADER_BYTES
    while at + 8 <= size:
        element = _element(file, at, order, size)
        if element.kind == COMPRESSED:
            unpacked = _unpacked(file, element)
            yield from _matrix(unpacked, _element(unpacked, 0, order, unpacked.seek(0, 2)), order)
        elif element.kind == MATRIX:
            yield from _matrix(file, element, order)
        at = element.after


def _element(file: IO[bytes], at: int, order: str, end: int) -> _Element:
    """The element at an offset: a tag of 8 bytes, or a small one of 4 with the data beside it."""
    file.seek(at)
    tag = file.read(8)
    if len(tag) < 8:
        raise EOFError("the file ends inside a tag")
    first, second = (int(n) for n in np.frombuffer(tag, order + "u4"))
    if first >> 16:
        kind, size, begin, after = first & 0xFFFF, first >> 16, at + 4, at + 8
    else:
        kind, size, begin = first, second, at + 8
        after = begin + (size if kind == COMPRESSED else -(-size // 8) * 8)
    if (first >> 16 and size > 4) or begin + size > end:
        raise EOFError(f"an element of {size} bytes does not fit into its place")
    return _Element(kind, begin, size, after)


def _unpacked(file: IO[bytes], element: _Element) -> IO[bytes]:
    """Contents of a compressed element, in a temporary file."""
    out: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # arrays are read from it as long as they are known
    engine, left = zlib.decompressobj(), element.size
    file.seek(element.begin)
    while left:
        piece = file.read(min(left, 1 << 18))
        if not piece:
            raise EOFError("the file ends inside a compressed element")
        left -= len(piece)
        while piece:
            out.write(engine.decompress(piece, 1 << 20))
            piece = engine.unconsumed_tail
    out.write(engine.flush())
    if not engine.eof:
        raise EOFError("a compressed element ends too early")
    return out


def _small(file: IO[bytes], element: _Element) -> bytes:
    if element.size > MOST_SMALL:
        raise ValueError(f"{element.size} bytes where few are expected")
    file.seek(element.begin)
    return file.read(element.size)


def _matrix(file: IO[bytes], matrix: _Element, order: str) -> Iterator[Matrix]:
    """The array in a matrix element, if it is of numbers or text."""
    if matrix.kind != MATRIX:
        raise ValueError(f"element of type {matrix.kind} where an array is expected")
    end = matrix.begin + matrix.size
    flags = _element(file, matrix.begin, order, end)
    dims = _element(file, flags.after, order, end)
    name = _element(file, dims.after, order, end)
    word = int(np.frombuffer(_small(file, flags)[:4], order + "u4")[0])
    kind, is_complex = word & 0xFF, bool((word >> 8) & COMPLEX_FLAG)
    if kind != CHAR and kind not in NUMERIC:
        return
    shape = tuple(int(n) for n in np.frombuffer(_small(file, dims), order + "i4"))
    if min(shape, default=0) < 0:
        raise ValueError(f"array of shape {shape}")
    label = _small(file, name).decode("latin-1")
    real = _element(file, name.after, order, end)
    if kind == CHAR:
        yield Matrix(label, shape, _missing, _text(file, real, order))
        return
    parts = [_reader(file, real, shape, order)]
    if is_complex:
        parts.append(_reader(file, _element(file, real.after, order, end), shape, order))
    yield Matrix(label, shape, _both(parts), None)


def _missing(part: tuple[slice, ...]) -> NDArray[Any]:
    raise ValueError("text where numbers are expected")


def _text(file: IO[bytes], element: _Element, order: str) -> str:
    raw = _small(file, element)
    wide = "utf-16-le" if order == "<" else "utf-16-be"
    coding = wide if element.kind in (UTF16, 4) else "utf-8"
    return raw.decode(coding, "replace")


def _reader(file: IO[bytes], element: _Element, shape: tuple[int, ...], order: str) -> Any:  # noqa: ANN401
    """A reader of parts of one real array, stored column by column; the map is made anew each time."""
    if element.kind not in TYPES:
        raise ValueError(f"numbers of type {element.kind}")
    dtype = np.dtype(order + TYPES[element.kind])
    count = int(np.prod(shape, dtype=np.int64))
    if count * dtype.itemsize != element.size:
        raise ValueError(f"array of shape {shape} in {element.size} bytes")

    def take(part: tuple[slice, ...]) -> NDArray[Any]:
        if not count:
            return np.zeros(shape)
        return np.array(np.memmap(file, dtype, "r", element.begin, shape, "F")[part])

    return take


def _both(parts: list[Any]) -> Callable[[tuple[slice, ...]], NDArray[Any]]:
    return parts[0] if len(parts) == 1 else lambda part: parts[0](part) + 1j * parts[1](part)
