"""Follow what changes slowly through a frame: carrier phase, channel, and how fast they change.

The changing quantity is a random walk x_t with E|x_{t+1} − x_t|² = q a symbol, seen as y_t = x_t + n_t with
E|n_t|² = v_t. Its best linear estimate from the whole frame is the Kalman filter run forwards and the
Rauch–Tung–Striebel smoother run backwards (AIAA J. 3, 1965); with q = 0 that is the weighted mean.
q comes from the data: E|y_{t+m} − y_t|² = v_t + v_{t+m} + m·q.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.compiled import kernel

Complexes = NDArray[np.complex64]
Doubles = NDArray[np.float64]

LAGS: Final = (1, 2, 4, 8, 16, 32, 64)
LEAST_COHERENCE: Final = 0.7
WALK_LAG: Final = 8
LONGEST_CHANNEL_LAG: Final = 16


def smooth_walk(values: Complexes, noise: Doubles, steps: Doubles) -> Complexes:
    """Best estimate (T, C) of C random walks seen in noise.

    Args:
        values: (T, C) complex64 observations.
        noise: (T,) variance v_t > 0 of each.
        steps: (T−1,) variance ≥ 0 of the walk between one observation and the next.
    """
    smoothed = np.array(values, np.complex64)
    gain, back = _gains(np.asarray(noise, np.float64), np.asarray(steps, np.float64))
    _filter(smoothed, gain.astype(np.float32), back.astype(np.float32))
    return smoothed


def phase_drift(phasors: Complexes) -> float:
    """Variance q a symbol of a phase walk, from noisy phasors (T,) near unit magnitude."""
    lag = min(WALK_LAG, len(phasors) // 2)
    if lag < 2:
        return 0.0
    near, far = (float(np.mean(np.abs(phasors[m:] - phasors[:-m]) ** 2)) for m in (1, lag))
    return max(far - near, 0.0) / (lag - 1)


def channel_drift(channels: Complexes, noise: Doubles, times: Doubles) -> float:
    """Mean variance q a unit of time of channels (T, U) at times (T,), T ≥ 2, seen with noise (T,) a subcarrier.

    From how much farther apart distant channels are than neighbours, so that a wrong `noise` cancels: where the
    channel moves slowly through a long frame, neighbours differ by much less than the error of the noise.
    """
    near, near_time = _excess_change(channels, noise, times, 1)
    far_lag = min(len(channels) // 4, LONGEST_CHANNEL_LAG)
    if far_lag < 2:
        return max(near / near_time, 0.0)
    far, far_time = _excess_change(channels, noise, times, far_lag)
    return max((far - near) / (far_time - near_time), 0.0)


def _excess_change(channels: Complexes, noise: Doubles, times: Doubles, lag: int) -> tuple[float, float]:
    """Mean |change|² over `lag` observations less what noise explains, and the mean time between them."""
    change = np.mean(np.abs(channels[lag:] - channels[:-lag]) ** 2) - np.mean(noise[lag:] + noise[:-lag])
    return float(change), float(np.mean(times[lag:] - times[:-lag]))


def turn_per_symbol(phasors: Complexes) -> tuple[float, float]:
    """Common rotation in radian a symbol of phasors (T,), T ≥ 2, refined over ever longer lags while they agree.

    Returns:
        The rotation, and its variance over that of one phasor's phase: the n differences over m symbols of the last
        lag share all but min(n, m) phasors at either end, so it is 2/(n·m·max(n, m)).
    """
    turn, agreed, spread = 0.0, 0.0, math.inf
    for lag in LAGS:
        if lag > max(len(phasors) // 2, 1):
            break
        product = np.mean(phasors[lag:] * np.conj(phasors[:-lag])) * np.exp(-1j * turn * lag)
        agreed = max(agreed, float(np.abs(product)))
        if np.abs(product) < LEAST_COHERENCE * agreed:
            break
        turn += float(np.angle(product)) / lag
        count = len(phasors) - lag
        spread = 2.0 / (count * lag * max(count, lag))
    return turn, spread


@kernel()
def _gains(noise: Doubles, steps: Doubles) -> tuple[Doubles, Doubles]:
    """Kalman gain of each observation (T,), and smoother gain from each to the next (T−1,)."""
    gain, back = np.ones(len(noise)), np.ones(len(steps))
    variance = noise[0]
    for t in range(1, len(noise)):
        predicted = variance + steps[t - 1]
        back[t - 1] = variance / predicted if predicted > 0 else 1.0
        gain[t] = predicted / (predicted + noise[t])
        variance = (1.0 - gain[t]) * predicted
    return gain, back


@kernel()
def _filter(values: Complexes, gain: NDArray[np.float32], back: NDArray[np.float32]) -> None:
    for t in range(1, values.shape[0]):
        for c in range(values.shape[1]):
            values[t, c] = values[t - 1, c] + gain[t] * (values[t, c] - values[t - 1, c])
    for t in range(values.shape[0] - 2, -1, -1):
        for c in range(values.shape[1]):
            values[t, c] += back[t] * (values[t + 1, c] - values[t, c])
