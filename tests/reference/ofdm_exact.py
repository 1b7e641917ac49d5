"""Radio captures straight from the definitions, slowly: the modem's independent judge.

    y(n) = Q{ μ r(n) + ν r*(n) + dc },
    r(n) = e^{jφ(n)} [ Σ_i a_i e^{j(2π f_i n + θ_i)} Σ_k g_ik(n) x_i((n − first_i − τ_ik)(1 + ε_i)) + w(n) ]

x_i(t) is the trigonometric interpolation of transmitter i's samples, evaluated at any t by a chirp-z transform, so
that delays and clock offsets are exact; g_ik are sums of sinusoids, φ a Wiener process, μ and ν an unbalanced
mixer, Q a converter. Shares no code with the simulated radios, and knows the modem as samples only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import fft

GUARD = 256


@dataclass
class Path:
    """Delay in samples, and gain: sinusoids of complex amplitudes (S,) and frequencies (S,) in cycles a sample."""

    delay: float
    amplitudes: np.ndarray
    frequencies: np.ndarray

    def gain(self, n):
        return sum(a * np.exp(2j * np.pi * f * n) for a, f in zip(self.amplitudes, self.frequencies, strict=True))


def still(delay, gain=1.0):
    """A path that does not fade."""
    return Path(delay, np.array([gain]), np.zeros(1))


@dataclass
class Sender:
    """A transmitter as the receiver hears it.

    samples begin at sample `first`, whole or not, of the capture; cfo in cycles a sample; clock: ε, by which its
    sample clock runs faster.
    """

    samples: np.ndarray
    first: float
    paths: list = field(default_factory=lambda: [still(0.0)])
    amplitude: float = 1.0
    cfo: float = 0.0
    clock: float = 0.0
    phase: float = 0.0


@dataclass
class Receiver:
    """Noise power, phase noise in rad² a sample, gain and skew (rad) of the Q branch, DC, bits of the converter."""

    noise: float = 0.0
    phase_noise: float = 0.0
    iq_gain: float = 1.0
    iq_phase: float = 0.0
    dc: complex = 0.0
    bits: int | None = 12


def interpolate(samples, begin, step, count):
    """(count,) values of the trigonometric interpolation of samples (n,) at begin, begin + step, …; 0 far outside.

    Bluestein's form of Σ_k X_k e^{j2πk(begin + step·m)/L}, k centred on 0: 2km = k² + m² − (m − k)².
    """
    length = fft.next_fast_len(len(samples) + 2 * GUARD)
    low = max(int(np.ceil((-GUARD - begin) / step)), 0)
    high = min(int(np.floor((len(samples) + GUARD - 1 - begin) / step)) + 1, count)
    out = np.zeros(count, complex)
    if high <= low:
        return out
    spectrum = fft.fftshift(fft.fft(np.pad(samples, (GUARD, length - GUARD - len(samples)))))
    if length % 2 == 0:
        spectrum[0] = 0  # the frequency of half the rate has no sign
    k, m = np.arange(length) - length // 2, np.arange(high - low)
    lag = np.arange(-k[-1], len(m) - k[0])
    start = begin + low * step + GUARD

    def chirp(n):
        return np.exp(1j * np.pi * np.mod(n.astype(float) ** 2 * (step / length), 2.0))

    turned = spectrum * np.exp(2j * np.pi * np.mod(k * (start / length), 1.0)) * chirp(k)
    size = fft.next_fast_len(length + len(lag))
    product = fft.ifft(fft.fft(turned, size) * fft.fft(np.conj(chirp(lag)), size))
    out[low:high] = product[length - 1 : length - 1 + len(m)] * chirp(m) / length
    return out


def arrive(sender, count):
    """(count,) complex128: what one transmitter brings."""
    n, step = np.arange(count), 1.0 + sender.clock
    total = np.zeros(count, complex)
    for path in sender.paths:
        position = -(sender.first + path.delay) * step
        total += path.gain(n) * interpolate(sender.samples, position, step, count)
    return sender.amplitude * total * np.exp(1j * (2 * np.pi * np.mod(sender.cfo * n, 1.0) + sender.phase))


def capture(senders, receiver, count, rng):
    """(count,) complex64 that the receiver delivers."""
    heard = sum((arrive(one, count) for one in senders), np.zeros(count, complex))
    heard += np.sqrt(receiver.noise / 2) * (rng.standard_normal(count) + 1j * rng.standard_normal(count))
    heard *= np.exp(1j * np.cumsum(np.sqrt(receiver.phase_noise) * rng.standard_normal(count)))
    skew = receiver.iq_gain * np.exp(-1j * receiver.iq_phase)
    heard = (1 + skew) / 2 * heard + (1 - np.conj(skew)) / 2 * np.conj(heard) + receiver.dc
    if receiver.bits is not None:
        top = 2 ** (receiver.bits - 1)
        axes = np.stack([heard.real, heard.imag])
        axes = np.clip(np.round(axes * top), -top, top - 1) / top
        heard = axes[0] + 1j * axes[1]
    return heard.astype(np.complex64)


def response(sender, n, frequencies):
    """(f,) channel at sample n of the capture, at frequencies in cycles a sample, without carrier and start."""
    gains = [path.gain(np.array([n]))[0] * np.exp(-2j * np.pi * frequencies * path.delay) for path in sender.paths]
    return sender.amplitude * sum(gains)
