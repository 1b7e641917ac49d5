"""What to write to a Pluto, in which order, and what must be read back: plain values, no library.

    silence     mute, then buffers away, then the oscillator off
    configure   (silent already) clocks, filters, oscillators, gains; the transmitter stays muted
    transmit    buffer, then oscillator on, then gain

The order keeps calibration tones, retuning and leftovers of an earlier program off the air.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from testbed.errors import RadioError
from testbed.radio.base import RadioSettings
from testbed.radio.pluto_filter import filter_text

PHY: Final = "ad9361-phy"
RECEIVER: Final = "cf-ad9361-lpc"
TRANSMITTER: Final = "cf-ad9361-dds-core-lpc"

MUTED_DB: Final = -89.75
SAFE_RATE_HZ: Final = 3_000_000
"""A rate that works with and without filters."""
SLOWEST_UNFILTERED_HZ: Final = 25e6 / 12
SLOWEST_FILTERED_HZ: Final = 25e6 / 48
SLOWEST_HZ: Final = SLOWEST_FILTERED_HZ / 8
FASTEST_HZ: Final = 61.44e6
NARROWEST_HZ: Final = 200_000
WIDEST_HZ: Final = {"receive": 56_000_000, "transmit": 40_000_000}


@dataclass(frozen=True)
class Step:
    """One attribute to write.

    Attributes:
        device, channel, output, name: where; an empty channel is the device itself.
        value: what to write.
        tolerance: how far a number may be off when read back; None compares text; negative does not read back.
    """

    device: str
    channel: str
    output: bool
    name: str
    value: str
    tolerance: float | None = 0.0

    @property
    def place(self) -> str:
        """For messages."""
        side = "output" if self.output else "input"
        return f"{self.device} {side} {self.channel} {self.name}" if self.channel else f"{self.device} {self.name}"


@dataclass(frozen=True)
class PlutoOptions:
    """What a unit needs beyond `RadioSettings`.

    Attributes:
        fir: text of a FIR configuration; None designs one for the sample rate.
        xo_correction_hz: what the crystal really is, from calibration; None leaves the unit's own value.
        gain_mode: manual, or an automatic one of the transceiver, in which receive_gain_db is not set.
        tracking: DC offset and quadrature tracking of the receiver.
        settle_samples: samples dropped at the start of each capture.
    """

    fir: str | None = None
    xo_correction_hz: int | None = None
    gain_mode: str = "manual"
    tracking: bool = True
    settle_samples: int = 256


NO_READBACK: Final = -1.0


def phy(channel: str, output: bool, name: str, value: object, tolerance: float | None = 0.0) -> Step:
    """A step at the transceiver."""
    return Step(PHY, channel, output, name, str(value), tolerance)


def mute_steps() -> tuple[Step, ...]:
    """Tone generators to zero, gain to its least."""
    tones = [Step(TRANSMITTER, f"altvoltage{k}", True, name, "0", 0.0) for name in ("scale", "raw") for k in range(4)]
    return (*tones, gain_step(MUTED_DB))


def power_step(off: bool) -> Step:
    """The transmit oscillator."""
    return phy("altvoltage1", True, "powerdown", int(off))


def gain_step(gain_db: float) -> Step:
    """Transmit gain in quarters of a dB, never more than asked for: the unit itself would round towards more power."""
    return phy("voltage0", True, "hardwaregain", f"{math.floor(4 * gain_db) / 4:.2f}", 0.01)


def receive_gain_db(settings: RadioSettings) -> int:
    """The whole dB nearest to what the settings ask for: the unit has no others."""
    return round(settings.receive_gain_db)


def configure_steps(settings: RadioSettings, options: PlutoOptions) -> tuple[Step, ...]:
    """Everything but the transmitter's gain and power.

    Raises:
        RadioError: a sample rate that no Pluto has.
    """
    rate = settings.sample_rate_hz
    if not SLOWEST_HZ <= rate <= FASTEST_HZ or rate != round(rate):
        raise RadioError(
            f"sample_rate_hz = {rate} is out of reach of a Pluto: whole numbers in {SLOWEST_HZ:.0f}…{FASTEST_HZ:.0f}"
        )
    steps = [phy("", False, "ensm_mode", "fdd", None)]
    if options.xo_correction_hz is not None:
        steps.append(phy("", False, "xo_correction", options.xo_correction_hz))
    steps += _rate_steps(round(rate), options) + _frequency_steps(settings) + _gain_steps(settings, options)
    return (*steps, gain_step(MUTED_DB))


def _rate_steps(rate: int, options: PlutoOptions) -> list[Step]:
    """Filters and clocks; the filters are loaded at a rate that works without them."""
    eighth = rate < SLOWEST_FILTERED_HZ
    own = 8 * rate if eighth else rate
    filters = options.fir or filter_text(own)
    steps = [
        phy("voltage0", False, "sampling_frequency", SAFE_RATE_HZ, NO_READBACK),
        phy("out", False, "voltage_filter_fir_en", 0, NO_READBACK),
        phy("", False, "filter_fir_config", filters, NO_READBACK),
    ]
    first = own if own > SLOWEST_UNFILTERED_HZ else SAFE_RATE_HZ
    steps += [
        phy("voltage0", False, "sampling_frequency", first, NO_READBACK),
        phy("out", False, "voltage_filter_fir_en", 1),
        phy("voltage0", False, "sampling_frequency", own, 2.0),
        Step(RECEIVER, "voltage0", False, "sampling_frequency", str(rate), 2.0),
        Step(TRANSMITTER, "voltage0", True, "sampling_frequency", str(rate), 2.0),
    ]
    return steps


def _frequency_steps(settings: RadioSettings) -> list[Step]:
    centre = round(settings.centre_hz)
    width = {side: round(min(max(settings.sample_rate_hz, NARROWEST_HZ), most)) for side, most in WIDEST_HZ.items()}
    return [
        phy("voltage0", False, "rf_bandwidth", width["receive"], 0.1 * width["receive"]),
        phy("voltage0", True, "rf_bandwidth", width["transmit"], 0.1 * width["transmit"]),
        phy("altvoltage0", True, "frequency", centre, 10.0),
        phy("altvoltage1", True, "frequency", centre, 10.0),
    ]


def _gain_steps(settings: RadioSettings, options: PlutoOptions) -> list[Step]:
    steps = [phy("voltage0", False, "gain_control_mode", options.gain_mode, None)]
    if options.gain_mode == "manual":
        steps.append(phy("voltage0", False, "hardwaregain", receive_gain_db(settings), 0.1))
    switches = ("quadrature_tracking_en", "rf_dc_offset_tracking_en", "bb_dc_offset_tracking_en")
    return steps + [phy("voltage0", False, name, int(options.tracking)) for name in switches]


def mismatch(step: Step, found: str) -> str | None:
    """What is wrong with a value read back, or None when it is what was written."""
    if step.tolerance is not None and step.tolerance < 0:
        return None
    if step.tolerance is None:
        wrong = found.strip() != step.value
    else:
        wrong = not abs(_number(found) - float(step.value)) <= step.tolerance
    return f"{step.place}: wrote {step.value}, read back {found!r}" if wrong else None


def _number(text: str) -> float:
    try:
        return float(text.split()[0])
    except (ValueError, IndexError):
        return float("nan")
