"""Inner loops of the preamble search; `sync.py` says what they are for."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Indices = NDArray[np.int64]

# NaN must survive these loops, so no assumption beyond reordering of sums is allowed.
REORDER: Final = {"reassoc", "contract"}
LEAST_VARIANCE: Final = 1e-5


@njit(cache=True, nogil=True, fastmath=REORDER)
def block_sums(iq: Floats, lag: int, hop: int, sums: Floats) -> None:
    """Row b of sums (B, 5): Re, Im of Σ x*[n] x[n+lag]; Σ |x|²; Re, Im of Σ x — over block b of `hop` samples.

    iq: (2n,) interleaved; n ≥ B·hop + lag.
    """
    ahead = 2 * lag
    for b in range(sums.shape[0]):
        re, im, energy, sum_i, sum_q = np.float32(0), np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        at = 2 * b * hop
        for n in range(hop):
            i, q = iq[at + 2 * n], iq[at + 2 * n + 1]
            later_i, later_q = iq[at + ahead + 2 * n], iq[at + ahead + 2 * n + 1]
            re += i * later_i + q * later_q
            im += i * later_q - q * later_i
            energy += i * i + q * q
            sum_i += i
            sum_q += q
        sums[b, 0], sums[b, 1], sums[b, 2], sums[b, 3], sums[b, 4] = re, im, energy, sum_i, sum_q


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True, fastmath=REORDER)
def survey(iq: Floats, limit: np.float32, mean: Doubles) -> int:
    """Mean of I and Q into mean (2,), NaN or infinite if any sample is; how many samples reach `limit` on an axis."""
    total_i, total_q, clipped = 0.0, 0.0, 0
    for start in range(0, iq.shape[0], 2048):
        end = min(start + 2048, iq.shape[0])
        sum_i, sum_q, most = np.float32(0), np.float32(0), np.float32(0)
        for n in range(start, end, 2):
            sum_i += iq[n]
            sum_q += iq[n + 1]
            most = max(most, abs(iq[n]), abs(iq[n + 1]))
        if most >= limit:
            clipped += _count(iq[start:end], limit)
        total_i += float(sum_i)
        total_q += float(sum_q)
    mean[0], mean[1] = 2 * total_i / iq.shape[0], 2 * total_q / iq.shape[0]
    return clipped


@njit(cache=True, nogil=True)
def _count(iq: Floats, limit: np.float32) -> int:
    """Samples of iq (2n,) that reach `limit` on an axis."""
    count = 0
    for n in range(0, iq.shape[0], 2):
        count += abs(iq[n]) >= limit or abs(iq[n + 1]) >= limit
    return count
