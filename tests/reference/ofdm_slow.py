"""Slow, obvious forms of what the modem computes fast."""

from __future__ import annotations

import numpy as np


def synthesise(grid, cells):
    """x[n] = g Σ_k s_k exp(j2πkn/N) for n = −CP … N−1, symbol after symbol, sum by sum."""
    n = np.arange(-grid.cyclic_prefix, grid.fft_size)
    carriers = np.exp(2j * np.pi * np.outer(n, grid.offsets) / grid.fft_size)
    return np.concatenate([grid.amplitude * (carriers @ row) for row in cells])


def analyse(grid, samples, starts, cfo, dc):
    """(T, U): (1/N) Σ_n (y[n] − dc) exp(−j2π(k + cfo)n/N), with the phase of the offset 0 at sample 0."""
    out = []
    for start in starts:
        n = np.arange(start, start + grid.fft_size)
        clean = (samples[n] - dc) * np.exp(-2j * np.pi * cfo * n / grid.fft_size)
        kernel = np.exp(-2j * np.pi * np.outer(grid.offsets, n - start) / grid.fft_size)
        out.append(kernel @ clean / grid.fft_size)
    return np.array(out)


def repetition_metric(samples, start, lag, width):
    """Squared correlation coefficient of samples[start : start + width] and the same `lag` later."""
    first, second = samples[start : start + width], samples[start + lag : start + lag + width]
    first, second = first - first.mean(), second - second.mean()
    return abs(np.vdot(first, second)) ** 2 / (np.vdot(first, first).real * np.vdot(second, second).real)


def random_walk_estimate(values, noise, steps):
    """Best linear estimate of a random walk seen in noise, by the normal equations of all observations at once.

    Minimises Σ |y_t − x_t|²/v_t + Σ |x_{t+1} − x_t|²/q_t.
    """
    count = len(values)
    system = np.diag(1 / np.asarray(noise))
    for t, step in enumerate(steps):
        link = np.zeros(count)
        link[t], link[t + 1] = -1, 1
        system += np.outer(link, link) / step
    return np.linalg.solve(system, values / np.asarray(noise)[:, None])


def lmmse_matrix(grid, taps, power, error):
    """R (R + σ²)⁻¹ with R the covariance of a channel with power spread evenly over all delays from 0 to `taps`.

    R_km = ∫ exp(−j2π(k − m)τ/N) dτ/taps = exp(−jπx) sin(πx)/(πx), x = (k − m)·taps/N.
    """
    x = (grid.offsets[:, None] - grid.offsets) * taps / grid.fft_size
    covariance = power * np.exp(-1j * np.pi * x) * np.sinc(x)
    return covariance @ np.linalg.inv(covariance + error * np.eye(len(covariance)))
