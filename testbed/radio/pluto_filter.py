"""The FIR filter pair that a Pluto needs for a sample rate, designed here: a windowed sinc.

The transceiver's own half-band filters reach down to 25/12 MS/s; below that, and to cut off the neighbours of any
channel, its programmable filters divide by 4 or 2.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

TAPS: Final = 128
CUTOFF: Final = 0.47
"""−6 dB point relative to the sample rate."""
ATTENUATION_BETA: Final = 5.0
"""Kaiser window: side lobes below −50 dB."""
UNITY: Final = 1 << 16
"""Sum of the taps that passes a receive signal unchanged at a filter gain of −6 dB (16-bit taps, one sign bit)."""
FASTEST_BY_FOUR_HZ: Final = 20_000_000
FASTEST_BY_TWO_HZ: Final = 40_000_000


def division(sample_rate_hz: float) -> tuple[int, int]:
    """(decimation, taps) that the converter has time for at a sample rate."""
    if sample_rate_hz <= FASTEST_BY_FOUR_HZ:
        return 4, TAPS
    if sample_rate_hz <= FASTEST_BY_TWO_HZ:
        return 2, TAPS
    return 2, TAPS // 2


def design(decimation: int, taps: int) -> NDArray[np.int64]:
    """(taps,) symmetric integers, low-pass at CUTOFF of the rate after division."""
    n = np.arange(taps) - (taps - 1) / 2
    ideal = np.sinc(2 * CUTOFF / decimation * n) * np.kaiser(taps, ATTENUATION_BETA)
    return np.asarray(np.rint(ideal * UNITY / ideal.sum()), np.int64).clip(-32768, 32767)


def filter_text(sample_rate_hz: float) -> str:
    """The configuration that the transceiver's driver loads, for both directions."""
    divide, taps = division(sample_rate_hz)
    head = f"RX 3 GAIN -6 DEC {divide}\nTX 3 GAIN 0 INT {divide}\n"
    return head + "".join(f"{tap},{tap}\n" for tap in design(divide, taps)) + "\n"
