"""Transmissions at other rates and frequencies than the receiver's: what of them lies in its band."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, Protocol

import numpy as np

from testbed.radio.base import Samples

SAME: Final = 1e-3
"""Relative difference of two rates below which they are the same rate with a clock error."""
NEAR: Final = 0.02
"""Carrier offset, relative to the rate, below which nothing has to be filtered out."""
PADDING: Final = 256
KEPT: Final = 16
ENOUGH: Final = 1 << 16
FEWEST: Final = 1 << 12
"""Samples to resample, and at least to come out, so that rounding a length moves the rate by 10 ppm, 120 at most."""


class Listener(Protocol):
    """What the band of a receiver depends on."""

    @property
    def carrier_hz(self) -> float:
        """Centre of the band."""
        ...

    @property
    def rate_hz(self) -> float:
        """Width of the band."""
        ...


def received_wave(
    wave: Samples, rate_hz: float, periodic: bool, listener: Listener, carrier_hz: float
) -> tuple[Samples | None, float, float]:
    """The part of `wave` in the listener's band, at about the listener's rate.

    Returns:
        The wave (None where the two bands do not meet), the exact rate it has, and its carrier minus the
        listener's. The wave itself comes back when rates and carriers agree.
    """
    offset = carrier_hz - listener.carrier_hz
    if abs(offset) >= (rate_hz + listener.rate_hz) / 2:
        return None, rate_hz, offset
    if abs(rate_hz / listener.rate_hz - 1) < SAME and abs(offset) < NEAR * rate_hz:
        return wave, rate_hz, offset
    moved, rate, shift = _band(_Wave(wave), rate_hz, round(offset), round(listener.rate_hz), periodic)
    return moved, rate, offset - shift


class _Wave:
    """An array as a key: the same object is the same wave."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __hash__(self) -> int:
        return id(self.samples)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Wave) and other.samples is self.samples


@lru_cache(maxsize=KEPT)
def _band(key: _Wave, rate_hz: float, offset_hz: int, target_hz: int, periodic: bool) -> tuple[Samples, float, float]:
    """Shift by whole bins into the listener's band, cut it out and resample; the shift in Hz comes third."""
    given, enough = key.samples.size, math.ceil(max(ENOUGH, FEWEST * rate_hz / target_hz))
    if periodic:
        wave = np.tile(key.samples, -(-enough // given))
    else:
        wave = np.concatenate([key.samples, np.zeros(max(PADDING, enough - given), np.complex64)])
    size = wave.size
    wanted = max(round(size * target_hz / rate_hz), 1)
    shift = round(offset_hz * size / rate_hz)
    bins = np.fft.fft(wave)
    target = np.zeros(wanted, complex)
    own = np.arange(-(size // 2), size - size // 2)
    kept = own[np.abs(own + shift) < wanted / 2]
    target[(kept + shift) % wanted] = bins[kept % size]
    return (
        np.asarray(np.fft.ifft(target) * (wanted / size), np.complex64),
        rate_hz * wanted / size,
        shift * rate_hz / size,
    )
