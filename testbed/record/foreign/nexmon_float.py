"""The packed floats of BCM4358 and BCM4366c0: two mantissas with signs and one common exponent in 32 bits.

Definition: `unpack_float.c` of seemoo-lab/nexmon_csi. It shifts each packet so that its largest number has `BITS`
bits and drops what falls below 1. The numbers here are the same, with the shift undone: packets keep their relation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from testbed.compiled import kernel
from testbed.record.foreign.peek import Bytes, Rows, u32

BITS = 10


@kernel()
def _exponent(word: int, bits: int) -> int:
    """The lowest bits as a two's complement number."""
    e = word & ((1 << bits) - 1)
    return e - (1 << bits) if e >> (bits - 1) else e


@kernel()
def _largest(b: Bytes, at: int, count: int, man: int, exp: int) -> int:
    """Most bits before the point that any number of the packet has."""
    most, mask = -(1 << (exp - 1)), (1 << (man - 1)) - 1
    for k in range(count):
        word = u32(b, at + 4 * k)
        both = ((word >> (exp + man)) & mask) | ((word >> exp) & mask)
        if both:
            e = _exponent(word, exp)
            while both > 1:
                both >>= 1
                e += 1
            most = max(most, e)
    return most


@kernel()
def _part(word: int, at: int, man: int, shift: int) -> float:
    """Signed mantissa at a bit, shifted and cut to an integer."""
    value = (word >> at) & ((1 << (man - 1)) - 1)
    if shift < -man:
        value = 0
    elif shift < 0:
        value >>= -shift
    else:
        value <<= shift
    return -float(value) if (word >> (at + man - 1)) & 1 else float(value)


@kernel()
def unpack_float(b: Bytes, begins: Rows, man: int, exp: int, out: NDArray[np.complex64]) -> None:
    """Fill out (packets, tones); `man` bits of a mantissa with its sign, `exp` bits of the exponent."""
    for p in range(begins.size):
        lift = BITS - _largest(b, begins[p], out.shape[1], man, exp)
        undo = 2.0 ** (-lift)
        for k in range(out.shape[1]):
            word = u32(b, begins[p] + 4 * k)
            shift = _exponent(word, exp) + lift
            re = _part(word, exp + man, man, shift)
            out[p, k] = np.complex64(complex(re, _part(word, exp, man, shift)) * undo)
