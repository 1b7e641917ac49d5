"""Find the preamble in a capture: where the frame begins and how far the carriers are apart.

Two stages, each immune to what fools the other:

1. `detect` looks for a signal that repeats every N/4 samples (Schmidl and Cox, IEEE Trans. Commun. 45, 1997). Its
   metric |c|²/(v₁v₂), from covariance and variances of a window of W samples and of the same window N/4 later, each
   without its mean, exceeds t in white noise with probability (1 − t)^(W−1). So the threshold for a false-alarm rate
   f is t = 1 − f^(1/(W−1)); a DC offset has no covariance. The phase of c gives the offset modulo 4 subcarriers.
2. `acquire` correlates with the known long symbol at every offset that stage 1 leaves open, ±10 subcarriers. The
   product of the correlations with its two copies, summed over a cyclic prefix of delays, collects the energy of
   all paths and decides the multiple of 4. It rejects what merely repeats, tones among them: the sum must exceed
   what noise of the received power reaches at any delay, and stand out from the sums at other delays. The first path
   sets the timing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from testbed.errors import FrameError
from testbed.ofdm import sync_kernels
from testbed.ofdm.grid import Grid
from testbed.ofdm.preamble import (
    SHORT_SPACING,
    guard_samples,
    long_symbol,
    preamble_samples,
    short_period,
    short_samples,
)

Samples = NDArray[np.complex64]

MAX_CFO: Final = 10.0
FALSE_ALARM: Final = 1e-6
# Share of signals that repeat but are no preamble which stage 2 lets pass; the header's checksum is still to come.
MISMATCH: Final = 0.3
# The sums that count as usual; the preamble itself, with the longest prefix, fills half of the delays.
USUAL_QUANTILE: Final = 0.25
# Weaker repetition than this (−8 dB SNR) cannot be decoded anyway, and long windows would see coloured noise.
LEAST_THRESHOLD: Final = 0.02
LONGEST_HOP: Final = 32
TIER_DB: Final = 10.0
FULL_SCALE: Final = 0.999
# Fourth powers of more, summed over a symbol, leave the range of float32.
LARGEST: Final = 1e8
FIRST_PATH: Final = 0.05
# Noise alone passes this at one delay in 10000.
LEAST_PATH: Final = 12.0


@dataclass(frozen=True)
class Survey:
    """A look at a whole capture: mean (its DC offset) and number of samples at full scale."""

    mean: complex
    clipped: int


@dataclass(frozen=True)
class Detection:
    """Something that repeats like the short part.

    Attributes:
        index: sample at which the best window begins, about the start of a frame.
        cfo: carrier offset in subcarriers, known modulo 4, in −2…2.
        metric: squared correlation coefficient, 0…1.
        power: squared covariance, in which strong preambles stand out.
    """

    index: int
    cfo: float
    metric: float
    power: float


@dataclass(frozen=True)
class Acquisition:
    """A preamble.

    Attributes:
        start: sample of the capture at which the frame begins, on its first path; may be slightly negative.
        cfo: carrier offset in subcarriers, within ±10.5; positive when the transmitter is higher.
        score: correlation with the long part over its threshold, above 1.
    """

    start: int
    cfo: float
    score: float


def checked(samples: NDArray[Any]) -> Samples:
    """The capture (n,) as contiguous complex64; FrameError unless it is a one-dimensional complex array, not empty."""
    if not isinstance(samples, np.ndarray) or samples.ndim != 1 or not np.iscomplexobj(samples):
        kind = f"{samples.dtype} {samples.shape}" if isinstance(samples, np.ndarray) else type(samples).__name__
        raise FrameError(f"samples must be a one-dimensional complex64 array, got {kind}")
    if not len(samples):
        raise FrameError("samples is empty; capture at least one frame")
    with np.errstate(over="ignore"):  # infinite then, which `survey` refuses
        return np.ascontiguousarray(samples, np.complex64)


def survey(samples: Samples) -> Survey:
    """Mean and clipping of samples (n,) complex64; FrameError when some are NaN, infinite or beyond 1e8."""
    mean = np.zeros(2)
    limit = int(np.float32(FULL_SCALE).view(np.int32))
    clipped, largest = sync_kernels.survey(samples.view(np.float32), samples.view(np.int32), limit, mean)
    if largest >= sync_kernels.INFINITE:
        raise FrameError("samples holds NaN or infinite values; discard this capture")
    if largest > np.float32(LARGEST).view(np.int32):
        raise FrameError(f"samples reach beyond {LARGEST:g}; divide them by the converter's full scale")
    return Survey(complex(mean[0], mean[1]), int(clipped))


def window_samples(grid: Grid) -> int:
    """W: samples that one value of the detection metric averages over."""
    return short_samples(grid) - short_period(grid)


def detection_threshold(grid: Grid, false_alarm: float = FALSE_ALARM) -> float:
    """Metric that white noise exceeds in a share `false_alarm` of all windows, at least 0.02."""
    return max(-math.expm1(math.log(false_alarm) / (window_samples(grid) - 1)), LEAST_THRESHOLD)


def detect(grid: Grid, samples: Samples, begin: int = 0, *, false_alarm: float = FALSE_ALARM) -> list[Detection]:
    """Every place at or after `begin` in samples (n,) that repeats like the short part, in order of time."""
    lag, width, hop = short_period(grid), window_samples(grid), _hop(grid)
    correlation = _correlate(samples[begin:], lag, width, hop)
    reach = short_samples(grid) // hop
    found = np.empty(2 * len(correlation) // reach + 2, np.int64)
    count = sync_kernels.peaks(correlation, detection_threshold(grid, false_alarm), reach, found)
    return [_detection(begin + int(w) * hop, *correlation[w]) for w in found[:count]]


def _detection(index: int, re: float, im: float, metric: float) -> Detection:
    cfo = math.atan2(im, re) / (2 * math.pi) * SHORT_SPACING
    return Detection(index, cfo, float(metric), re * re + im * im)


def strong_first(found: list[Detection]) -> list[Detection]:
    """Detections within 10 dB of the strongest in order of time, then those within 20 dB, and so on.

    The short part has the power of a full symbol, so what a sparsely filled payload mimics comes later.
    """
    most = max((one.power for one in found), default=1.0)
    return sorted(found, key=lambda one: (int(5.0 * math.log10(most / one.power) / TIER_DB), one.index))


def acquire(grid: Grid, samples: Samples, begin: int = 0, *, false_alarm: float = FALSE_ALARM) -> Acquisition | None:
    """First preamble at or after `begin` in samples (n,) complex64, strong ones before weak ones.

    None when the capture holds no whole one.
    """
    for found in strong_first(detect(grid, samples, begin, false_alarm=false_alarm)):
        acquired = confirm(grid, samples, found)
        if acquired is not None:
            return acquired
    return None


def _hop(grid: Grid) -> int:
    """Samples between two values of the metric: the largest divisor of the period up to 32."""
    period = short_period(grid)
    return max(h for h in range(1, LONGEST_HOP + 1) if period % h == 0)


def _correlate(samples: Samples, lag: int, width: int, hop: int) -> NDArray[np.float64]:
    """(C, 3) covariance and metric of the windows that begin at 0, hop, 2·hop…; samples hold two periods more."""
    blocks = max(len(samples) - lag, 0) // hop
    sums = np.empty((blocks, 5), np.float32)
    sync_kernels.block_sums(np.ascontiguousarray(samples).view(np.float32), lag, hop, sums)
    correlation = np.empty((max(blocks - (width + lag) // hop + 1, 0), 3))
    if len(correlation):
        sync_kernels.window_metric(sums, lag // hop, width // hop, width, correlation)
    return correlation


def confirm(grid: Grid, samples: Samples, found: Detection) -> Acquisition | None:
    """Match the long part around `found`; None when it is not there, or reaches past the end of the capture."""
    n, reach, prefix = grid.fft_size, window_samples(grid) // 2, grid.cyclic_prefix
    length = _template_samples(grid)
    first = max(found.index + short_samples(grid) - reach, 0)
    segment = samples[first : found.index + short_samples(grid) + reach + prefix + length + n]
    delays = len(segment) - length - n - prefix
    if delays <= 0:
        return None
    segment = segment - np.mean(segment)
    offsets, matched = _match(grid, segment, found.cfo)
    product = np.conj(matched[:, : delays + prefix]) * matched[:, n : delays + prefix + n]
    collected = np.abs(_moving_sum(product, prefix))
    which, delay = np.unravel_index(int(np.argmax(collected)), collected.shape)
    pair = segment[delay : delay + prefix + length + n]
    noise = length * float(np.vdot(pair, pair).real) / len(pair)
    score = float(collected[which, delay]) / max(_most_without(grid, collected[which], noise, collected.size), 1e-30)
    span = matched[which, delay : delay + prefix], matched[which, n + delay : n + delay + prefix]
    path = first + int(delay) + _first_path(np.abs(span[0]) ** 2 + np.abs(span[1]) ** 2, noise)
    cfo = float(offsets[which]) + float(np.angle(np.vdot(*span))) / (2 * math.pi)
    start = path - short_samples(grid)
    complete = start + preamble_samples(grid) <= len(samples)
    return Acquisition(start, cfo, score) if score > 1.0 and complete else None


def _match(grid: Grid, segment: Samples, coarse: float) -> tuple[NDArray[np.float64], Samples]:
    """Carrier offsets (c,) that are open, and at each the correlation (c, n) of segment (n,) with the template."""
    n = len(segment)
    multiples, references = _references(grid)
    offsets = multiples + coarse
    is_open = np.abs(offsets) <= MAX_CFO
    turn = np.exp(-2j * np.pi * coarse / grid.fft_size * np.arange(n)).astype(np.complex64)
    spectrum = scipy.fft.fft(segment * turn, references.shape[1])
    return offsets[is_open], scipy.fft.ifft(spectrum * references[is_open], axis=1)[:, :n]


def _most_without(grid: Grid, collected: NDArray[np.floating], noise: float, tries: int) -> float:
    """What sums of products collected (n,) reach without a preamble in all but a share MISMATCH of cases.

    A sum has the terms CP·U/N that differ. White noise gives each a random phase and magnitude `noise`, besides what
    the two templates share. A repeating signal gives them one phase and exponentially distributed magnitudes; their
    sum passes x times its mean with a probability of e^−t at most where x = 1 + √(2t/terms) + t/terms
    (S. Boucheron et al., Concentration Inequalities, 2.4).
    """
    terms = max(grid.cyclic_prefix * len(grid.used) / grid.fft_size, 1.0)
    unlikely = math.log(tries / MISMATCH)
    shared = guard_samples(grid) / _template_samples(grid)
    of_noise = noise * grid.cyclic_prefix * (shared + math.sqrt(unlikely / terms))
    usual = float(np.quantile(collected, USUAL_QUANTILE))
    return max(of_noise, usual * (1.0 + math.sqrt(2.0 * unlikely / terms) + unlikely / terms))


def _template_samples(grid: Grid) -> int:
    """The template is a long symbol with the guard before it; the second long symbol has the same before it.

    Without the guard, a match one symbol too early, at the guard, would come close to the right one.
    """
    return guard_samples(grid) + grid.fft_size


@lru_cache(maxsize=32)
def _references(grid: Grid) -> tuple[NDArray[np.float64], Samples]:
    """Multiples of 4 subcarriers (c,) and the matched filters (c, size) of the template shifted by each."""
    length = _template_samples(grid)
    multiples = np.arange(-3.0, 4.0) * SHORT_SPACING
    longest = 2 * (window_samples(grid) // 2) + grid.cyclic_prefix + length + grid.fft_size
    template = np.resize(long_symbol(grid), 2 * grid.fft_size)[-length:]
    template = template / math.sqrt(np.mean(np.abs(template) ** 2))
    shifted = template * np.exp(2j * np.pi / grid.fft_size * multiples[:, None] * np.arange(length))
    filters = np.conj(scipy.fft.fft(shifted, scipy.fft.next_fast_len(longest + length), axis=1))
    return multiples, filters.astype(np.complex64)


def _moving_sum(values: Samples, width: int) -> Samples:
    """Sums of values[:, i : i + width], for as many i as fit, less one."""
    total = np.zeros((len(values), values.shape[1] + 1), np.complex64)
    np.cumsum(values, axis=1, out=total[:, 1:])
    return np.asarray(total[:, width:-1] - total[:, : -width - 1])


def _first_path(power: NDArray[np.floating], floor: float) -> int:
    """Position of the first of the powers (CP,) that is a path: 5 % of the strongest and well above the noise."""
    least = max(FIRST_PATH * float(np.max(power)), LEAST_PATH * floor)
    above = np.flatnonzero(power >= min(least, float(np.max(power))))
    return int(above[0])
