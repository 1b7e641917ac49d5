"""Numbers out of byte arrays: compiled helpers that the binary readers share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from testbed.compiled import kernel

# Behind a packet the file ends, or another packet begins, or one that is damaged but whose length leads to a third.
# Where none of this holds (NO), bytes are missing or too many inside the packet, and its numbers are not trusted.
# NOT_YET: more of the file must be read to know.
NO, YES, NOT_YET = 0, 1, -1
Bytes = NDArray[np.uint8]
Rows = NDArray[np.int64]


@kernel()
def u8(b: Bytes, at: int) -> int:
    """One byte, as a number that does not overflow."""
    byte: int = np.int64(b[at])  # type: ignore[assignment]  # int(…) of an octet is unsigned in numba
    return byte


@kernel()
def u16(b: Bytes, at: int) -> int:
    """Two bytes, little-endian."""
    return u8(b, at) | (u8(b, at + 1) << 8)


@kernel()
def u16_big(b: Bytes, at: int) -> int:
    """Two bytes, big-endian."""
    return (u8(b, at) << 8) | u8(b, at + 1)


@kernel()
def u32(b: Bytes, at: int) -> int:
    """Four bytes, little-endian."""
    return u16(b, at) | (u16(b, at + 2) << 16)


@kernel()
def u32_big(b: Bytes, at: int) -> int:
    """Four bytes, big-endian."""
    return (u16_big(b, at) << 16) | u16_big(b, at + 2)


@kernel()
def int16_pairs(b: Bytes, begins: Rows, out: NDArray[np.complex64]) -> None:
    """Fill out (packets, values) from int16 real, int16 imaginary, little-endian, at `begins` (packets,)."""
    for p in range(begins.size):
        at = begins[p]
        for k in range(out.shape[1]):
            re = np.int16(np.uint16(b[at]) | (np.uint16(b[at + 1]) << np.uint16(8)))
            im = np.int16(np.uint16(b[at + 2]) | (np.uint16(b[at + 3]) << np.uint16(8)))
            out[p, k] = np.complex64(complex(re, im))
            at += 4


def fields(b: Bytes, begins: Rows, dtype: np.dtype[Any]) -> NDArray[Any]:
    """(packets,) structured headers that begin at `begins`."""
    taken = b[begins[:, None] + np.arange(dtype.itemsize)]
    return np.ascontiguousarray(taken).view(dtype)[:, 0]


def address(octets: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """(packets, 6) octets → one number each."""
    weights = np.uint64(256) ** np.arange(6, dtype=np.uint64)
    return np.asarray((octets.astype(np.uint64) * weights).sum(axis=1, dtype=np.uint64))
