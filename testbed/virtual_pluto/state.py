"""What a virtual Pluto is set to, and what that means for the air. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from testbed.virtual_pluto.fir import Fir
from testbed.virtual_pluto.rates import Chain

XO_NOMINAL: Final = 40_000_000
XO_SPAN: Final = 8_000
TUNING: Final = {
    "ad9363a": ((325_000_000, 3_800_000_000), (325_000_000, 3_800_000_000)),
    "ad9364": ((70_000_000, 6_000_000_000), (46_875_001, 6_000_000_000)),
}
"""Model → tuning range in Hz of (receiver, transmitter)."""
GAIN_TABLES: Final = ((1_300_000_000, (-1, 73)), (4_000_000_000, (-3, 71)), (6_000_000_001, (-10, 62)))
"""Receive gain range in dB, by the frequency below which it holds."""
MOST_ATTENUATION_MDB: Final = 89_750
ATTENUATION_STEP_MDB: Final = 250
ENSM_MODES: Final = ("sleep", "wait", "alert", "fdd", "pinctrl", "pinctrl_fdd_indep")
GAIN_MODES: Final = ("manual", "fast_attack", "slow_attack", "hybrid")


@dataclass(frozen=True)
class Identity:
    """Who a unit says it is."""

    serial: str
    firmware: str = "v0.39-virtual"
    model: str = "ad9364"
    hardware: str = "Virtual ADALM-PLUTO of the DMoE testbed (Z7010-AD9364)"


@dataclass
class Tone:
    """One of the four generators behind the converter, used when no buffer is open."""

    frequency_hz: int = 0
    phase_mdeg: int = 0
    scale: float = 0.0
    on: bool = False


@dataclass
class State:
    """Everything that can be set, as the firmware leaves it at boot: the transmitter is on, at −10 dB."""

    receive_hz: int = 2_400_000_000
    transmit_hz: int = 2_450_000_000
    receiver_off: bool = False
    transmitter_off: bool = False
    rate_hz: int = 30_720_000
    decimate_by_8: bool = False
    interpolate_by_8: bool = False
    receive_bandwidth_hz: int = 18_000_000
    transmit_bandwidth_hz: int = 18_000_000
    gain_mode: str = "slow_attack"
    receive_gain_db: int = 71
    attenuation_mdb: int = 10_000
    ensm: str = "fdd"
    loopback: int = 0
    xo_correction: int = XO_NOMINAL
    fir: Fir | None = None
    asked_chain: Chain | None = None
    fir_receive: bool = False
    fir_transmit: bool = False
    tones: list[Tone] = field(default_factory=lambda: [Tone() for _ in range(4)])
    buffers: dict[str, int] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    register: dict[str, int] = field(default_factory=dict)
    plain: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def receive_rate_hz(self) -> float:
        """Samples a second in a receive buffer."""
        return self.rate_hz / 8 if self.decimate_by_8 else float(self.rate_hz)

    @property
    def transmit_rate_hz(self) -> float:
        """Samples a second in a transmit buffer."""
        return self.rate_hz / 8 if self.interpolate_by_8 else float(self.rate_hz)

    @property
    def transmitting(self) -> bool:
        """The transmitter's oscillator runs and reaches the antenna."""
        return not self.transmitter_off and self.ensm == "fdd"

    @property
    def active_fir(self) -> Fir | None:
        """The loaded filters, if either is switched on."""
        return self.fir if self.fir_receive or self.fir_transmit else None


def gain_range_db(receive_hz: int) -> tuple[int, int]:
    """Receive gains in dB that exist at a frequency."""
    return next(limits for below, limits in GAIN_TABLES if receive_hz < below)
