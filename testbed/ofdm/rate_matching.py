"""Where each bit of a block goes: LDPC codewords, shortening, puncturing, repetition, interleaving.

A `Layout` is one table for all of it. Known zeros fill a codeword up to the code's k (shortening) and are not
sent; too many coded bits repeat, too few lose parity bits (puncturing), spread so that no check loses two
before every check has lost one. The interleaver is i → (q·i) mod N with q near N over the golden ratio: coded
bits that neighbour in a codeword lie far apart in the block, and every codeword visits every part of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import gcd, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.compiled import kernel
from testbed.errors import FrameError
from testbed.ofdm import ldpc

Bits = NDArray[np.uint8]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

KNOWN_LLR: Final = ldpc.LLR_LIMIT


@dataclass(frozen=True, eq=False)
class Layout:
    """How K information bits travel in N coded bits.

    Attributes:
        code: the LDPC code of every codeword.
        codewords: their number C.
        info: (K,) place of each information bit in the flat (C·n) codeword bits.
        place: (N,) place of each coded bit, in sending order, in the flat (C·n) codeword bits.
        known: (C·k − K,) places in the flat (C·n) codeword bits that are known zeros.
    """

    code: ldpc.Code
    codewords: int
    info: Ints
    place: Ints
    known: Ints


@lru_cache(maxsize=256)
def layout(info_bits: int, coded_bits: int) -> Layout:
    """The layout of info_bits in coded_bits; FrameError where coded_bits < info_bits."""
    if coded_bits < info_bits:
        raise FrameError(f"coded_bits={coded_bits} cannot carry {info_bits} information bits; give more")
    code, codewords = choose_code(info_bits, coded_bits)
    info, sent, known = [], [], []
    shares = zip(_split(info_bits, codewords), _split(coded_bits, codewords), strict=True)
    for word, (share, length) in enumerate(shares):
        info.append(word * code.n + np.arange(share))
        known.append(word * code.n + np.arange(share, code.k))
        sent.append(word * code.n + _sent(code, share, length))
    place = np.empty(coded_bits, np.int64)
    place[interleaving(coded_bits)] = np.concatenate(sent)
    tables = np.concatenate(info), place, np.concatenate(known)
    for table in tables:
        table.setflags(write=False)
    return Layout(code, codewords, *tables)


def choose_code(info_bits: int, coded_bits: int) -> tuple[ldpc.Code, int]:
    """The code and number of codewords that lose least; see `_loss`."""
    candidates = [ldpc.load_code(n, rate) for n in ldpc.LENGTHS for rate in ldpc.RATES]
    code = min(candidates, key=lambda c: _loss(c, info_bits, coded_bits))
    return code, -(-info_bits // code.k)


def _loss(code: ldpc.Code, info_bits: int, coded_bits: int) -> float:
    """Loss in dB of carrying the block with this code: short codewords, puncturing, repetition.

    Fitted to measured thresholds of the twelve codes at blocks of 32…600 bytes and rates 1/2…5/6.
    """
    words = -(-info_bits // code.k)
    parity = code.n - code.k
    unique = info_bits / words + parity
    length = coded_bits / words
    punctured = max(unique - length, 0.0) / parity
    repeated = max(length - unique, 0.0) / length
    return 33.0 / sqrt(length) + 1.6 * punctured**2 + 5.0 * repeated


def _split(total: int, parts: int) -> list[int]:
    """Parts that differ by at most one and add up to total."""
    return [total // parts + (i < total % parts) for i in range(parts)]


def _sent(code: ldpc.Code, info_bits: int, length: int) -> Ints:
    """(length,) places within a codeword that are sent, in codeword order, repeated or punctured."""
    parity = np.arange(code.k, code.n)
    lost = max(info_bits + len(parity) - length, 0)
    if lost > 0:
        parity = np.sort(np.setdiff1d(parity, puncturing_order(code)[:lost]))
    unique = np.concatenate([np.arange(info_bits), parity])
    return np.resize(unique, length)


def puncturing_order(code: ldpc.Code) -> Ints:
    """(n−k,) parity places in the order in which they are given up.

    Every second dual-diagonal block column first: its neighbours stay, so no check misses two bits. Within
    the columns the order takes widely spaced places, so that what is missing spreads over all checks.
    """
    rows = code.shifts.shape[0]
    columns = np.arange(rows)
    groups = [columns[1::2], columns[2::2], columns[:1]]
    places = [(code.k + g[:, None] * code.z + np.arange(code.z)).ravel() for g in groups]
    return np.concatenate([p[interleaving(len(p))] for p in places])


def interleaving(length: int) -> Ints:
    """(length,) place of the i-th item: (q·i) mod length, q coprime to length and near length/1.618."""
    step = max(round(length * (sqrt(5) - 1) / 2), 1)
    while gcd(step, length) != 1:
        step += 1
    return np.arange(length, dtype=np.int64) * step % length


def collect(words: Bits, plan: Layout) -> Bits:
    """Sent bits (b, N) of codeword bits (b, C·n)."""
    return np.take(words, plan.place, axis=1)


def spread(llr: Floats, plan: Layout) -> Floats:
    """Codeword LLRs (b, C·n) of received llr (b, N): repeats added, punctured 0, shortened known."""
    words = np.zeros((len(llr), plan.codewords * plan.code.n), np.float32)
    _add_at(np.require(llr, np.float32, ("C", "W")), plan.place, words)
    words[:, plan.known] = KNOWN_LLR
    return words


@kernel()
def _add_at(llr: Floats, place: Ints, words: Floats) -> None:
    for b in range(llr.shape[0]):
        for i in range(place.shape[0]):
            words[b, place[i]] += llr[b, i]
