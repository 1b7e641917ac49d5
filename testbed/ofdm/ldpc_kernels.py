"""Compiled inner loops of the LDPC code: layered normalised min-sum, and the dual-diagonal encoder.

Lanes are the Z rows of one block row, so every loop over lanes is a straight vector loop. Cyclic shifts cost
nothing but a start offset: each block column lies twice in a row, at [0, Z) and at [Z, 2Z), turned so that its
latest use starts at lane 0. The P ≥ Z padded lanes repeat lanes 0… and carry the same values as those.

Layered decoding: D. E. Hocevar, "A reduced complexity decoder architecture via layered decoding of LDPC
codes", IEEE SiPS 2004. Normalised min-sum: J. Chen and M. Fossorier, IEEE Trans. Commun. 50(3), 2002.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Bits = NDArray[np.uint8]

MESSAGE_LIMIT = np.float32(1e6)
"""Bound on a check message; keeps float32 finite where whole checks are known bits."""
ONE = np.float32(1.0)
ZERO = np.float32(0.0)


@njit(cache=True, nogil=True)
def load_columns(llr: Floats, home: Ints, z: int, columns: Floats) -> None:
    """Fill columns (24, Z+P) from llr (n,), column c turned by home[c]."""
    width = columns.shape[1]
    for c in range(columns.shape[0]):
        lane = home[c]
        for i in range(width):
            columns[c, i] = llr[c * z + lane]
            lane += 1
            if lane == z:
                lane = 0


@njit(cache=True, nogil=True)
def take_edge(
    posterior: Floats, message: Floats, extrinsic: Floats, least: Floats, second: Floats, sign: Floats
) -> None:
    """Store extrinsic = posterior − message; update each check's two least magnitudes and its product of signs."""
    for lane in range(extrinsic.shape[0]):
        t = posterior[lane] - message[lane]
        extrinsic[lane] = t
        a, m, s, g = abs(t), least[lane], second[lane], sign[lane]
        larger = m if m > a else a
        second[lane] = larger if larger < s else s
        least[lane] = a if a < m else m
        sign[lane] = -g if t < ZERO else g


@njit(cache=True, nogil=True)
def finish_check(
    least: Floats, second: Floats, sign: Floats, scale: np.float32, low: Floats, high: Floats
) -> None:
    """Store low, high: the two signed, normalised and bounded magnitudes that a check can send."""
    for lane in range(least.shape[0]):
        a, b = least[lane] * scale, second[lane] * scale
        low[lane] = (a if a < MESSAGE_LIMIT else MESSAGE_LIMIT) * sign[lane]
        high[lane] = (b if b < MESSAGE_LIMIT else MESSAGE_LIMIT) * sign[lane]


@njit(cache=True, nogil=True)
def put_edge(
    extrinsic: Floats, least: Floats, low: Floats, high: Floats, message: Floats, first: Floats, copy: Floats
) -> None:
    """The check's new message and the column's new posterior, written to both of the column's places."""
    for lane in range(extrinsic.shape[0]):
        t = extrinsic[lane]
        m = high[lane] if abs(t) == least[lane] else low[lane]
        m = -m if t < ZERO else m
        message[lane] = m
        first[lane] = t + m
    for lane in range(extrinsic.shape[0]):
        copy[lane] = first[lane]


@njit(cache=True, nogil=True)
def update_layer(
    columns: Floats,
    messages: Floats,
    edge_column: Ints,
    edge_turn: Ints,
    work: Floats,
    z: int,
    scale: np.float32,
) -> None:
    """One block row: columns (24, Z+P), messages (degree, P), edge tables (degree,), work (degree+5, P)."""
    degree, p = messages.shape
    least, second, sign, low, high = (
        work[degree],
        work[degree + 1],
        work[degree + 2],
        work[degree + 3],
        work[degree + 4],
    )
    for lane in range(p):
        least[lane] = np.float32(np.inf)
        second[lane] = np.float32(np.inf)
        sign[lane] = ONE
    for e in range(degree):
        turn = edge_turn[e]
        take_edge(columns[edge_column[e], turn : turn + p], messages[e], work[e], least, second, sign)
    finish_check(least, second, sign, scale, low, high)
    for e in range(degree):
        column = columns[edge_column[e]]
        put_edge(work[e], least, low, high, messages[e], column[:p], column[z : z + p])


@njit(cache=True, nogil=True)
def parity_holds(
    columns: Floats, row_start: Ints, edge_column: Ints, check_turn: Ints, parity: NDArray[np.int32], z: int
) -> bool:
    """Whether the signs of the columns, each turned by its home, satisfy every check."""
    signs = columns.view(np.int32)
    for row in range(row_start.shape[0] - 1):
        for lane in range(z):
            parity[lane] = 0
        for e in range(row_start[row], row_start[row + 1]):
            turn = check_turn[e]
            used = signs[edge_column[e], turn : turn + z]
            for lane in range(z):
                parity[lane] ^= used[lane]
        failed = 0
        for lane in range(z):
            failed |= parity[lane]
        if failed < 0:
            return False
    return True


@njit(cache=True, nogil=True)
def decode_word(
    columns: Floats,
    messages: Floats,
    work: Floats,
    parity: NDArray[np.int32],
    tables: tuple[Ints, Ints, Ints, Ints],
    z: int,
    scale: np.float32,
    max_iterations: int,
) -> int:
    """Iterate on loaded columns until the checks hold; iterations used, or −1 if they never held."""
    row_start, edge_column, edge_turn, check_turn = tables
    messages[:] = np.float32(0.0)
    if parity_holds(columns, row_start, edge_column, check_turn, parity, z):
        return 0
    for iteration in range(1, max_iterations + 1):
        for row in range(row_start.shape[0] - 1):
            a, b = row_start[row], row_start[row + 1]
            update_layer(
                columns, messages[a:b], edge_column[a:b], edge_turn[a:b], work[: b - a + 5], z, scale
            )
        if parity_holds(columns, row_start, edge_column, check_turn, parity, z):
            return iteration
    return -1


@njit(cache=True, nogil=True)
def store_bits(columns: Floats, home: Ints, z: int, bits: Bits) -> None:
    """Hard decisions (n,) from columns (24, Z+P): 1 where the posterior is negative."""
    for c in range(columns.shape[0]):
        lane = home[c]
        for i in range(z):
            bits[c * z + lane] = columns[c, i] < np.float32(0.0)
            lane += 1
            if lane == z:
                lane = 0


@njit(cache=True, nogil=True)
def decode_words(
    llr: Floats,
    home: Ints,
    tables: tuple[Ints, Ints, Ints, Ints],
    z: int,
    padded: int,
    scale: np.float32,
    max_iterations: int,
    bits: Bits,
    iterations: NDArray[np.int32],
) -> None:
    """Decode llr (w, n) into bits (w, n) and iterations (w,), −1 where the checks never held."""
    edges = tables[1].shape[0]
    columns = np.empty((24, z + padded), np.float32)
    messages = np.empty((edges, padded), np.float32)
    work = np.empty((29, padded), np.float32)
    parity = np.empty(padded, np.int32)
    for w in range(llr.shape[0]):
        load_columns(llr[w], home, z, columns)
        iterations[w] = decode_word(columns, messages, work, parity, tables, z, scale, max_iterations)
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

    802.11n's parity part: column 0 has shift 1 in the first and last row and shift 0 in row `middle`, the rest is
    dual-diagonal with shift 0; so the sum of all rows gives the first parity block, and each row the next.
    """
    rows = shifts.shape[0]
    info = 24 - rows
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
        encode_word(words[w].reshape(24, z), shifts, z, middle, sums)
