"""What travels over the shared air, as values: transmissions, how units listen, and the paths between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from testbed.radio import channel
from testbed.radio.base import Samples


@dataclass(frozen=True, eq=False)
class Segment:
    """One transmission while nothing about it changes.

    Attributes:
        unit: who transmits.
        wave: (n,) samples, full scale 1.0; repeated when periodic.
        start_s, stop_s: when it is on the air.
        origin_s: time of wave[0]; differs from start_s where a setting changed on the way.
        carrier_hz, rate_hz: true values, crystal error included.
        gain_db: transmit gain, 0 at full power.
        serial: number that tells transmissions apart.
    """

    unit: int
    wave: Samples
    start_s: float
    origin_s: float
    carrier_hz: float
    rate_hz: float
    gain_db: float
    periodic: bool
    serial: int
    stop_s: float = math.inf


@dataclass(frozen=True)
class Tuning:
    """How a unit listens: true carrier and rate in Hz; gain in dB, None for automatic gain within the limits."""

    carrier_hz: float
    rate_hz: float
    gain_db: float | None
    highest_gain_db: float = 71.0
    lowest_gain_db: float = -3.0
    deaf: bool = False


@dataclass(frozen=True, eq=False)
class Path:
    """Gain and fading from one antenna to another."""

    gain_db: float
    fading: channel.Fading


CABLE: Final = channel.Fading(np.zeros(1), np.ones((1, 1), complex), np.zeros((1, 1)))
"""One path that does not fade."""
