"""The twelve quasi-cyclic LDPC codes of IEEE 802.11n-2009 (Annex R): n = 648, 1296, 1944; rate 1/2 to 5/6.

A code is a (rows, 24) table of cyclic shifts; entry s ≥ 0 stands for the Z × Z identity whose columns are
turned right by s (row i has its one in column (i + s) mod Z), entry −1 for zeros. The first k bits of a
codeword are the information, the rest is parity. Decoding is layered normalised min-sum in float32 with an
early stop.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib import resources
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.errors import FrameError
from testbed.ofdm import ldpc_kernels
from testbed.ofdm.simd import LANES

Bits = NDArray[np.uint8]
Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

COLUMNS: Final = 24
LENGTHS: Final = (648, 1296, 1944)
RATES: Final = (Fraction(1, 2), Fraction(2, 3), Fraction(3, 4), Fraction(5, 6))
LLR_LIMIT: Final = 1e6
"""Channel LLRs are clipped to ± this; beyond it a bit is as good as known."""


@dataclass(frozen=True, eq=False)
class Code:
    """One code and the tables its decoder walks.

    Attributes:
        n: codeword length in bits.
        k: information bits of a codeword.
        rate: k/n.
        z: lifting size Z = n/24.
        shifts: (rows, 24) cyclic shifts, −1 for a zero block.
        padded: Z rounded up to whole vectors.
        home: (24,) turn of each block column after its last use in an iteration.
        tables: row_start (rows+1,); and for each edge (E,), in flat columns of Z + padded lanes: where its column
            begins, where it finds its bits while decoding, and where when every column lies turned by its home.
    """

    n: int
    k: int
    rate: Fraction
    z: int
    padded: int
    shifts: Ints
    home: Ints
    tables: ldpc_kernels.Tables


@dataclass(frozen=True, eq=False)
class Decoded:
    """Outcome of decoding w codewords.

    Attributes:
        bits: (w, n) uint8 hard decisions.
        converged: (w,) bool, all checks hold; a wrong codeword can converge too, so a checksum must decide.
        iterations: (w,) int32 iterations used, 0 if the channel's signs were a codeword already.
    """

    bits: Bits
    converged: NDArray[np.bool_]
    iterations: Ints


@cache
def load_code(n: int, rate: Fraction) -> Code:
    """The code of length n in 648, 1296, 1944 and rate in 1/2, 2/3, 3/4, 5/6; FrameError for any other."""
    if n not in LENGTHS or rate not in RATES:
        known = f"lengths {LENGTHS}, rates {', '.join(map(str, RATES))}"
        raise FrameError(f"LDPC code n={n}, rate={rate} does not exist; {known}")
    name = f"N{n}_R{rate.numerator}{rate.denominator}.qc"
    text = resources.files("testbed.ofdm").joinpath("data", "ldpc-802.11n", name).read_text(encoding="ascii")
    header, *lines = text.splitlines()
    columns, rows, z = (int(field) for field in header.split())
    shifts = np.array([line.split() for line in lines if line.strip()], dtype=np.int32)
    if shifts.shape != (rows, columns) or columns * z != n:
        raise FrameError(f"{name}: table of shape {shifts.shape} does not fit its header {header!r}; reinstall")
    padded = -(-z // LANES) * LANES
    home, tables = _walk(shifts, z, z + padded)
    return Code(n, n - rows * z, rate, z, padded, shifts, home, tables)


def _walk(shifts: Ints, z: int, stride: int) -> tuple[Ints, ldpc_kernels.Tables]:
    """Home turns and edge tables of the layered schedule, rows in natural order."""
    row, column = np.nonzero(shifts >= 0)
    shift = shifts[row, column]
    home = np.array([shift[column == c][-1] for c in range(shifts.shape[1])], dtype=np.int32)
    at, turn = home.copy(), np.empty_like(shift)
    for e, (c, s) in enumerate(zip(column, shift, strict=True)):
        turn[e], at[c] = (s - at[c]) % z, s
    start = np.searchsorted(row, np.arange(shifts.shape[0] + 1)).astype(np.int32)
    place = (column * stride).astype(np.int32)
    return home, (start, place, place + turn, place + (shift - home[column]) % z)


def encode(code: Code, info: Bits) -> Bits:
    """Codewords (w, n) uint8 of information bits (w, k) uint8 in {0, 1}; FrameError if the shape differs."""
    if info.ndim != 2 or info.shape[1] != code.k:
        raise FrameError(f"info has shape {info.shape}; this code needs (w, {code.k})")
    words = np.empty((len(info), code.n), np.uint8)
    middle = int(np.flatnonzero(code.shifts[1:-1, COLUMNS - code.shifts.shape[0]] == 0)[0]) + 1
    ldpc_kernels.encode_words(np.require(info, np.uint8, ("C", "W")), code.shifts, code.z, middle, words)
    return words


def decode(code: Code, llr: Floats, *, max_iterations: int = 32, scale: float = 0.8) -> Decoded:
    """Most likely codewords for llr (w, n), LLR = log P(0)/P(1).

    Args:
        code: the code.
        llr: (w, n) float32; finite (clipped to ±LLR_LIMIT). The result does not depend on a common factor.
        max_iterations: give up after this many passes over all checks.
        scale: normalisation of the min-sum's messages.

    Raises:
        FrameError: shape is not (w, n).
    """
    if llr.ndim != 2 or llr.shape[1] != code.n:
        raise FrameError(f"llr has shape {llr.shape}; this code needs (w, {code.n})")
    words = np.require(llr, np.float32, ("C", "W"))
    bits = np.empty(words.shape, np.uint8)
    iterations = np.empty(len(words), np.int32)
    control = (np.float32(LLR_LIMIT), np.float32(scale), max_iterations)
    size = (code.z, code.padded)
    ldpc_kernels.decode_words(words, code.home, code.tables, size, control, bits, iterations)
    used = np.where(iterations < 0, max_iterations, iterations).astype(np.int32)
    return Decoded(bits, iterations >= 0, used)
