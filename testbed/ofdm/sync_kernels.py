"""Inner loops of the preamble search; `sync.py` says what they are for."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.compiled import kernel
from testbed.ofdm import simd

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Indices = NDArray[np.int64]
Bits = NDArray[np.int32]

REORDER: Final = {"reassoc", "contract"}
LANES: Final = simd.LANES
ZERO: Final = np.float32(0.0)
SURVEY_CHUNK: Final = 4096
MAGNITUDE: Final = np.int32(0x7FFFFFFF)
INFINITE: Final = 0x7F800000
LEAST_VARIANCE: Final = 1e-5


@kernel(fastmath=REORDER)
def block_sums(iq: Floats, lag: int, hop: int, sums: Floats) -> None:
    """Row b of sums (B, 5): Re, Im of Σ x*[n] x[n+lag]; Σ |x|²; Re, Im of Σ x — over block b of `hop` samples.

    iq: (2n,) interleaved; n ≥ B·hop + lag.
    """
    whole = 2 * hop // LANES * LANES
    for b in range(sums.shape[0]):
        at = 2 * b * hop
        along, across = simd.fill(ZERO), simd.fill(ZERO)
        energy, total = simd.fill(ZERO), simd.fill(ZERO)
        for n in range(at, at + whole, LANES):
            x, later = simd.load(iq, n), simd.load(iq, n + 2 * lag)
            along = simd.add(along, simd.multiply(x, later))
            across = simd.add(across, simd.multiply(x, simd.swap_pairs(later)))
            energy = simd.add(energy, simd.multiply(x, x))
            total = simd.add(total, x)
        (even, odd), (crossed, back) = simd.sum_pairs(along), simd.sum_pairs(across)
        (i_energy, q_energy), (sum_i, sum_q) = simd.sum_pairs(energy), simd.sum_pairs(total)
        sums[b, 0], sums[b, 1], sums[b, 2] = even + odd, crossed - back, i_energy + q_energy
        sums[b, 3], sums[b, 4] = sum_i, sum_q
        if whole < 2 * hop:
            _add_samples(iq[at + whole : at + 2 * hop], iq[at + whole + 2 * lag : at + 2 * hop + 2 * lag], sums[b])


@kernel()
def _add_samples(iq: Floats, later: Floats, sums: Floats) -> None:
    """Add samples (2n,) and their partners to a row (5,): those that do not fill a vector."""
    for n in range(0, iq.shape[0], 2):
        i, q = iq[n], iq[n + 1]
        sums[0] += i * later[n] + q * later[n + 1]
        sums[1] += i * later[n + 1] - q * later[n]
        sums[2] += i * i + q * q
        sums[3] += i
        sums[4] += q


@kernel()
def window_metric(sums: Floats, lag: int, width: int, samples: int, correlation: Doubles) -> None:
    """Row w of correlation (C, 3): Re, Im of the covariance at `lag` blocks, and |covariance|²/(variances).

    The window is `width` blocks of in all `samples` samples from block w on, its partner the same window `lag`
    blocks later; each has its own mean removed. The ratio is 0 where the window holds (almost) nothing but DC.
    """
    now, later = np.zeros(5), np.zeros(5)
    for b in range(width):
        for c in range(5):
            now[c] += sums[b, c]
            later[c] += sums[b + lag, c]
    for w in range(correlation.shape[0]):
        re = now[0] - (now[3] * later[3] + now[4] * later[4]) / samples
        im = now[1] - (now[3] * later[4] - now[4] * later[3]) / samples
        first = now[2] - (now[3] ** 2 + now[4] ** 2) / samples
        second = later[2] - (later[3] ** 2 + later[4] ** 2) / samples
        alive = first > LEAST_VARIANCE * now[2] and second > LEAST_VARIANCE * later[2]
        correlation[w, 0], correlation[w, 1] = re, im
        correlation[w, 2] = (re * re + im * im) / (first * second) if alive else 0.0
        if w + 1 < correlation.shape[0]:
            for c in range(5):
                now[c] += sums[w + width, c] - sums[w, c]
                later[c] += sums[w + width + lag, c] - sums[w + lag, c]


@kernel()
def peaks(correlation: Doubles, threshold: float, reach: int, found: Indices) -> int:
    """Windows into found (F,): above `threshold`, and no larger covariance in the next `reach`. How many there are.

    The search goes on half of `reach` after each.
    """
    count, best, best_power, w = 0, -1, 0.0, 0
    while count < found.shape[0]:
        if best >= 0 and (w > best + reach or w == correlation.shape[0]):
            found[count] = best
            count += 1
            w, best, best_power = best + max(reach // 2, 1), -1, 0.0
        if w >= correlation.shape[0]:
            break
        power = correlation[w, 0] ** 2 + correlation[w, 1] ** 2
        if correlation[w, 2] > threshold and power > best_power:
            best, best_power = w, power
        w += 1
    return count


@kernel()
def survey(iq: Floats, bits: Bits, limit: int, mean: Doubles) -> tuple[int, int]:
    """Mean of I and Q of iq (2n,) into mean (2,); how many samples reach a magnitude on an axis; the largest one.

    Magnitudes are bit patterns, which order as their floats do: bits (2n,) is iq seen as int32, `limit` a pattern.
    Infinity has the pattern 0x7f800000 and NaN a larger one.
    """
    total_i, total_q, clipped, largest = 0.0, 0.0, 0, 0
    for start in range(0, iq.shape[0], SURVEY_CHUNK):
        end = min(start + SURVEY_CHUNK, iq.shape[0])
        whole = start + (end - start) // LANES * LANES
        total = simd.fill(ZERO)
        for n in range(start, whole, LANES):
            total = simd.add(total, simd.load(iq, n))
        sum_i, sum_q = simd.sum_pairs(total)
        for n in range(whole, end, 2):
            sum_i += iq[n]
            sum_q += iq[n + 1]
        most = _largest(bits[start:end])
        if most >= limit:
            clipped += _count(bits[start:end], limit)
        largest = max(largest, most)
        total_i += float(sum_i)
        total_q += float(sum_q)
    mean[0], mean[1] = 2 * total_i / iq.shape[0], 2 * total_q / iq.shape[0]
    return clipped, largest


@kernel()
def _largest(bits: Bits) -> int:
    most = np.int32(0)
    for n in range(bits.shape[0]):
        most = max(most, bits[n] & MAGNITUDE)
    return int(most)


@kernel()
def _count(bits: Bits, limit: int) -> int:
    """Samples of bits (2n,) that reach `limit` on an axis."""
    count = 0
    for n in range(0, bits.shape[0], 2):
        count += (bits[n] & MAGNITUDE) >= limit or (bits[n + 1] & MAGNITUDE) >= limit
    return count
