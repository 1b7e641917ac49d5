"""The known start of every frame: a short periodic part, then a long part of two equal symbols.

    | short: periods of N/4 samples | guard: 2·CP samples | long: N | long again: N |

The short part uses every fourth subcarrier, so it repeats every N/4 samples and its autocorrelation reaches
±2 subcarriers of carrier offset; the long part tells which multiple of 4 is to be added. The guard is a cyclic
continuation of the long symbol.

Phases are random at first and then relaxed for a low crest factor (about 2 dB) by clipping and restoring unit
magnitudes (Van der Ouderaa, Schoukens and Renneboog, IEEE Trans. Instrum. Meas. 37, 1988). Unlike chirps
(Newman, Zadoff–Chu), such sequences do not trade a carrier offset for a delay.

Power: each subcarrier of the long part has the grid's amplitude, the one of data. The short part has fewer
subcarriers and the same total power as a full symbol.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from testbed.ofdm.grid import Grid

Samples = NDArray[np.complex64]

SHORT_SPACING: Final = 4
LEAST_WINDOW: Final = 448
OVERSAMPLING: Final = 4
RELAXATIONS: Final = 100
CLIP_LEVEL: Final = 1.1


def short_period(grid: Grid) -> int:
    """Samples after which the short part repeats."""
    return grid.fft_size // SHORT_SPACING


def short_samples(grid: Grid) -> int:
    """Length of the short part: one period more than the window that a detector averages over."""
    period = short_period(grid)
    return period * (-(-max(LEAST_WINDOW, grid.fft_size) // period) + 1)


def guard_samples(grid: Grid) -> int:
    """Length of the cyclic guard before the long part."""
    return 2 * grid.cyclic_prefix


def preamble_samples(grid: Grid) -> int:
    """Length of the whole preamble."""
    return short_samples(grid) + guard_samples(grid) + 2 * grid.fft_size


@lru_cache(maxsize=32)
def training(grid: Grid) -> Samples:
    """(U,) complex64 long symbol, of unit magnitude on every used subcarrier."""
    return _locked(_low_crest(grid.used, grid.fft_size, grid.fingerprint).astype(np.complex64))


@lru_cache(maxsize=32)
def retraining(grid: Grid) -> Samples:
    """(U,) complex64 known symbol of sounding and training rows: another one, so that no row looks like a preamble."""
    return _locked(_low_crest(grid.used, grid.fft_size, grid.fingerprint ^ 3).astype(np.complex64))


@lru_cache(maxsize=32)
def preamble(grid: Grid) -> Samples:
    """(n,) complex64 samples of the preamble at the grid's amplitude; n = preamble_samples(grid)."""
    short, long = short_symbol(grid), long_symbol(grid)
    repeats = short_samples(grid) // short_period(grid)
    guard = long[-guard_samples(grid) :]
    return _locked(np.concatenate([np.tile(short, repeats), guard, long, long]))


@lru_cache(maxsize=32)
def long_symbol(grid: Grid) -> Samples:
    """(N,) complex64 samples of one long symbol, without prefix."""
    return _locked(_synthesise(grid, grid.used, training(grid) * grid.amplitude))


@lru_cache(maxsize=32)
def short_symbol(grid: Grid) -> Samples:
    """(N/4,) complex64 samples of one period of the short part."""
    lines = grid.used[grid.offsets % SHORT_SPACING == 0]
    boost = np.sqrt(len(grid.used) / len(lines))
    phases = _low_crest(lines, grid.fft_size, grid.fingerprint ^ 1)
    return _locked(_synthesise(grid, lines, phases * grid.amplitude * boost)[: short_period(grid)])


def _low_crest(bins: NDArray[np.int64], fft_size: int, seed: int) -> NDArray[np.complex128]:
    """Unit-magnitude values on `bins` whose oversampled time signal has a low crest factor."""
    size = OVERSAMPLING * fft_size
    where = np.where(bins < fft_size // 2, bins, bins + size - fft_size)
    generator = np.random.Generator(np.random.PCG64(seed))
    values = np.exp(2j * np.pi * generator.random(len(bins)))
    for _ in range(RELAXATIONS):
        spectrum = np.zeros(size, complex)
        spectrum[where] = values
        signal = scipy.fft.ifft(spectrum)
        magnitude = np.abs(signal)
        limit = CLIP_LEVEL * np.sqrt(np.mean(magnitude**2))
        clipped = scipy.fft.fft(signal * np.minimum(1.0, limit / np.maximum(magnitude, 1e-30)))[where]
        values = clipped / np.abs(clipped)
    return np.asarray(values)


def _synthesise(grid: Grid, bins: NDArray[np.int64], values: NDArray[np.complexfloating]) -> Samples:
    spectrum = np.zeros(grid.fft_size, complex)
    spectrum[bins] = values
    return np.asarray(scipy.fft.ifft(spectrum) * grid.fft_size, np.complex64)


def _locked(samples: Samples) -> Samples:
    samples.setflags(write=False)
    return samples
