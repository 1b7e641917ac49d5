"""Compiled inner loops of the LDPC code: layered normalised min-sum, and the dual-diagonal encoder.

Lanes are the Z rows of one block row, 16 of them a vector. Cyclic shifts cost nothing but a start offset: each
block column lies twice in a row, at [0, Z) and at [Z, 2Z), turned so that its latest use starts at lane 0. The
padding, P − Z lanes up to a whole number of vectors, repeats lanes 0… and carries the same values as those.

Layered decoding: D. E. Hocevar, "A reduced complexity decoder architecture via layered decoding of LDPC
codes", IEEE SiPS 2004. Normalised min-sum: J. Chen and M. Fossorier, IEEE Trans. Commun. 50(3), 2002.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from testbed.compiled import kernel
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
VECTOR_BYTES = 4 * simd.LANES


@kernel()
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


@kernel()
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


@kernel()
def put_columns(posterior: Floats, place: Ints, z: int, padded: int, columns: Floats) -> None:
    """Write posterior (degree·P,) to both places of each edge's column; place (degree,) is the first."""
    for e in range(place.shape[0]):
        for lane in range(0, padded, LANES):
            new = simd.load(posterior, e * padded + lane)
            simd.store(columns, place[e] + lane, new)
            simd.store(columns, place[e] + z + lane, new)


@kernel()
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


@kernel()
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


@kernel()
def store_bits(columns: Floats, home: Ints, z: int, bits: Bits) -> None:
    """Hard decisions (n,) from columns (24, Z+P): 1 where the posterior is negative."""
    for c in range(columns.shape[0]):
        column, target, head = columns[c], bits[c * z : (c + 1) * z], z - home[c]
        for i in range(head):
            target[i + home[c]] = column[i] < ZERO
        for i in range(head, z):
            target[i - head] = column[i] < ZERO


@kernel()
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


@kernel()
def double(source: Bits, z: int, twice: Bits) -> None:
    """Put source (z,) into twice (≥ 2z,) two times in a row: the copy turned by s then begins at s."""
    twice[:z] = source
    twice[z : 2 * z] = source


@kernel()
def row_sums(columns: Bits, shifts: Ints, stride: int, padded: int, sums: Bits) -> None:
    """Modulo-2 sum of the turned information columns of each block row: sums (rows·P,), bytes from z on void.

    columns (info·stride,) holds each column twice; stride ≥ 2z + P.
    """
    info = columns.shape[0] // stride
    for r in range(shifts.shape[0]):
        for lane in range(0, padded, VECTOR_BYTES):
            total = simd.fill(ZERO)
            for c in range(info):
                if shifts[r, c] >= 0:
                    total = simd.flip(total, simd.load(columns, c * stride + shifts[r, c] + lane))
            simd.store(sums, r * padded + lane, total)


@kernel()
def add_bits(source: Bits, target: Bits) -> None:
    """target[i] ^= source[i]; both (P,), P whole vectors."""
    for lane in range(0, target.shape[0], VECTOR_BYTES):
        simd.store(target, lane, simd.flip(simd.load(source, lane), simd.load(target, lane)))


@kernel()
def encode_parity(sums: Bits, z: int, padded: int, middle: int, first: Bits) -> None:
    """Turn row sums (rows·P,) into parity blocks 1…rows−1, block r+1 in place of sum r; block 0 into first (≥ 2z + P,).

    802.11n's parity part: column 0 has shift 1 in the first and last row and shift 0 in row `middle`, the rest
    is dual-diagonal with shift 0; so the sum of all rows gives the first parity block, and each row the next.
    """
    rows = sums.shape[0] // padded
    first[:padded] = 0
    for r in range(rows):
        add_bits(sums[r * padded : (r + 1) * padded], first[:padded])
    first[z : 2 * z] = first[:z]
    add_bits(first[1 : 1 + padded], sums[:padded])
    for r in range(1, rows - 1):
        own = sums[r * padded : (r + 1) * padded]
        add_bits(sums[(r - 1) * padded : r * padded], own)
        if r == middle:
            add_bits(first[:padded], own)


@kernel()
def encode_words(info: Bits, shifts: Ints, z: int, middle: int, words: Bits) -> None:
    """Encode info (w, k) into words (w, n)."""
    rows, count = shifts.shape[0], info.shape[1] // z
    padded = (z + VECTOR_BYTES - 1) // VECTOR_BYTES * VECTOR_BYTES
    stride = 2 * z + padded
    columns = np.zeros(count * stride, np.uint8)
    sums, first = np.empty(rows * padded, np.uint8), np.zeros(stride, np.uint8)
    for w in range(info.shape[0]):
        word = words[w]
        word[: count * z] = info[w]
        for c in range(count):
            double(info[w, c * z : (c + 1) * z], z, columns[c * stride : (c + 1) * stride])
        row_sums(columns, shifts, stride, padded, sums)
        encode_parity(sums, z, padded, middle, first)
        word[count * z : (count + 1) * z] = first[:z]
        for r in range(rows - 1):
            word[(count + 1 + r) * z : (count + 2 + r) * z] = sums[r * padded : r * padded + z]
