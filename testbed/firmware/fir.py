"""A channel filter of the AD936x for an OFDM grid: it passes the used subcarriers and stops what would fold onto them.

The digital chain of either direction is converter ↔ three fixed half-band stages (÷8 or ÷12) ↔ this FIR (÷4 or ÷2) ↔
samples. With sample rate f and the outermost used subcarrier at ±b, images and aliases of the used band begin at
f − b; the FIR passes up to b and stops from f − b on. Half-bands, converters and analogue filters are not modelled:
the equaliser removes their droop within b.

Gain: H(0) = Σ taps / 2¹⁵ · gain to receive, and a further 1/INT to transmit (zero stuffing). This scale is the one of
the maker's design tool, and agrees with the fixed +6 dB that UG-570 gives the receive filter; it is not measured on a
board.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import signal

from testbed.errors import FirmwareError
from testbed.firmware.ftr import ADC_HZ, BBPLL_HZ, DAC_HZ, TAP_COUNTS, Filter, Side
from testbed.ofdm.grid import Grid
from testbed.units import db

# (factor of the FIR, factor of the half-bands), best first: much decimation leaves the FIR a wide transition, and half-
# bands of two alone have less ripple than the third-band stage.
CHAINS: Final = ((4, 8), (4, 12), (2, 8))
STOP_DB: Final = 100.0  # aimed at; rounding to 16 bits leaves about 85
LEAST_STOP_DB: Final = 40.0
_UNITY: Final = 2**15


@dataclass(frozen=True)
class Quality:
    """What integer taps achieve on a grid.

    Attributes:
        gain_db: at the centre, relative to full scale in = full scale out.
        ripple_db: largest minus smallest gain over the used subcarriers.
        stop_db: smallest attenuation, relative to the centre, of what would fold onto used subcarriers.
    """

    gain_db: float
    ripple_db: float
    stop_db: float


def design(grid: Grid) -> Filter:
    """A linear-phase filter for both directions, with its rates, by a Kaiser window (scipy.signal.firwin).

    Raises:
        FirmwareError: a sample rate beyond the chain, not a whole number, or a grid without guard for a transition.
    """
    fir_factor, rates = _chain(grid.sample_rate_hz)
    edge_hz = band_edge_hz(grid)
    taps = _taps(edge_hz, grid.sample_rate_hz, fir_factor, min(TAP_COUNTS[-1], 8 * rates[1] // rates[5]))
    bandwidth_hz = max(200_000, math.ceil(2 * edge_hz))
    receive_gain_db = {2: -6, 4: -12}[fir_factor]
    sides = [
        Side(taps, gain_db, fir_factor, rates_hz=rates, bandwidth_hz=bandwidth_hz) for gain_db in (0, receive_gain_db)
    ]
    result = Filter(sides[0], sides[1])
    quality = measure(result.receive, grid)
    if quality.stop_db < LEAST_STOP_DB:
        raise FirmwareError(
            f"occupied subcarriers up to {edge_hz:.0f} Hz of {grid.sample_rate_hz:.0f} leave the filter "
            f"{quality.stop_db:.0f} dB; at least {LEAST_STOP_DB:.0f} are needed: occupy fewer subcarriers"
        )
    return result


def band_edge_hz(grid: Grid) -> float:
    """Outer edge of the outermost used subcarrier, in Hz from the centre."""
    return float((np.abs(grid.offsets).max() + 0.5) * grid.spacing_hz)


def response(side: Side, frequency_hz: ArrayLike, *, transmit: bool = False) -> NDArray[np.complex128]:
    """Frequency response at `frequency_hz` (n,), relative to full scale in = full scale out.

    Raises:
        FirmwareError: a filter without rates.
    """
    if side.rates_hz is None:
        raise FirmwareError("the filter has no rates, so its frequencies are unknown: add RTX and RRX")
    _, sums = signal.freqz(np.array(side.taps, dtype=float), worN=np.atleast_1d(frequency_hz), fs=side.rates_hz[4])
    gain = 2.0 ** (side.gain_db // 6) / (side.factor if transmit else 1)
    return np.asarray(sums * gain / _UNITY)


def measure(side: Side, grid: Grid, *, transmit: bool = False) -> Quality:
    """Ripple and attenuation of the taps as they are, on a fine grid of frequencies.

    Raises:
        FirmwareError: a filter without rates, or for another sample rate than the grid's.
    """
    if side.rates_hz is not None and side.rates_hz[5] != round(grid.sample_rate_hz):
        raise FirmwareError(
            f"the filter is for {side.rates_hz[5]} samples a second, the grid for {grid.sample_rate_hz}"
        )
    edge_hz, rate_hz = band_edge_hz(grid), grid.sample_rate_hz
    passed = db(np.abs(response(side, np.linspace(0, edge_hz, 1024), transmit=transmit)) ** 2)
    stopped = db(np.abs(response(side, np.linspace(rate_hz - edge_hz, side.factor * rate_hz / 2, 4096))) ** 2)
    centre_db = float(passed[0])
    reference_db = float(db(np.abs(response(side, 0.0)) ** 2)[0])
    return Quality(centre_db, float(np.ptp(passed)), reference_db - float(stopped.max()))


def _chain(sample_rate_hz: float) -> tuple[int, tuple[int, ...]]:
    """(factor of the FIR, the six rates) of the first chain whose converters can run.

    ADC and DAC run alike, so that the transmit chain is the mirror image of the receive chain.
    """
    rate = round(sample_rate_hz)
    if rate != sample_rate_hz:
        raise FirmwareError(f"sample_rate_hz = {sample_rate_hz} must be a whole number for the device")
    for fir, half in CHAINS:
        converter = rate * fir * half
        if ADC_HZ[0] <= converter <= DAC_HZ[1]:
            pll = converter * next(2**n for n in range(1, 7) if BBPLL_HZ[0] <= converter * 2**n <= BBPLL_HZ[1])
            third = converter * 8 // half // 2
            return fir, (pll, converter, third, third // 2, rate * fir, rate)
    low, high = math.ceil(ADC_HZ[0] / 48), DAC_HZ[1] // 16
    raise FirmwareError(
        f"sample_rate_hz = {sample_rate_hz:.0f} must be from {low} to {high} for a filter of the device"
    )


def _taps(edge_hz: float, rate_hz: float, factor: int, count: int) -> tuple[int, ...]:
    """Integer low-pass taps at `factor`·`rate_hz`, whose sum is `factor`·2¹⁵ up to rounding."""
    nyquist_hz = factor * rate_hz / 2
    width = (rate_hz - 2 * edge_hz) / nyquist_hz
    beta = signal.kaiser_beta(min(STOP_DB, signal.kaiser_atten(count, width)))
    taps = signal.firwin(count, rate_hz / 2, window=("kaiser", beta), fs=2 * nyquist_hz)
    return tuple(int(tap) for tap in np.rint(taps / taps.sum() * factor * _UNITY))
