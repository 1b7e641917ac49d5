"""Compiled inner loops of the LDPC code: layered normalised min-sum, and the dual-diagonal encoder.

Lanes are the Z rows of one block row, 16 of them a vector. Cyclic shifts cost nothing but a start offset: each
block column lies twice in a row, at [0, Z) and at [Z, 2Z), turned so that its latest use starts at lane 0. The
padding, P − Z lanes up to a whole number of vectors, repeats lanes 0… and carries the same values as those.

Layered decoding: D. E. Hocevar, "A reduced complexity decoder architecture via layered decoding of LDPC
codes", IEEE SiPS 2004. Normalised min-sum: J. Chen and M. Fossorier, IEEE Trans. Commun. 50(3), 2002.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from testbed.ofdm import simd

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Bits = NDArray[np.uint8]
Tables = tuple[Ints, Ints, Ints, Ints]

MESSAGE_LIMIT = np.float32(1e6)
"""Bound on a check message; keeps float32 finite where whole checks are known bits."""
INFINITE = np.float32(np.inf)
ZERO = np.float32(0.0)
LANES = simd.LANES


@njit(cache=True, nogil=True)
def load_columns(llr: Floats, home: Ints, z: int, limit: np.float32, columns: Floats) -> None:
    """Fill columns (24, Z+P) from llr (n,) clipped to ±limit, column c turned by home[c]."""
    padded = columns.shape[1] - z
    for c in range(columns.shape[0]):
        column, source, head = columns[c], llr[c * z : (c + 1) * z], z - home[c]
        for i in range(head):
            column[i] = min(max(source[i + home[c]], -limit), limit)
        for i in range(head, z):
            column[i] = min(max(source[i - head], -limit), limit)
        for i in range(padded):
            column[z + i] = column[i]


@njit(cache=True, nogil=True)
def check_vector(
    columns: Floats, messages: Floats, found: Ints, padded: int, lane: int, scale: np.float32, posterior: Floats
) -> None:
    """16 checks of a block row: new messages, and the columns' new posteriors.

    Args:
        columns: (24·(Z+P),) read only, since other checks still need the old posteriors.
        messages: (degree·P,) of this block row, replaced.
        found: (degree,) where each edge finds its column.
        padded: P.
        lane: the first of the 16.
        scale: normalisation.
        posterior: (degree·P,) written.
    """
    first, second = simd.fill(INFINITE), simd.fill(INFINITE)
    product = simd.fill(ZERO)
    for e in range(found.shape[0]):
        t = simd.subtract(simd.load(columns, found[e] + lane), simd.load(messages, e * padded + lane))
        simd.store(posterior, e * padded + lane, t)
        a = simd.magnitude(t)
        second = simd.least(second, simd.greatest(first, a))
        first = simd.least(first, a)
        product = simd.flip(product, t)
    product, limit, norm = simd.sign(product), simd.fill(MESSAGE_LIMIT), simd.fill(scale)
    low = simd.flip(simd.least(simd.multiply(first, norm), limit), product)
    high = simd.flip(simd.least(simd.multiply(second, norm), limit), product)
    for e in range(found.shape[0]):
        t = simd.load(posterior, e * padded + lane)
        chosen = simd.where_equal(simd.magnitude(t), first, high, low)
        message = simd.flip(chosen, simd.sign(t))
        simd.store(messages, e * padded + lane, message)
        simd.store(posterior, e * padded + lane, simd.add(t, message))


@njit(cache=True, nogil=True)
def put_columns(posterior: Floats, place: Ints, z: int, padded: int, columns: Floats) -> None:
    """Write posterior (degree·P,) to both places of each edge's column; place (degree,) is the first."""
    for e in range(place.shape[0]):
        for lane in range(0, padded, LANES):
            new = simd.load(posterior, e * padded + lane)
            simd.store(columns, place[e] + lane, new)
            simd.store(columns, place[e] + z + lane, new)


@njit(cache=True, nogil=True)
def parity_holds(columns: Floats, row_start: Ints, found: Ints, padded: int) -> bool:
    """Whether the signs of columns (24·(Z+P),), each turned by its home, satisfy every check."""
    for row in range(row_start.shape[0] - 1):
        for lane in range(0, padded, LANES):
            parity = simd.fill(ZERO)
            for e in range(row_start[row], row_start[row + 1]):
                parity = simd.flip(parity, simd.load(columns, found[e] + lane))
            if simd.any_negative(parity):
                return False
    return True


@njit(cache=True, nogil=True)
def decode_word(
    columns: Floats,
    messages: Floats,
    posterior: Floats,
    tables: Tables,
    size: tuple[int, int],
    scale: np.float32,
    max_iterations: int,
) -> int:
    """Iterate on loaded columns until the checks hold; iterations used, or −1 if they never held."""
    row_start, place, found, found_home = tables
    z, padded = size
    messages[:] = ZERO
    if parity_holds(columns, row_start, found_home, padded):
        return 0
    for iteration in range(1, max_iterations + 1):
        for row in range(row_start.shape[0] - 1):
            a, b = row_start[row], row_start[row + 1]
            own = messages[a * padded : b * padded]
            for lane in range(0, padded, LANES):
                check_vector(columns, own, found[a:b], padded, lane, scale, posterior)
            put_columns(posterior, place[a:b], z, padded, columns)
        if parity_holds(columns, row_start, found_home, padded):
            return iteration
    return -1


@njit(cache=True, nogil=True)
def store_bits(columns: Floats, home: Ints, z: int, bits: Bits) -> None:
    """Hard decisions (n,) from columns (24, Z+P): 1 where the posterior is negative."""
    for c in range(columns.shape[0]):
        column, target, head = columns[c], bits[c * z : (c + 1) * z], z - home[c]
        for i in range(head):
            target[i + home[c]] = column[i] < ZERO
        for i in range(head, z):
            target[i - head] = column[i] < ZERO


@njit(cache=True, nogil=True)
def decode_words(
    llr: Floats,
    home: Ints,
    tables: Tables,
    size: tuple[int, int],
    control: tuple[np.float32, np.float32, int],
    bits: Bits,
    iterations: Ints,
) -> None:
    """Decode llr (w, n) into bits (w, n) and iterations (w,), −1 where the checks never held.

    size = (Z, P); control = (clipping of the LLRs, normalisation, iterations at most).
    """
    z, padded = size
    limit, scale, max_iterations = control
    columns = np.empty((home.shape[0], z + padded), np.float32)
    messages = np.empty(tables[1].shape[0] * padded, np.float32)
    posterior = np.empty(home.shape[0] * padded, np.float32)
    flat = columns.reshape(-1)
    for w in range(llr.shape[0]):
        load_columns(llr[w], home, z, limit, columns)
        iterations[w] = decode_word(flat, messages, posterior, tables, size, scale, max_iterations)
        store_bits(columns, home, z, bits[w])


@njit(cache=True, nogil=True)
def add_turned(source: Bits, turn: int, z: int, target: Bits) -> None:
    """target[i] ^= source[(i + turn) mod z]; both (z,)."""
    head = z - turn
    for i in range(head):
        target[i] ^= source[i + turn]
    for i in range(turn):
        target[head + i] ^= source[i]


@njit(cache=True, nogil=True)
def encode_word(word: Bits, shifts: Ints, z: int, middle: int, sums: Bits) -> None:
    """Fill the parity part of word (24, Z) in place; sums (rows, Z) is work space.

    802.11n's parity part: column 0 has shift 1 in the first and last row and shift 0 in row `middle`, the rest
    is dual-diagonal with shift 0; so the sum of all rows gives the first parity block, and each row the next.
    """
    rows = shifts.shape[0]
    info = word.shape[0] - rows
    sums[:] = 0
    first = word[info]
    first[:] = 0
    for r in range(rows):
        for c in range(info):
            if shifts[r, c] >= 0:
                add_turned(word[c], shifts[r, c], z, sums[r])
        add_turned(sums[r], 0, z, first)
    word[info + 1] = sums[0]
    add_turned(first, 1, z, word[info + 1])
    for r in range(1, rows - 1):
        word[info + r + 1] = sums[r]
        add_turned(word[info + r], 0, z, word[info + r + 1])
        if r == middle:
            add_turned(first, 0, z, word[info + r + 1])


@njit(cache=True, nogil=True)
def encode_words(info: Bits, shifts: Ints, z: int, middle: int, words: Bits) -> None:
    """Encode info (w, k) into words (w, n)."""
    sums = np.empty((shifts.shape[0], z), np.uint8)
    for w in range(info.shape[0]):
        words[w, : info.shape[1]] = info[w]
        encode_word(words[w].reshape(-1, z), shifts, z, middle, sums)
