"""Compiled inner loops of the simulated channel: time-varying filter, oscillators, converter.

The channel between two block edges is a short FIR filter that changes linearly from the one edge's impulse
response to the other's. An edge's response is the sum over taps of gain × windowed sinc at the tap's delay, less
the drift of the receiver's sample clock; so multipath, Doppler and clock offset are one filter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from testbed.compiled import kernel

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Samples = NDArray[np.complex64]
Complexes = NDArray[np.complex128]


@kernel()
def edge_gains(state: Complexes, step: Complexes, gains: Complexes) -> None:
    """Tap gains (edges, K) of sinusoids that stand at state (K, S) and advance by step (K, S) an edge."""
    for e in range(gains.shape[0]):
        for k in range(state.shape[0]):
            total = 0j
            for s in range(state.shape[1]):
                total += state[k, s]
                state[k, s] *= step[k, s]
            gains[e, k] = total


@kernel()
def impulse_response(
    gains: Complexes, delays: Doubles, drift: float, table: Floats, real: Floats, imag: Floats
) -> None:
    """Fill a response (L,) whose index i stands for lag i − W − 1; delays (K,) and drift are in samples.

    table (phases+1, 2W) holds the windowed sinc at fractional delays 0…1.
    """
    phases, half = table.shape[0] - 1, table.shape[1] // 2
    real[:] = 0.0
    imag[:] = 0.0
    for k in range(gains.shape[0]):
        at = delays[k] - drift
        lag = int(np.floor(at))
        place = (at - lag) * phases
        row = min(int(place), phases - 1)
        right = np.float32(place - row)
        re, im = np.float32(gains[k].real), np.float32(gains[k].imag)
        for j in range(2 * half):
            value = table[row, j] + right * (table[row + 1, j] - table[row, j])
            real[lag + 2 + j] += re * value
            imag[lag + 2 + j] += im * value


@kernel()
def filter_block(
    x_real: Floats, x_imag: Floats, last: int, real: Floats, imag: Floats, y_real: Floats, y_imag: Floats
) -> None:
    """Store y[n] = Σ_i h[i]·x[last + n − i] for a block of y's length."""
    y_real[:] = 0.0
    y_imag[:] = 0.0
    length = y_real.shape[0]
    for i in range(real.shape[0]):
        a, b = real[i], imag[i]
        u, v = x_real[last - i : last - i + length], x_imag[last - i : last - i + length]
        for n in range(length):
            y_real[n] += a * u[n] - b * v[n]
            y_imag[n] += a * v[n] + b * u[n]


@kernel()
def turn_block(real: Floats, imag: Floats, start: complex, spin: Samples, out: Samples) -> None:
    """Store out[n] = (real + j·imag)[n]·start·spin[n]."""
    c, d = np.float32(start.real), np.float32(start.imag)
    for n in range(out.shape[0]):
        p = spin[n].real * c - spin[n].imag * d
        q = spin[n].real * d + spin[n].imag * c
        out[n] = complex(real[n] * p - imag[n] * q, real[n] * q + imag[n] * p)


@kernel()
def blend(left: Floats, right: Floats) -> None:
    """Fade linearly from left to right within the block; the result replaces left."""
    step = np.float32(1.0) / np.float32(left.shape[0])
    for n in range(left.shape[0]):
        left[n] += (right[n] - left[n]) * (np.float32(n) * step)


@kernel()
def render(
    x_real: Floats,
    x_imag: Floats,
    origin: int,
    gains: Complexes,
    delays: Doubles,
    clock: tuple[float, float],
    table: Floats,
    spin: Samples,
    turns_per_block: tuple[float, float],
    out: Samples,
) -> None:
    """Filter and turn x into out (n,), block by block.

    x[origin] is the sample at position 0; clock = (position of out[0], drift per sample) in samples; gains
    (1 or edges, K); spin (block,) is the oscillator within a block, turns_per_block its (phase at out[0], advance
    a block) in turns.
    """
    block, half = spin.shape[0], table.shape[1] // 2
    lags = int(np.ceil(delays.max())) + 2 * half + 4
    response = np.empty((4, lags), np.float32)
    work = np.empty((4, block), np.float32)
    moving = gains.shape[0] > 1 or clock[1] != 0.0
    for b in range((out.shape[0] + block - 1) // block):
        n0 = b * block
        position = clock[0] + clock[1] * n0
        whole = int(np.floor(position))
        last = origin + n0 + whole + half + 1
        g = min(b, gains.shape[0] - 1)
        impulse_response(gains[g], delays, position - whole, table, response[0], response[1])
        filter_block(x_real, x_imag, last, response[0], response[1], work[0], work[1])
        if moving:
            g = min(b + 1, gains.shape[0] - 1)
            drift = position + clock[1] * block - whole
            impulse_response(gains[g], delays, drift, table, response[2], response[3])
            filter_block(x_real, x_imag, last, response[2], response[3], work[2], work[3])
            blend(work[0], work[2])
            blend(work[1], work[3])
        angle = 2.0 * np.pi * ((turns_per_block[0] + turns_per_block[1] * b) % 1.0)
        target = out[n0 : n0 + block]
        turn_block(work[0], work[1], complex(np.cos(angle), np.sin(angle)), spin, target)


@kernel()
def wander(samples: Samples, steps: Floats, scale: np.float32, start: complex) -> None:
    """Turn samples (n,) in place by a phase that starts at `start` and takes scale·steps (n,) radian each sample.

    The phasor advances by 1 + jδ − δ²/2 − jδ³/6 and is brought back to the unit circle every 64 samples.
    """
    c, s = np.float32(start.real), np.float32(start.imag)
    for n in range(samples.shape[0]):
        d = steps[n] * scale
        re = np.float32(1.0) - np.float32(0.5) * d * d
        im = d - d * d * d * np.float32(1 / 6)
        c, s = c * re - s * im, c * im + s * re
        if n & 63 == 0:
            norm = np.float32(1.0) / np.sqrt(c * c + s * s)
            c *= norm
            s *= norm
        u, v = samples[n].real, samples[n].imag
        samples[n] = complex(u * c - v * s, u * s + v * c)


@kernel()
def add_noise(values: Floats, noise: Floats, sigma: np.float32) -> None:
    """Add sigma·noise (n,) to values (n,) in place."""
    for n in range(values.shape[0]):
        values[n] += sigma * noise[n]


@kernel()
def mix_branches(real_imag: Floats, mix: Floats, offset: Floats) -> None:
    """Mix the branches of interleaved (2n,) in place and add the offset.

    I' = mix[0]·I + mix[1]·Q + offset[0], Q' = mix[2]·I + mix[3]·Q + offset[1].
    """
    for n in range(real_imag.shape[0] // 2):
        i, q = real_imag[2 * n], real_imag[2 * n + 1]
        real_imag[2 * n] = mix[0] * i + mix[1] * q + offset[0]
        real_imag[2 * n + 1] = mix[2] * i + mix[3] * q + offset[1]


@kernel()
def quantise(real_imag: Floats, codes: np.float32) -> int:
    """Round (2n,) in place to steps of 1/codes within [−1, 1 − 1/codes]; how many values were clipped."""
    clipped = 0
    for n in range(real_imag.shape[0]):
        code = np.rint(real_imag[n] * codes)
        bound = min(max(code, -codes), codes - np.float32(1.0))
        clipped += bound != code
        real_imag[n] = bound / codes
    return clipped
