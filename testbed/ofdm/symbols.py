"""OFDM symbols: cells on used subcarriers ↔ samples with cyclic prefix.

With grid amplitude g, N = fft_size and cell s_k on subcarrier offset k, sample n of a symbol is

    x[n] = g Σ_k s_k exp(j2πkn/N),   n = −CP … N−1.

The receiver takes Y_k = (1/N) Σ_n y[n] exp(−j2πkn/N), so Y_k = h_k s_k + noise with h_k = g × channel: |h_k|² is
the received power of the subcarrier, 1 being a complex tone that just reaches full scale.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from testbed.compiled import kernel
from testbed.errors import FrameError
from testbed.ofdm.grid import Grid, Indices

Samples = NDArray[np.complex64]
Cells = NDArray[np.complex64]

CHUNK: Final = 128
"""Symbols transformed at a time; their spectra stay in the cache."""


def modulate(grid: Grid, cells: Cells, out: Samples | None = None, *, limit: float = math.inf) -> Samples:
    """Samples (T·(N+CP),) of T symbols with cells (T, U) complex64 on `grid.used`.

    `out` (T·(N+CP),) complex64 takes the samples if given; each axis is clipped to ±limit. FrameError on cells of
    another shape.
    """
    if cells.ndim != 2 or cells.shape[1] != len(grid.used):
        raise FrameError(
            f"cells has shape {cells.shape}; a row needs one cell for each of {len(grid.used)} subcarriers"
        )
    samples = np.empty(len(cells) * grid.symbol_samples, np.complex64) if out is None else out
    rows = samples.reshape(len(cells), grid.symbol_samples)
    for first in range(0, len(cells), CHUNK):
        part = np.ascontiguousarray(cells[first : first + CHUNK], np.complex64)
        spectrum = np.zeros((len(part), grid.fft_size), np.complex64)
        _scatter(part, grid.used, np.float32(grid.amplitude), spectrum)
        body = scipy.fft.ifft(spectrum, axis=1, norm="forward", overwrite_x=True)
        part_of_rows = rows[first : first + CHUNK].view(np.float32)
        _add_prefix(body.view(np.float32), 2 * grid.cyclic_prefix, np.float32(limit), part_of_rows)
    return samples


def demodulate(
    grid: Grid, samples: Samples, starts: Indices, cfo: float = 0.0, dc: complex = 0.0, room: Cells | None = None
) -> Cells:
    """Spectra (T, N) complex64 of the T windows of N samples that begin at `starts`; columns are FFT bins.

    Args:
        grid: N.
        samples: (n,) complex64; every window lies within.
        starts: (T,) index of the first sample of each window.
        cfo: carrier offset to remove, in subcarriers; its phase is 0 at sample 0 of `samples`.
        dc: mean to subtract from the samples first.
        room: (≥ T, N) complex64 that the spectra may overwrite, to spare memory.
    """
    windows = np.empty((len(starts), grid.fft_size), np.complex64) if room is None else room[: len(starts)]
    _cut(samples, starts, np.complex64(dc), _turn(grid, cfo), _phase(grid, cfo, starts), windows)
    return np.asarray(scipy.fft.fft(windows, axis=1, overwrite_x=True))


def dc_leakage(grid: Grid, starts: Indices, cfo: float) -> Cells:
    """(T, N) complex64 what `demodulate` makes of a DC offset of 1: a tone at −cfo subcarriers."""
    return np.asarray(np.outer(_phase(grid, cfo, starts), scipy.fft.fft(_turn(grid, cfo))))


def _turn(grid: Grid, cfo: float) -> Samples:
    """(N,) rotation that removes the offset within a window, over N."""
    n = grid.fft_size
    return np.asarray(np.exp(-2j * np.pi * cfo / n * np.arange(n)) / n, np.complex64)


def _phase(grid: Grid, cfo: float, starts: Indices) -> Samples:
    """(T,) rotation that removes the offset up to each window."""
    return np.asarray(np.exp(-2j * np.pi * ((cfo * starts / grid.fft_size) % 1.0)), np.complex64)


@kernel()
def _scatter(cells: Cells, used: Indices, amplitude: np.float32, spectrum: Cells) -> None:
    for t in range(cells.shape[0]):
        for i in range(used.shape[0]):
            spectrum[t, used[i]] = cells[t, i] * amplitude


@kernel()
def _add_prefix(body: NDArray[np.float32], prefix: int, limit: np.float32, samples: NDArray[np.float32]) -> None:
    """Samples (T, prefix + n) from body (T, n), interleaved, each axis within ±limit."""
    n = body.shape[1]
    for t in range(body.shape[0]):
        for i in range(n):
            samples[t, prefix + i] = min(max(body[t, i], -limit), limit)
        for i in range(prefix):
            samples[t, i] = samples[t, n + i]


@kernel()
def _cut(samples: Samples, starts: Indices, dc: np.complex64, turn: Samples, phase: Samples, windows: Cells) -> None:
    for t in range(starts.shape[0]):
        begin, rotation = starts[t], phase[t]
        for i in range(turn.shape[0]):
            windows[t, i] = (samples[begin + i] - dc) * (turn[i] * rotation)
