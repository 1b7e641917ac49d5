"""Constellations of IEEE 802.11 and their soft demapping: BPSK, QPSK, 16-, 64- and 256-QAM.

Unit mean energy, Gray labels, most significant bit first; of b bits per symbol the first b/2 choose the
in-phase level and the last b/2 the quadrature level (IEEE 802.11-2020, 17.3.5.8 and 21.3.10.9). BPSK lies on
the real axis. All label bits 0 is the most negative level.

Received symbols are y = x + n, n circular Gaussian with E|n|² = noise variance; a log-likelihood ratio (LLR)
is log P(bit = 0 | y) − log P(bit = 1 | y), positive where 0 is more likely.
"""

from __future__ import annotations

from functools import cache
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from testbed.compiled import kernel
from testbed.errors import FrameError

Bits = NDArray[np.uint8]
Symbols = NDArray[np.complex64]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

BITS_PER_SYMBOL: Final = (1, 2, 4, 6, 8)
ZERO = np.float32(0.0)
COMPILED: Final = ("C", "W")
"""What compiled functions are compiled for; another layout would compile them anew."""


def level_spacing(bits_per_symbol: int) -> float:
    """Half the distance between neighbouring levels at unit mean energy; FrameError if unknown."""
    if bits_per_symbol not in BITS_PER_SYMBOL:
        raise FrameError(f"bits_per_symbol={bits_per_symbol} is unknown; choose one of {BITS_PER_SYMBOL}")
    if bits_per_symbol == 1:
        return 1.0
    levels = 2 ** (bits_per_symbol // 2)
    return float(np.sqrt(1.5 / (levels**2 - 1)))


@cache
def gray_levels(bits_per_axis: int) -> Doubles:
    """(2^b,) odd level of each label on one axis: −(2^b − 1) for label 0, reflected Gray order upwards."""
    position = np.arange(2**bits_per_axis)
    levels = np.empty(len(position))
    levels[position ^ (position >> 1)] = 2 * position - (len(position) - 1)
    levels.setflags(write=False)
    return levels


@cache
def constellation(bits_per_symbol: int) -> Symbols:
    """(2^b,) complex64 point of each label, label = the symbol's bits, first bit most significant."""
    spacing = level_spacing(bits_per_symbol)
    if bits_per_symbol == 1:
        points = gray_levels(1).astype(np.complex64)
    else:
        axis = gray_levels(bits_per_symbol // 2) * spacing
        points = (axis[:, None] + 1j * axis[None, :]).ravel().astype(np.complex64)
    points.setflags(write=False)
    return points


def map_bits(bits: Bits, bits_per_symbol: int) -> Symbols:
    """Symbols (n/b,) complex64 of bits (n,) uint8 in {0, 1}; FrameError unless b divides n."""
    points = constellation(bits_per_symbol)
    if bits.ndim != 1 or len(bits) % bits_per_symbol:
        raise FrameError(f"bits has shape {bits.shape}; {bits_per_symbol} bits make one symbol")
    symbols = np.empty(len(bits) // bits_per_symbol, np.complex64)
    _map(np.require(bits, np.uint8, COMPILED), bits_per_symbol, points, symbols)
    return symbols


def demap(
    symbols: Symbols,
    noise_variance: ArrayLike,
    bits_per_symbol: int,
    *,
    method: Literal["max-log", "exact"] = "max-log",
) -> Floats:
    """LLRs (n·b,) float32 of symbols (n,).

    Args:
        symbols: (n,) complex64, equalised to unit mean energy of the constellation.
        noise_variance: E|n|² > 0 after equalisation, one for all or (n,) one a symbol; inf marks an erasure.
        bits_per_symbol: 1, 2, 4, 6 or 8.
        method: "max-log" keeps the nearest point of each bit value; "exact" sums over all points.

    Raises:
        FrameError: unknown constellation or method, shapes that do not fit, noise variance not above 0.
    """
    spacing = level_spacing(bits_per_symbol)
    y = np.require(symbols, np.complex64, COMPILED)
    if method == "max-log" and bits_per_symbol == 2 and np.shape(noise_variance) == y.shape:
        llr = np.empty(2 * len(y), np.float32)
        noise = np.require(noise_variance, np.float32, COMPILED)
        if _demap_pairs(y.view(np.float32), noise, np.float32(-4.0 * spacing), llr):
            return llr
    weight = _inverse(noise_variance, len(symbols))
    if method == "exact":
        return _demap_exact(y, weight, bits_per_symbol, spacing)
    if method != "max-log":
        raise FrameError(f"method={method!r} is unknown; choose 'max-log' or 'exact'")
    if bits_per_symbol == 1:
        return np.asarray(y.real * (np.float32(-4.0) * weight), np.float32)
    if bits_per_symbol == 2:
        gain = np.float32(-4.0 * spacing) * weight
        return np.asarray(y.view(np.float32) * (np.repeat(gain, 2) if gain.ndim else gain), np.float32)
    llr = np.empty(len(y) * bits_per_symbol, np.float32)
    slope, offset = _pieces(bits_per_symbol // 2)
    _demap_pieces(y, np.array(np.broadcast_to(weight, y.shape)), np.float32(spacing), slope, offset, llr)
    return llr


def _inverse(noise_variance: ArrayLike, count: int) -> Floats:
    """1/noise as float32, a scalar array or (count,)."""
    noise = np.asarray(noise_variance, dtype=np.float32)
    if noise.shape not in ((), (count,)):
        raise FrameError(f"noise_variance has shape {noise.shape}; give one number or ({count},)")
    if not np.all(noise > 0):
        raise FrameError(f"noise_variance must be above 0 everywhere; its least value is {np.min(noise)}")
    return np.asarray(np.float32(1.0) / noise)


def label_bits(bits_per_axis: int) -> NDArray[np.bool_]:
    """(b, 2^b) whether bit j, first bit most significant, of each label is set."""
    labels = np.arange(2**bits_per_axis)
    return np.array([labels >> (bits_per_axis - 1 - j) & 1 for j in range(bits_per_axis)], dtype=bool)


@cache
def _pieces(bits_per_axis: int) -> tuple[Floats, Floats]:
    """Max-log LLR of one axis as straight lines: slope and offset, each (2·2^b, b) float32.

    In units of the level spacing, the nearest level of a bit value changes only at whole numbers, so on
    [c − 2^b, c + 1 − 2^b) bit j has LLR slope[c, j]·y + offset[c, j] times spacing²/noise.
    """
    levels, is_set = gray_levels(bits_per_axis), label_bits(bits_per_axis)
    centre = np.arange(2 * len(levels)) - len(levels) + 0.5
    slope, offset = np.empty((2, len(centre), bits_per_axis), np.float32)
    for j in range(bits_per_axis):
        zero, one = (
            group[np.argmin(np.abs(centre[:, None] - group), axis=1)]
            for group in (levels[~is_set[j]], levels[is_set[j]])
        )
        slope[:, j], offset[:, j] = 2 * (zero - one), one**2 - zero**2
    return slope, offset


@kernel()
def _map(bits: Bits, width: int, points: Symbols, symbols: Symbols) -> None:
    for i in range(symbols.shape[0]):
        label = 0
        for j in range(width):
            label = label << 1 | bits[i * width + j] & 1
        symbols[i] = points[label]


@kernel()
def _demap_pairs(y: Floats, noise: Floats, slope: np.float32, llr: Floats) -> bool:
    """LLRs (2n,) = slope·y/noise of QPSK y (2n,), interleaved; False, and they are void, unless noise (n,) > 0."""
    good = True
    for i in range(noise.shape[0]):
        good &= noise[i] > ZERO
        gain = slope / noise[i]
        llr[2 * i] = y[2 * i] * gain
        llr[2 * i + 1] = y[2 * i + 1] * gain
    return good


@kernel()
def _demap_pieces(y: Symbols, weight: Floats, spacing: np.float32, slope: Floats, offset: Floats, llr: Floats) -> None:
    cells, bits = slope.shape
    half, last = np.float32(cells // 2), np.float32(cells - 1)
    scale = np.float32(1.0) / spacing
    at = 0
    for i in range(y.shape[0]):
        gain = weight[i] * spacing * spacing
        for value in (y[i].real * scale, y[i].imag * scale):
            place = value + half
            place = place if place > ZERO else ZERO  # NaN goes to cell 0 and stays NaN in the LLR
            cell = int(place) if place < last else cells - 1
            for j in range(bits):
                llr[at] = (slope[cell, j] * value + offset[cell, j]) * gain
                at += 1


def _demap_exact(y: Symbols, weight: Floats, bits_per_symbol: int, spacing: float) -> Floats:
    """Log-sum-exp over the levels of each axis; the axes of square constellations are independent."""
    axes = y.real[:, None] if bits_per_symbol == 1 else y.view(np.float32).reshape(-1, 2)
    per_axis = max(bits_per_symbol // 2, 1)
    llr = np.empty((axes.shape[0], axes.shape[1], per_axis), np.float32)
    weights = np.array(np.broadcast_to(weight, y.shape), np.float64)
    _sum_levels(np.ascontiguousarray(axes), weights, gray_levels(per_axis) * spacing, label_bits(per_axis), llr)
    return llr.ravel()


@kernel()
def _sum_levels(axes: Floats, weight: Doubles, levels: Doubles, is_set: NDArray[np.bool_], llr: Floats) -> None:
    metric = np.empty(levels.shape[0])
    for i in range(axes.shape[0]):
        for a in range(axes.shape[1]):
            for m in range(levels.shape[0]):
                metric[m] = -weight[i] * (axes[i, a] - levels[m]) ** 2
            for j in range(is_set.shape[0]):
                llr[i, a, j] = _log_sum(metric, is_set[j], False) - _log_sum(metric, is_set[j], True)


@kernel()
def _log_sum(metric: Doubles, is_set: NDArray[np.bool_], wanted: bool) -> float:
    """Sum log Σ exp(metric) over the levels whose bit is `wanted`."""
    best = -np.inf
    for m in range(metric.shape[0]):
        if is_set[m] == wanted:
            best = max(best, metric[m])
    total = 0.0
    for m in range(metric.shape[0]):
        if is_set[m] == wanted:
            total += np.exp(metric[m] - best)
    return float(best + np.log(total))
