"""OFDM symbols: cells on used subcarriers ↔ samples with cyclic prefix.

With grid amplitude g, N = fft_size and cell s_k on subcarrier offset k, sample n of a symbol is

    x[n] = g Σ_k s_k exp(j2πkn/N),   n = −CP … N−1.

The receiver takes Y_k = (1/N) Σ_n y[n] exp(−j2πkn/N), so Y_k = h_k s_k + noise with h_k = g × channel: |h_k|² is
the received power of the subcarrier, 1 being a complex tone that just reaches full scale.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
from numba import njit
from numpy.typing import NDArray

from testbed.errors import FrameError
from testbed.ofdm.grid import Grid, Indices

Samples = NDArray[np.complex64]
Cells = NDArray[np.complex64]


def modulate(grid: Grid, cells: Cells) -> Samples:
    """Samples (T·(N+CP),) of T symbols with cells (T, U) complex64 on `grid.used`; FrameError on another shape."""
    if cells.ndim != 2 or cells.shape[1] != len(grid.used):
        raise FrameError(
            f"cells has shape {cells.shape}; a row needs one cell for each of {len(grid.used)} subcarriers"
        )
    spectrum = np.zeros((len(cells), grid.fft_size), np.complex64)
    _scatter(np.ascontiguousarray(cells, np.complex64), grid.used, np.float32(grid.amplitude), spectrum)
    body = scipy.fft.ifft(spectrum, axis=1, norm="forward", overwrite_x=True)
    samples = np.empty((len(cells), grid.symbol_samples), np.complex64)
    _add_prefix(body, grid.cyclic_prefix, samples)
    return samples.ravel()


def demodulate(grid: Grid, samples: Samples, starts: Indices, cfo: float = 0.0, dc: complex = 0.0) -> Cells:
    """Spectra (T, N) complex64 of the T windows of N samples that begin at `starts`; columns are FFT bins.

    Args:
        grid: N.
        samples: (n,) complex64; every window lies within.
        starts: (T,) index of the first sample of each window.
        cfo: carrier offset to remove, in subcarriers; its phase is 0 at sample 0 of `samples`.
        dc: mean to subtract from the samples first.
    """
    windows = np.empty((len(starts), grid.fft_size), np.complex64)
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


@njit(cache=True, nogil=True)
def _scatter(cells: Cells, used: Indices, amplitude: np.float32, spectrum: Cells) -> None:
    for t in range(cells.shape[0]):
        for i in range(used.shape[0]):
            spectrum[t, used[i]] = cells[t, i] * amplitude


@njit(cache=True, nogil=True)
def _add_prefix(body: Cells, prefix: int, samples: Cells) -> None:
    n = body.shape[1]
    for t in range(body.shape[0]):
        for i in range(prefix):
            samples[t, i] = body[t, n - prefix + i]
        for i in range(n):
            samples[t, prefix + i] = body[t, i]


@njit(cache=True, nogil=True)
def _cut(samples: Samples, starts: Indices, dc: np.complex64, turn: Samples, phase: Samples, windows: Cells) -> None:
    for t in range(starts.shape[0]):
        begin, rotation = starts[t], phase[t]
        for i in range(turn.shape[0]):
            windows[t, i] = (samples[begin + i] - dc) * (turn[i] * rotation)
