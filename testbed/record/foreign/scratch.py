"""Parts of arrays that lie on disk, and a nameless file for what had to be unpacked first."""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Take = Callable[[tuple[slice, ...]], NDArray[Any]]


class Scratch:
    """A temporary file without a name; it goes when nobody holds this object any more."""

    def __init__(self) -> None:
        handle, name = tempfile.mkstemp()
        os.unlink(name)
        self._handle, self.size = handle, 0
        weakref.finalize(self, os.close, handle)

    def write(self, content: bytes) -> None:
        """Append."""
        left = memoryview(content)
        while left:
            left = left[os.write(self._handle, left) :]
        self.size += len(content)

    def read(self, begin: int, size: int) -> bytes:
        """Bytes from an offset on; fewer at the end."""
        return os.pread(self._handle, size, begin)

    def take(
        self,
        begin: int,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        order: Literal["C", "F"],
        part: tuple[slice, ...],
    ) -> NDArray[Any]:
        """A part of an array that begins at an offset."""
        with mmap.mmap(self._handle, 0, access=mmap.ACCESS_READ) as content:
            whole: NDArray[Any] = np.ndarray(shape, dtype, content, begin, order=order)
            wanted = np.array(whole[part])
            del whole
        return wanted


def reader(
    source: Path | Scratch, begin: int, dtype: np.dtype[Any], shape: tuple[int, ...], order: Literal["C", "F"]
) -> Take:
    """Reads parts of an array on disk. The map is made anew each time: what was read does not stay in memory."""

    def take(part: tuple[slice, ...]) -> NDArray[Any]:
        if not int(np.prod(shape, dtype=np.int64)):
            return np.zeros(shape, dtype)[part]
        if isinstance(source, Scratch):
            return source.take(begin, dtype, shape, order, part)
        return np.array(np.memmap(source, dtype, "r", begin, shape, order)[part])

    return take


def complex_of(real: Take, imag: Take) -> Take:
    """Reads parts of two real arrays as one complex array."""

    def take(part: tuple[slice, ...]) -> NDArray[Any]:
        first = real(part)
        out = np.empty(first.shape, np.complex128)
        with np.errstate(invalid="ignore"):
            out.real, out.imag = first, imag(part)
        return out

    return take
