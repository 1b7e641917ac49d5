"""A plain channel for the modem's tests: it shares no code with the modem or with the simulated radios."""

from __future__ import annotations

import numpy as np


def noise_power(grid, snr_db, gain=1.0):
    """Sample noise power for an SNR on each subcarrier: signal g²·gain² there, noise σ²/N."""
    return (grid.amplitude * gain) ** 2 * grid.fft_size / 10 ** (snr_db / 10)


def pass_through(
    grid, samples, rng, *, snr_db=np.inf, cfo=0.0, taps=(1.0,), first=0, count=None, repeat=False, dc=0.0, sfo_ppm=0.0
):
    """What a receiver hears: complex64 (count,).

    samples are preceded by `first` samples of silence and followed by silence, or repeated for ever from a phase of
    `first` samples on; taps are the channel at whole delays; cfo in subcarriers; noise on everything.
    """
    count = len(samples) + first if count is None else count
    if repeat:
        clean = np.resize(np.roll(samples, -first), count).astype(complex)
    else:
        clean = np.zeros(count, complex)
        held = samples[: max(count - first, 0)]
        clean[first : first + len(held)] = held
    if sfo_ppm:
        clean = resample(clean, 1 + 1e-6 * sfo_ppm)
    heard = np.convolve(clean, taps)[: len(clean)]
    heard *= np.exp(2j * np.pi * (cfo * np.arange(len(heard)) / grid.fft_size + rng.uniform()))
    if np.isfinite(snr_db):
        scale = np.sqrt(noise_power(grid, snr_db) / 2)
        heard += scale * (rng.standard_normal(len(heard)) + 1j * rng.standard_normal(len(heard)))
    return (heard + dc).astype(np.complex64)


def resample(samples, ratio, half=24):
    """samples at positions n·ratio, by a Kaiser-windowed sinc of 2·half + 1 points."""
    position = np.arange(int(len(samples) / max(ratio, 1.0))) * ratio
    whole = np.floor(position).astype(int)
    padded = np.concatenate([np.zeros(half), samples, np.zeros(half + 1)])
    out = np.zeros(len(position), complex)
    for k in range(-half + 1, half + 1):
        distance = position - whole - k
        window = np.i0(9.0 * np.sqrt(np.maximum(1 - (distance / half) ** 2, 0))) / np.i0(9.0)
        out += padded[whole + k + half] * np.sinc(distance) * window
    return out


def rayleigh(rng, length):
    """(length,) random taps of unit total power on average, equally strong."""
    taps = rng.standard_normal(length) + 1j * rng.standard_normal(length)
    return taps / np.sqrt(2 * length)


def response(grid, taps):
    """(U,) frequency response of taps at whole delays, with the grid's amplitude."""
    delays = np.arange(len(taps))
    return grid.amplitude * np.exp(-2j * np.pi * np.outer(grid.offsets, delays) / grid.fft_size) @ np.asarray(taps)
