"""Channel estimators on known symbols: pure functions on arrays.

Model on used subcarrier k (offset k, U of them): Y_k = h_k s_k + n_k, |s_k| = 1, E|n_k|² = σ². Least squares is
ĥ_k = Y_k s_k*, with error σ². A channel that lasts L samples has few degrees of freedom:

- `dft_smooth` takes h = F g with F (U, L) = exp(−j2πkl/N), l = 0…L−1, and projects on these L: error σ²·L/U on
  average, and paths between whole delays leave a remainder (J.-J. van de Beek et al., IEEE VTC 1995);
- `lmmse` expects energy evenly spread over all delays from 0 to L, which is robust against any other profile
  within (O. Edfors et al., IEEE Trans. Commun. 46, 1998; Y. Li et al., same, 1998): with eigenvectors V and
  eigenvalues λ_i of that covariance, coefficient i of V^H ĥ is scaled by ρλ_i/(ρλ_i + σ²), ρ = E|h_k|².

Both use an orthonormal basis, so empty guard and centre subcarriers do no harm.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from testbed.compiled import kernel
from testbed.errors import SignalError
from testbed.ofdm.grid import Grid

Channel = NDArray[np.complex64]
Doubles = NDArray[np.float64]

LEAST_ENERGY: Final = 1e-12
LEAST_PRIOR: Final = 1e-7
# Nodes that integrate exp(j2πx) over so many turns, to rounding.
NODES_A_TURN: Final = 1.6
SPARE_NODES: Final = 24


@lru_cache(maxsize=64)
def delay_basis(grid: Grid, taps: int) -> Channel:
    """Orthonormal basis V^T (r, U) of channels with paths at 0, 1…taps − 1 samples, a vector a row.

    r = taps where the band can tell that many apart, at most U. SignalError unless 1 ≤ taps ≤ N.
    """
    _check_taps(grid, taps)
    steering = np.exp(-2j * np.pi / grid.fft_size * np.outer(grid.offsets, np.arange(taps)))
    return _principal(steering, LEAST_ENERGY)[0]


@lru_cache(maxsize=64)
def prior_basis(grid: Grid, taps: int) -> tuple[Channel, Doubles]:
    """Orthonormal basis V^T (r, U), a vector a row, and λ (r,) of channels evenly spread over 0…taps samples; Σλ = U.

    They diagonalise the covariance E h_k h_m* = ∫ exp(−j2π(k−m)τ/N) dτ/taps (Gauss–Legendre quadrature over τ).
    Whole delays alone would miss what paths between them leak to every delay. SignalError unless 1 ≤ taps ≤ N.
    """
    _check_taps(grid, taps)
    turns = taps * float(grid.offsets[-1] - grid.offsets[0]) / grid.fft_size
    nodes, weights = np.polynomial.legendre.leggauss(math.ceil(NODES_A_TURN * turns) + SPARE_NODES)
    delays = (nodes + 1.0) * (taps / 2.0)
    steering = np.exp(-2j * np.pi / grid.fft_size * np.outer(grid.offsets, delays))
    return _principal(steering * np.sqrt(weights / 2.0), LEAST_PRIOR)


def _check_taps(grid: Grid, taps: int) -> None:
    if not isinstance(taps, int | np.integer) or not 1 <= taps <= grid.fft_size:
        raise SignalError(f"taps={taps!r} must be a whole number from 1 to {grid.fft_size}, the samples of a symbol")


def _principal(vectors: NDArray[np.complex128], least: float) -> tuple[Channel, Doubles]:
    """Left singular vectors (r, U) of vectors (U, n), one a row, and squared singular values (r,), above `least`."""
    energy, mixing = np.linalg.eigh(vectors.conj().T @ vectors)
    kept = energy > least * energy[-1]
    basis = vectors @ (mixing[:, kept] / np.sqrt(energy[kept]))
    left, turn = np.linalg.eigh(basis.conj().T @ basis)  # almost 1: rounding spoilt weak vectors a little
    basis = basis @ ((turn / np.sqrt(left)) @ turn.conj().T)
    return np.ascontiguousarray(basis.T, np.complex64), energy[kept]


def dft_smooth(grid: Grid, h: Channel, taps: int) -> Channel:
    """Least-squares fit (…, U) of a channel of `taps` samples to h (…, U); error variance falls by U/taps."""
    basis = delay_basis(grid, taps)
    return _project(h, basis, np.ones(len(basis)))


def leverage(grid: Grid, taps: int) -> Doubles:
    """(U,) error variance of `dft_smooth` on each subcarrier over that of its input; mean r/U."""
    basis = delay_basis(grid, taps)
    return np.asarray(np.sum(np.abs(basis) ** 2, axis=0, dtype=np.float64))


def lmmse_gains(grid: Grid, power: float, error: float, taps: int) -> Doubles:
    """(r,) weight of each basis coefficient, for mean channel power ρ and error variance of the input."""
    prior = max(power, 0.0) * prior_basis(grid, taps)[1]
    return np.asarray(prior / (prior + error + 1e-30))


def lmmse(grid: Grid, h: Channel, error: float, taps: int) -> tuple[Channel, float]:
    """LMMSE estimate (…, U) from least squares h (…, U), and its mean squared error a subcarrier.

    Args:
        grid: the used subcarriers.
        h: least-squares estimates whose delays lie in 0…taps−1 samples.
        error: their error variance σ².
        taps: longest channel expected, in samples.
    """
    basis, _ = prior_basis(grid, taps)
    power = float(np.mean(np.abs(h) ** 2)) - error
    gains = lmmse_gains(grid, power, error, taps)
    return _project(h, basis, gains), lmmse_error(grid, power, error, taps)


def lmmse_error(grid: Grid, power: float, error: float, taps: int) -> float:
    """Mean squared error a subcarrier of `lmmse`, for mean channel power and error variance of the input."""
    return float(error * np.sum(lmmse_gains(grid, power, error, taps)) / len(grid.used))


def _project(h: Channel, basis: Channel, gains: Doubles) -> Channel:
    """V diag(gains) V^H h for each row of h (…, U).

    Not by matrix products: for such small ones a threaded BLAS mostly waits, for milliseconds on a busy machine.
    """
    rows = np.ascontiguousarray(h, np.complex64).reshape(-1, h.shape[-1])
    out = np.zeros(rows.shape, np.complex64)
    _project_rows(rows, basis, gains.astype(np.float32), out)
    return out.reshape(h.shape)


@kernel(fastmath={"contract", "reassoc"})
def _project_rows(h: Channel, basis: Channel, gains: NDArray[np.float32], out: Channel) -> None:
    """Add to out: V diag(gains) V^H h for rows h, out (T, U); basis (r, U) holds one vector a row."""
    for t in range(h.shape[0]):
        for i in range(basis.shape[0]):
            re, im = np.float32(0), np.float32(0)
            for k in range(h.shape[1]):
                re += basis[i, k].real * h[t, k].real + basis[i, k].imag * h[t, k].imag
                im += basis[i, k].real * h[t, k].imag - basis[i, k].imag * h[t, k].real
            scale = np.complex64(complex(re * gains[i], im * gains[i]))
            for k in range(h.shape[1]):
                out[t, k] += scale * basis[i, k]


def ramp(grid: Grid, delay: NDArray[np.floating[Any]] | float) -> Channel:
    """(…, U) complex64 response exp(−j2πk·delay/N) of a pure delay (…) in samples."""
    delays = np.asarray(delay, np.float64)
    out = np.empty((delays.size, len(grid.offsets)), np.complex64)
    _fill_ramp(delays.ravel() / grid.fft_size, grid.offsets, out)
    return out.reshape(*delays.shape, len(grid.offsets))


@kernel()
def _fill_ramp(turns: Doubles, offsets: NDArray[np.int64], out: Channel) -> None:
    for t in range(len(turns)):
        step = np.exp(-2j * np.pi * turns[t])
        k, value = offsets[0], np.exp(-2j * np.pi * turns[t] * offsets[0])
        for i in range(len(offsets)):
            while k < offsets[i]:
                value *= step
                k += 1
            out[t, i] = value


def relative_delay(grid: Grid, reference: Channel, h: Channel, most: float) -> tuple[Doubles, Doubles]:
    """Delay of channels h (T, U) after reference (U,) or (T, U), and how much else has changed.

    The delay comes from the phase between subcarriers ever farther apart, from the widest spacing at which `most` is
    still unambiguous up to half the band.

    Returns:
        Delays (T,) in samples, right where they are below `most` in size; change (T,): the energy of h that a delay
        and a turn of the reference do not explain, 0…2 times its own.
    """
    widest = max(int(grid.fft_size / (3.0 * max(most, 0.1))), 1)
    lags, spacings = _lags(grid, min(widest, len(grid.used) // 4))
    delay, match = np.zeros(len(h)), np.zeros(len(h))
    rows, later = np.ascontiguousarray(np.broadcast_to(reference, h.shape), np.complex64), np.ascontiguousarray(h)
    _compare(rows, later, grid.offsets, grid.fft_size, lags, spacings / grid.fft_size, delay, match)
    return delay, 2.0 - 2.0 * match


@lru_cache(maxsize=64)
def _lags(grid: Grid, first: int) -> tuple[NDArray[np.int64], Doubles]:
    """Distances in used subcarriers, growing to half the band, and their mean spacing."""
    half = len(grid.used) // 2
    lags = [first]
    while lags[-1] < half:
        lags.append(min(4 * lags[-1], half))
    spacings = [float(np.mean(grid.offsets[lag:] - grid.offsets[:-lag])) for lag in lags]
    return np.array(lags), np.array(spacings)


@kernel()
def _compare(
    reference: Channel, h: Channel, offsets: NDArray[np.int64], size: int, lags: NDArray[np.int64], turns: Doubles,
    delay: Doubles, match: Doubles,
) -> None:  # fmt: skip
    """Delay (T,) of h after reference, both (T, U), and correlation coefficient (T,) once it is undone.

    A delay of d turns subcarriers that are lags[i] apart by 2πd·turns[i].
    """
    product = np.empty(h.shape[1], np.complex64)
    for t in range(h.shape[0]):
        before, after = 0.0, 0.0
        for k in range(h.shape[1]):
            product[k] = h[t, k] * np.conj(reference[t, k])
            before += reference[t, k].real ** 2 + reference[t, k].imag ** 2
            after += h[t, k].real ** 2 + h[t, k].imag ** 2
        for i in range(lags.shape[0]):
            total = 0j
            for k in range(h.shape[1] - lags[i]):
                total += product[k + lags[i]] * np.conj(product[k])
            delay[t] -= np.angle(total * np.exp(2j * np.pi * turns[i] * delay[t])) / (2 * np.pi * turns[i])
        match[t] = _unturned(product, offsets, delay[t] / size) / max(np.sqrt(before * after), 1e-30)


@kernel()
def _unturned(product: Channel, offsets: NDArray[np.int64], turns: float) -> float:
    """|Σ product·exp(j2π·offset·turns)|."""
    step, k = np.exp(2j * np.pi * turns), offsets[0]
    turn, total = np.exp(2j * np.pi * turns * k), 0j
    for i in range(offsets.shape[0]):
        while k < offsets[i]:
            turn *= step
            k += 1
        total += product[i] * turn
    return float(np.abs(total))


def mean_delay(grid: Grid, h: Channel) -> tuple[Doubles, Doubles]:
    """Power-weighted mean delay (T,) of channels h (T, U) in samples, −N/2…N/2, and the power (T,) it rests on."""
    turn, power = np.empty(len(h)), np.empty(len(h))
    _compare_neighbours(np.ascontiguousarray(h, np.complex64), grid.offsets, turn, power)
    return np.asarray(turn * (-grid.fft_size / (2 * np.pi))), power


@kernel()
def _compare_neighbours(h: Channel, offsets: NDArray[np.int64], turn: Doubles, power: Doubles) -> None:
    """Mean turn (T,) from one subcarrier to the next of h (T, U), and the power it rests on."""
    for t in range(h.shape[0]):
        total = np.complex64(0)
        for k in range(h.shape[1] - 1):
            if offsets[k + 1] == offsets[k] + 1:
                total += np.conj(h[t, k]) * h[t, k + 1]
        turn[t], power[t] = np.angle(total), np.abs(total)


def pair_noise(grid: Grid, pair: Channel) -> float:
    """Noise variance σ² from two estimates pair (2, U) of one channel, each with error σ².

    A turn and a delay of one against the other (clock offset) are fitted and are no noise; they cost 1.5 of the
    U degrees of freedom.
    """
    turned = pair[1] * ramp(grid, -relative_delay(grid, pair[0], pair[1:], 1.0)[0][0])
    turned = turned * np.exp(-1j * np.angle(np.vdot(pair[0], turned)))
    return float(np.sum(np.abs(turned - pair[0]) ** 2, dtype=np.float64)) / (2 * (len(grid.used) - 1.5))


def snr_per_subcarrier(grid: Grid, h: Channel, error: float, noise: float, degrees: float, taps: int) -> Doubles:
    """(U,) linear SNR |h|²/σ² without bias, from least squares.

    Args:
        grid: the used subcarriers.
        h: (U,) least-squares estimate with error variance `error`.
        error: of h.
        noise: estimate of σ² with `degrees` complex degrees of freedom; its inverse is too large by
            degrees/(degrees − 1) on average.
        degrees: above 1.
        taps: longest channel expected, in samples.

    Values below 0, possible where there is hardly any signal, become 0.
    """
    power = np.abs(dft_smooth(grid, h, taps)) ** 2 - error * leverage(grid, taps)
    return np.maximum(power, 0.0) / max(noise, 1e-30) * (1.0 - 1.0 / max(degrees, math.e))
