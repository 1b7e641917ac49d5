"""Compiled inner loop of drawn fading: tap gains of many links, each at a time of its own."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from testbed.compiled import kernel

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Complexes = NDArray[np.complex64]
Ints = NDArray[np.int64]

VECTOR = {"reassoc", "contract", "nsz", "arcp"}
"""What lets a sum run in SIMD lanes; NaN and infinity keep their meaning."""

HALF_SINE = np.array([(-1) ** k * math.pi ** (2 * k + 1) / math.factorial(2 * k + 1) for k in range(6)], np.float32)
HALF_COSINE = np.array([(-1) ** k * math.pi ** (2 * k) / math.factorial(2 * k) for k in range(7)], np.float32)
"""Taylor series of sin(π·x) / x and cos(π·x) in x²: good to 1e-7 for |x| ≤ ½."""


@kernel()
def gains_at(
    frequency: Doubles, real: Floats, imag: Floats, source: Ints, destination: Ints, at_s: Doubles
) -> Complexes:
    """(n, taps) Σ_s a_s·exp(j2π·f_s·t) of n links source → destination, each at its time at_s (n,).

    frequency, real, imag (K, K, taps, S): Doppler shift in Hz and amplitude at time 0 of every sinusoid.
    """
    links, taps = source.size, frequency.shape[2]
    gains = np.empty((links, taps), np.complex64)
    for n in range(links):
        i, j = source[n], destination[n]
        for k in range(taps):
            gains[n, k] = _turned(frequency[i, j, k], real[i, j, k], imag[i, j, k], at_s[n])
    return gains


@kernel(fastmath=VECTOR)
def _turned(frequency: Doubles, real: Floats, imag: Floats, at_s: float) -> complex:
    """Sum of one tap's sinusoids (S,). Half the angle by its series, then doubled: no branch, so it runs in lanes."""
    total_real, total_imag = np.float32(0), np.float32(0)
    for s in range(frequency.size):
        turns = frequency[s] * at_s
        x = np.float32(turns - np.rint(turns))
        y = x * x
        sine, cosine = HALF_SINE[5], HALF_COSINE[6]
        for k in range(5):
            sine = sine * y + HALF_SINE[4 - k]
        for k in range(6):
            cosine = cosine * y + HALF_COSINE[5 - k]
        sine *= x
        sine_2, cosine_2 = np.float32(2) * sine * cosine, np.float32(1) - np.float32(2) * sine * sine
        total_real += real[s] * cosine_2 - imag[s] * sine_2
        total_imag += real[s] * sine_2 + imag[s] * cosine_2
    return complex(total_real, total_imag)
