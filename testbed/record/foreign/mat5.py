"""Numeric and text arrays of a MATLAB 5 file, read from the format's definition.

Definition: "MAT-File Format", The MathWorks, chapter 1. Large arrays stay on disk; compressed ones are unpacked
into a temporary file. Cells, structures, objects and sparse arrays are passed over.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from testbed.record.foreign.scratch import Scratch, Take, complex_of, reader

HEADER_BYTES = 128
MATRIX, COMPRESSED, INT8, INT32, UINT32, UTF8, UTF16 = 14, 15, 1, 5, 6, 16, 17
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8", 16: "u1", 17: "u2"}
CHAR = 4
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
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
    take: Take
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
    size, at = path.stat().st_size, HEADER_BYTES
    order = "<" if _read(path, 126, 2) == b"IM" else ">"
    while at + 8 <= size:
        element = _element(path, at, order, size)
        if element.kind == COMPRESSED:
            unpacked = _unpacked(path, element)
            yield from _matrix(unpacked, _element(unpacked, 0, order, unpacked.size), order)
        elif element.kind == MATRIX:
            yield from _matrix(path, element, order)
        at = element.after


def _read(source: Path | Scratch, begin: int, size: int) -> bytes:
    if isinstance(source, Scratch):
        return source.read(begin, size)
    with source.open("rb") as file:
        file.seek(begin)
        return file.read(size)


def _element(source: Path | Scratch, at: int, order: str, end: int) -> _Element:
    """The element at an offset: a tag of 8 bytes, or a small one of 4 with the data beside it."""
    tag = _read(source, at, 8)
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


def _unpacked(path: Path, element: _Element) -> Scratch:
    """Contents of a compressed element."""
    out, engine, left = Scratch(), zlib.decompressobj(), element.size
    with path.open("rb") as file:
        file.seek(element.begin)
        while left:
            piece = file.read(min(left, 1 << 18))
            if not piece:
                raise EOFError("the file ends inside a compressed element")
            left -= len(piece)
            while piece and not engine.eof:
                out.write(engine.decompress(piece, 1 << 20))
                piece = engine.unconsumed_tail
    out.write(engine.flush())
    if not engine.eof:
        raise EOFError("a compressed element ends too early")
    return out


def _small(source: Path | Scratch, element: _Element) -> bytes:
    if element.size > MOST_SMALL:
        raise ValueError(f"{element.size} bytes where few are expected")
    return _read(source, element.begin, element.size)


def _matrix(source: Path | Scratch, matrix: _Element, order: str) -> Iterator[Matrix]:
    """The array in a matrix element, if it is of numbers or text."""
    if matrix.kind != MATRIX:
        raise ValueError(f"element of type {matrix.kind} where an array is expected")
    end = matrix.begin + matrix.size
    flags = _element(source, matrix.begin, order, end)
    dims = _element(source, flags.after, order, end)
    name = _element(source, dims.after, order, end)
    if flags.kind != UINT32 or flags.size != 8 or dims.kind not in (INT32, UINT32):
        raise ValueError(f"array flags of type {flags.kind}, {flags.size} bytes, dimensions of type {dims.kind}")
    word = int(np.frombuffer(_small(source, flags)[:4], order + "u4")[0])
    kind, is_complex = word & 0xFF, bool((word >> 8) & COMPLEX_FLAG)
    if kind != CHAR and kind not in CLASSES:
        return
    shape = tuple(int(n) for n in np.frombuffer(_small(source, dims), order + "i4"))
    if min(shape, default=0) < 0:
        raise ValueError(f"array of shape {shape}")
    label = _small(source, name).decode("latin-1")
    real = _element(source, name.after, order, end)
    if kind == CHAR:
        yield Matrix(label, shape, _missing, lines(_text(source, real, order), shape[0] if shape else 1))
        return
    imag = _element(source, real.after, order, end) if is_complex else None
    left = end - (imag or real).after
    if left > 0:
        raise ValueError(f"{left} bytes behind the numbers of {label}")
    take = _reader(source, real, shape, kind, order)
    yield Matrix(label, shape, complex_of(take, _reader(source, imag, shape, kind, order)) if imag else take, None)


def _missing(part: tuple[slice, ...]) -> NDArray[Any]:
    raise ValueError("text where numbers are expected")


def _text(source: Path | Scratch, element: _Element, order: str) -> str:
    raw = _small(source, element)
    wide = "utf-16-le" if order == "<" else "utf-16-be"
    coding = wide if element.kind in (UTF16, 4) else "utf-8"
    return raw.decode(coding, "replace")


def lines(text: str, rows: int) -> str:
    """A character array, stored column by column, as its rows with commas between."""
    return ",".join(text[row::rows].rstrip() for row in range(rows)) if rows > 1 else text


def _reader(source: Path | Scratch, element: _Element, shape: tuple[int, ...], kind: int, order: str) -> Take:
    """A reader of parts of one real array of a class, stored column by column."""
    if element.kind not in TYPES or not _holds(CLASSES[kind], TYPES[element.kind]):
        raise ValueError(f"numbers of type {element.kind} in an array of class {kind}")
    dtype = np.dtype(order + TYPES[element.kind])
    if int(np.prod(shape, dtype=np.int64)) * dtype.itemsize != element.size:
        raise ValueError(f"array of shape {shape} in {element.size} bytes")
    return reader(source, element.begin, dtype, shape, "F")


def _holds(whole: str, stored: str) -> bool:
    """An array of this type may be stored so: as it is, or in fewer bytes, where its numbers allow it."""
    return stored == whole or (stored[1] < whole[1] and (stored[0] != "f" or whole[0] == "f"))
