"""The drift of the sample clocks, followed from one training symbol to the next.

Two views of the delay, each good where the other is not:

- the step from one training symbol to the next, from the phase over the whole band: precise to hundredths of
  a sample while the channel stands still, but steps add up errors when it fades;
- the mean delay of each training symbol, from neighbouring subcarriers: noisy, moved by fading within the
  delay spread, but errors never add up.

Each gives a rate (delay a symbol) with a variance taken from its own scatter; these and what crystals are like
are combined by their inverse variances.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.compiled import kernel
from testbed.ofdm.estimate import lmmse, mean_delay, ramp, relative_delay
from testbed.ofdm.frame_opening import MOST_CLOCK_OFFSET, Opening, bounded_rate
from testbed.ofdm.grid import Grid, Indices

Cells = NDArray[np.complex64]
Doubles = NDArray[np.float64]

TYPICAL_CLOCK_OFFSET: Final = 5e-5
# Variance in samples² of a step whose channel has changed by all its energy, and at least.
STEP_VARIANCE: Final = 1.0
LEAST_STEP_VARIANCE: Final = 1e-6


class Clock:
    """Delay a symbol, `rate`, refined as training symbols are heard.

    Args:
        grid: of the frame.
        opening: channel and first guess of the rate.
        known: (B,) rows of all training symbols.
    """

    def __init__(self, grid: Grid, opening: Opening, known: Indices) -> None:
        self._grid, self._known, self._begin = grid, known, opening.time
        self._times = np.concatenate([[opening.time], known])
        self._last, _ = lmmse(grid, opening.ls, opening.noise / opening.count, grid.cyclic_prefix)
        self._shown = 0
        self._steps, self._variances = np.zeros(len(known)), np.ones(len(known))
        self._means, self._powers = np.zeros(len(known) + 1), np.zeros(len(known) + 1)
        mean, power = mean_delay(grid, self._last[None])
        self._means[0], self._powers[0] = mean[0], power[0]
        self.rate = opening.rate

    def slip(self, rows: Indices) -> Indices:
        """(rows,) whole samples by which to move windows, constant between training symbols."""
        end = self._known[np.searchsorted(self._known, rows)]
        return np.asarray(np.rint(self.rate * (end - self._begin)), np.int64)

    def hear(self, trained: slice, channels: Cells, slip: Indices) -> None:
        """Take in the next training symbols `trained`: channels (b, U) seen through windows moved by slip (b,)."""
        intervals = np.diff(self._times[trained.start : trained.stop + 1])
        expected = self.rate * intervals - np.diff(slip, prepend=self._shown)
        before = np.vstack([self._last[None], channels[:-1]]) * ramp(self._grid, expected)
        most = 0.5 + MOST_CLOCK_OFFSET * self._grid.symbol_samples * float(intervals.max())
        surprise, change = relative_delay(self._grid, before, channels, most)
        self._steps[trained] = self.rate * intervals + np.minimum(np.maximum(surprise, -most), most)
        self._variances[trained] = STEP_VARIANCE * change**2 + LEAST_STEP_VARIANCE
        mean, self._powers[trained.start + 1 : trained.stop + 1] = mean_delay(self._grid, channels)
        self._means[trained.start + 1 : trained.stop + 1] = mean + slip
        self._last, self._shown = channels[-1], int(slip[-1])
        self.rate = self._fit(trained.stop)

    def _fit(self, count: int) -> float:
        typical = (TYPICAL_CLOCK_OFFSET * self._grid.symbol_samples) ** 2
        views = (
            step_rate(np.diff(self._times[: count + 1]), self._steps[:count], self._variances[:count]),
            mean_rate(self._times[: count + 1], self._means[: count + 1], self._powers[: count + 1]),
        )
        precision = 1 / typical + sum(1 / variance for _, variance in views)
        return bounded_rate(self._grid, sum(rate / variance for rate, variance in views) / precision)


@kernel()
def step_rate(intervals: Doubles, steps: Doubles, variances: Doubles) -> tuple[float, float]:
    """Rate from steps of delay over intervals, and its variance; scatter above `variances` enlarges it."""
    precision = np.sum(intervals**2 / variances)
    rate = np.sum(intervals * steps / variances) / precision
    excess = float(np.mean((steps - rate * intervals) ** 2 / variances))
    return rate, max(excess, 1.0) / precision


@kernel()
def mean_rate(times: Doubles, means: Doubles, powers: Doubles) -> tuple[float, float]:
    """Rate from mean delays at times, weighed by power, and its variance.

    The scatter is taken together with two observations 1 sample off, so that few points are not trusted.
    """
    weights = powers / max(float(np.mean(powers)), 1e-30)
    spread = times - np.sum(weights * times) / np.sum(weights)
    precision = np.sum(weights * spread**2)
    rate = np.sum(weights * spread * means) / precision
    left = means - rate * spread
    left = left - np.sum(weights * left) / np.sum(weights)
    return rate, (np.sum(weights * left**2) + 2.0) / len(times) / precision
