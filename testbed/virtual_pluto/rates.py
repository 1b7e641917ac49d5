"""The clock chain of the AD936x: from a sample rate to the rates of its stages.

    converter ── half bands (÷1, 2, 3, 4, 6, 8, 12) ── FIR (÷1, 2, 4) ── sample rate

The converter runs at the largest multiple that stays at or below 336 MHz; the transmit converter runs at half of
it where that is fast enough, for its filter too. Limits are those of the data sheet; the rule is ours, and gives
the rates that the Linux driver reports at its default of 30.72 MS/s.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from testbed.virtual_pluto.fir import Fir

SLOWEST_CONVERTER: Final = 25_000_000
FASTEST_CONVERTER: Final = 336_000_000
ROUNDING: Final = 48
"""Hz that whole sample rates lose times 12 and 4."""
RELATIVE_ROUNDING: Final = 1e-6
FASTEST_SAMPLE_RATE: Final = 61_440_000
SLOWEST_BBPLL: Final = 715_000_000
HALF_BANDS: Final = {12: (3, 2, 2), 8: (2, 2, 2), 6: (3, 2, 1), 4: (2, 2, 1), 3: (3, 1, 1), 2: (2, 1, 1), 1: (1, 1, 1)}
"""Division in all → by the third, second and first half-band filter."""


@dataclass(frozen=True)
class Chain:
    """Rates in Hz from the converter down to the samples: (converter, after HB3, after HB2, after HB1, samples)."""

    bbpll: int
    receive: tuple[int, int, int, int, int]
    transmit: tuple[int, int, int, int, int]

    def receive_text(self) -> str:
        """As `rx_path_rates` tells it."""
        return _text(self.bbpll, "ADC R2 R1 RF RXSAMP", self.receive)

    def transmit_text(self) -> str:
        """As `tx_path_rates` tells it."""
        return _text(self.bbpll, "DAC T2 T1 TF TXSAMP", self.transmit)


def slowest(decimation: int) -> int:
    """The lowest sample rate in Hz behind a FIR filter that divides by `decimation`."""
    return SLOWEST_CONVERTER // (12 * decimation)


def clock_chain(sample_rate_hz: int, fir: Fir | None) -> Chain:
    """The chain at a sample rate, through the FIR filters if there are any.

    Raises:
        ValueError: the rate is out of reach.
    """
    decimation, interpolation = (fir.decimation, fir.interpolation) if fir else (1, 1)
    if not slowest(min(decimation, interpolation)) <= sample_rate_hz <= FASTEST_SAMPLE_RATE:
        raise ValueError(f"{sample_rate_hz} Hz is out of reach")
    adc = _converter(sample_rate_hz * decimation)
    wanted = sample_rate_hz * interpolation
    taps = len(fir.transmit) if fir else 0
    fitting = [rate for rate in (adc // 2, adc) if _serves(rate, wanted) and taps <= 16 * (rate // sample_rate_hz)]
    dac = fitting[0] if fitting else _converter(wanted)
    bbpll = adc
    while bbpll < SLOWEST_BBPLL:
        bbpll *= 2
    return Chain(bbpll, _stages(adc, sample_rate_hz * decimation, sample_rate_hz), _stages(dac, wanted, sample_rate_hz))


def asked_chain(fir: Fir) -> Chain | None:
    """The chain that the filters' file asks for; None where it asks for none, or for one that no device has."""
    if fir.path_rates_hz is None:
        return None
    (transmit_pll, *transmit), (receive_pll, *receive) = fir.path_rates_hz
    whole = _divides(receive, fir.decimation) and _divides(transmit, fir.interpolation)
    if not whole or transmit_pll != receive_pll or transmit[-1] != receive[-1]:
        return None
    return Chain(receive_pll, tuple(receive), tuple(transmit))  # type: ignore[arg-type]  # five each, by the grammar


def _divides(stages: list[int], factor: int) -> bool:
    """Whether each stage divides the one before by what it can, rounding of the file apart."""
    steps = [round(above / max(below, 1)) for above, below in pairwise(stages)]
    near = all(abs(a - step * b) <= RELATIVE_ROUNDING * a for (a, b), step in zip(pairwise(stages), steps, strict=True))
    return near and steps[0] in (1, 2, 3) and set(steps[1:3]) <= {1, 2} and steps[3] == factor


def carries(fir: Fir, chain: Chain) -> bool:
    """Whether the filters have the time to compute their taps: 16 a cycle of the converter, at most."""
    adc, dac = chain.receive[0], chain.transmit[0]
    return len(fir.receive) <= 16 * (adc // chain.receive[4]) and len(fir.transmit) <= 16 * (dac // chain.transmit[4])


def _converter(rate: int) -> int:
    fitting = [rate * k for k in HALF_BANDS if SLOWEST_CONVERTER - ROUNDING <= rate * k <= FASTEST_CONVERTER]
    if not fitting:
        raise ValueError(f"no converter rate serves {rate} Hz")
    return max(fitting)


def _serves(converter: int, rate: int) -> bool:
    return converter >= SLOWEST_CONVERTER - ROUNDING and converter % rate == 0 and converter // rate in HALF_BANDS


def _stages(converter: int, filtered: int, samples: int) -> tuple[int, int, int, int, int]:
    third, second, _ = HALF_BANDS[converter // filtered]
    return converter, converter // third, converter // third // second, filtered, samples


def _text(bbpll: int, names: str, rates: tuple[int, ...]) -> str:
    return " ".join(f"{name}:{rate}" for name, rate in zip(f"BBPLL {names}".split(), (bbpll, *rates), strict=True))
