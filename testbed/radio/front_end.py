"""A radio's front end: what oscillator, mixer and converter do to the samples that pass through.

Wiener phase noise, thermal noise, IQ imbalance, DC offset, clipping and quantisation, in this order; with
noise_power 0 it serves as a transmitter's front end as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.errors import SignalError
from testbed.radio import channel_kernels as kernels

Samples = NDArray[np.complex64]


# In dB, degrees and full scales alike: beyond any radio.
MOST_IMPAIRED: Final = 90.0


@dataclass(frozen=True)
class Impairments:
    """What a radio's front end does to its samples; the defaults are an ideal 12-bit radio. SignalError beyond a radio.

    Attributes:
        phase_noise_variance: rad², variance of the oscillator's phase step a sample; see `wiener_step_variance`.
        iq_gain_db: gain of the quadrature branch over the in-phase branch.
        iq_phase_deg: departure from quadrature.
        dc: constant added, in full scales.
        bits: resolution of the converter with full scale 1.0; None for no converter (no clipping either).
    """

    phase_noise_variance: float = 0.0
    iq_gain_db: float = 0.0
    iq_phase_deg: float = 0.0
    dc: complex = 0.0
    bits: int | None = 12

    def __post_init__(self) -> None:
        if not 0.0 <= self.phase_noise_variance <= 0.01:
            raise SignalError(f"phase_noise_variance = {self.phase_noise_variance} rad² must lie in 0…0.01")
        if self.bits is not None and self.bits not in range(1, 17):
            raise SignalError(f"bits = {self.bits} must be a whole number from 1 to 16, or None")
        for field in ("iq_gain_db", "iq_phase_deg", "dc"):
            if not abs(getattr(self, field)) <= MOST_IMPAIRED:
                raise SignalError(f"{field} = {getattr(self, field)} must be no larger than {MOST_IMPAIRED:g}")


IDEAL: Final = Impairments(bits=None)


def wiener_step_variance(linewidth_hz: float, sample_rate_hz: float) -> float:
    """Phase step variance in rad² of an oscillator with a Lorentzian line of this full width: 2π·Δν/f_s."""
    return 2 * np.pi * linewidth_hz / sample_rate_hz


def receive_front_end(
    samples: Samples, impairments: Impairments, noise_power: float, rng: np.random.Generator
) -> tuple[Samples, float]:
    """What the converter delivers for samples (n,) at its input.

    Thermal noise of noise_power (E|n|², full scale² = 1) is added, the local oscillator's phase wanders (Wiener,
    from a random start if it wanders at all), the branches mix as
    I' = I, Q' = g·(Q·cos φ − I·sin φ), dc is added, and each branch is rounded to `bits` and clipped to ±1.

    Returns:
        (n,) complex64, and the fraction of branch values that were clipped.

    Raises:
        SignalError: samples are empty, not one-dimensional or not finite; negative noise_power.
    """
    x = finite_samples(samples).copy()
    if not (np.isfinite(noise_power) and noise_power >= 0):
        raise SignalError(f"noise_power = {noise_power} must be a finite number of 0 or more")
    if impairments.phase_noise_variance > 0:
        steps = rng.standard_normal(len(x), dtype=np.float32)
        start = np.exp(2j * np.pi * rng.uniform())
        kernels.wander(x, steps, np.float32(np.sqrt(impairments.phase_noise_variance)), start)
    flat = x.view(np.float32)
    if noise_power > 0:
        noise = rng.standard_normal(len(flat), dtype=np.float32)
        kernels.add_noise(flat, noise, np.float32(np.sqrt(noise_power / 2)))
    gain, skew = 10 ** (impairments.iq_gain_db / 20), np.deg2rad(impairments.iq_phase_deg)
    mix = np.array([1.0, 0.0, -gain * np.sin(skew), gain * np.cos(skew)], np.float32)
    offset = np.array([np.real(impairments.dc), np.imag(impairments.dc)], np.float32)
    kernels.mix_branches(flat, mix, offset)
    if impairments.bits is None:
        return x, 0.0
    return x, kernels.quantise(flat, np.float32(2 ** (impairments.bits - 1))) / len(flat)


def finite_samples(samples: Samples) -> Samples:
    """Contiguous complex64 (n,), n ≥ 1, without NaN or infinity; SignalError for anything else."""
    with np.errstate(over="ignore"):  # infinite then
        x = np.ascontiguousarray(samples, np.complex64)
    if x.ndim != 1 or not len(x) or not np.isfinite(x.view(np.float32)).all():
        raise SignalError(f"samples of shape {x.shape} must be (n,) finite numbers, n ≥ 1")
    return x
