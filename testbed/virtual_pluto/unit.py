"""One virtual Pluto: its state, and its place on the air."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.radio.base import Samples
from testbed.units import db
from testbed.virtual_pluto.aether import Aether
from testbed.virtual_pluto.faults import Faults
from testbed.virtual_pluto.segments import Tuning
from testbed.virtual_pluto.state import XO_NOMINAL, Identity, State, Tone, gain_range_db

DDS_PERIOD: Final = 1 << 16
"""Samples after which tones of a 16-bit phase accumulator repeat."""
RECALIBRATION_HZ: Final = 100e6
AGC_TARGET_DBFS: Final = -12.0
RSSI_SAMPLES: Final = 1024
OVERFLOW_BIT: Final = 4
UNDERFLOW_BIT: Final = 1
STATUS_REGISTER: Final = 0x80000088
KERNEL_BUFFERS: Final = 4
TUNINGS: Final = 64
TIMEOUT_S: Final = 5.0


@dataclass
class Unit:
    """Unit `number` of an `Aether`.

    Attributes:
        number: 0 …
        aether: the air it shares.
        identity: serial and versions.
        state: what is set. Only change it under `lock`, and call `settle` after.
        faults: what is wrong with it.
        witness: told every command that was carried out, for tests of their order.
    """

    number: int
    aether: Aether
    identity: Identity
    state: State = field(default_factory=State)
    faults: Faults = field(default_factory=Faults)
    witness: Callable[[str], None] | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)
    captures: int = 0
    timeout_s: float = TIMEOUT_S
    _dds: int | None = None
    _on_air: int | None = None
    _wave: Samples | None = None
    _agc_gain_db: float = 71.0
    _buffers_open: int = 0
    _patience: dict[object, float] = field(default_factory=dict)
    _calibrated_hz: int = 2_450_000_000
    _tunings: list[tuple[float, Tuning]] = field(default_factory=list)

    # clock and carrier

    def clock_factor(self) -> float:
        """True frequency of the crystal over what the unit takes it for."""
        drift = self.faults.drift_ppm_per_s * self.aether.clock.now()
        ppm = self.aether.settings.clock_ppm[self.number] + drift
        return (1 + 1e-6 * ppm) * XO_NOMINAL / self.state.xo_correction

    def tuning(self) -> Tuning:
        """How it listens now."""
        state, factor = self.state, self.clock_factor()
        low, high = gain_range_db(state.receive_hz)
        return Tuning(
            carrier_hz=state.receive_hz * factor,
            rate_hz=state.receive_rate_hz * factor,
            gain_db=float(state.receive_gain_db) if state.gain_mode == "manual" else None,
            lowest_gain_db=float(low),
            highest_gain_db=float(high),
            deaf=state.receiver_off or state.ensm != "fdd",
        )

    def transmit_values(self) -> tuple[float, float, float]:
        """True carrier and rate in Hz, and gain in dB."""
        factor = self.clock_factor()
        state = self.state
        return state.transmit_hz * factor, state.transmit_rate_hz * factor, -state.attenuation_mdb / 1000

    def note_tuning(self) -> None:
        """Remember since when it listens this way."""
        tuning = self.tuning()
        if not self._tunings or self._tunings[-1][1] != tuning:
            self._tunings = [*self._tunings[-TUNINGS:], (self.aether.clock.now(), tuning)]

    def tuning_at(self, moment_s: float) -> Tuning:
        """How it listened at a time, as far as it remembers."""
        with self.lock:
            self.note_tuning()
            return next((t for since, t in reversed(self._tunings) if since <= moment_s), self._tunings[0][1])

    # transmitting

    def settle(self) -> None:
        """Make the air follow the state."""
        with self.lock:
            self.note_tuning()
            if not self.state.transmitting:
                self.aether.clear(self.number)
                self._on_air = self._dds = None
                return
            self.aether.retune(self.number, *self.transmit_values())
            if self._wave is not None and self._on_air is None:
                self._on_air = self.aether.repeat(self.number, self._wave, *self.transmit_values()).serial
            self._refresh_tones()

    def retuned_transmitter(self) -> None:
        """The oscillator was set; far moves recalibrate, which some units do on the air."""
        far = abs(self.state.transmit_hz - self._calibrated_hz) > RECALIBRATION_HZ
        if far:
            self._calibrated_hz = self.state.transmit_hz
        if far and self.faults.calibration_burst_s > 0 and self.state.transmitting:
            carrier, rate, _ = self.transmit_values()
            burst = np.ones(max(round(self.faults.calibration_burst_s * rate), 1), np.complex64)
            self.aether.play(self.number, burst, 0.0, carrier, rate, 0.0)

    def repeat(self, wave: Samples) -> None:
        """A cyclic buffer was filled."""
        with self.lock:
            self._wave = wave
            self.settle()

    def end_repeat(self) -> None:
        """The cyclic buffer is gone."""
        with self.lock:
            self._wave = None
            self._leave_air()

    def play(self, wave: Samples, not_before_s: float) -> tuple[int, float, float]:
        """A block was pushed: its serial number, and when it starts and ends."""
        with self.lock:
            carrier, rate, gain_db = self.transmit_values()
            if not self.state.transmitting:
                wave = np.zeros_like(wave)
            segment = self.aether.play(self.number, wave, not_before_s, carrier, rate, gain_db)
            return segment.serial, segment.start_s, segment.stop_s

    def set_timeout(self, client: object, seconds: float | None) -> None:
        """How long a client waits for blocks, None once it is gone; nobody's wait is cut short by another's."""
        with self.lock:
            self._patience.pop(client, None)
            if seconds is not None:
                self._patience[client] = seconds
            self.timeout_s = max(self._patience.values(), default=TIMEOUT_S)

    def opened(self, transmit_buffers: int) -> None:
        """So many more transmit buffers are open: the converter takes them instead of its tones."""
        with self.lock:
            self._buffers_open += transmit_buffers
            self.settle()

    def _leave_air(self) -> None:
        if self._on_air is not None:
            self.aether.end(self.number, self._on_air)
        self._on_air = None

    def _drop_tones(self) -> None:
        if self._dds is not None:
            self.aether.end(self.number, self._dds)
        self._dds = None

    def _refresh_tones(self) -> None:
        wave = None if self._buffers_open else self.tone_wave()
        self._drop_tones()
        if wave is not None:
            self._dds = self.aether.repeat(self.number, wave, *self.transmit_values()).serial

    def tone_wave(self) -> Samples | None:
        """One period of what the tone generators make, or None for silence."""
        rate = self.state.transmit_rate_hz
        parts = [self._tones(pair, rate) for pair in (self.state.tones[:2], self.state.tones[2:])]
        if parts[0] is None and parts[1] is None:
            return None
        real, imag = (np.zeros(DDS_PERIOD) if part is None else part for part in parts)
        return np.asarray(np.clip(real, -1, 1) + 1j * np.clip(imag, -1, 1), np.complex64)

    @staticmethod
    def _tones(pair: list[Tone], rate: float) -> NDArray[np.float64] | None:
        sounding = [tone for tone in pair if tone.on and tone.scale > 0]
        if not sounding:
            return None
        n = np.arange(DDS_PERIOD)
        total = np.zeros(DDS_PERIOD)
        for tone in sounding:
            step = round(tone.frequency_hz / rate * DDS_PERIOD)
            turns = (n * step % DDS_PERIOD) / DDS_PERIOD + tone.phase_mdeg / 360e3
            total += tone.scale * np.cos(2 * np.pi * turns)
        return total

    # receiving

    def next_capture(self) -> int:
        """The number of a new stream of captures."""
        with self.lock:
            self.captures += 1
            return self.captures

    def looped_back(self) -> Samples | None:
        """What digital loopback repeats: None where it is off, empty where no cyclic buffer is open."""
        if self.state.loopback != 1:
            return None
        return np.zeros(0, np.complex64) if self._wave is None else self._wave

    def gain_for(self, arrived: Samples, tuning: Tuning) -> float:
        """Receive gain in dB for samples that arrived: as set, or as automatic gain control finds it."""
        if tuning.gain_db is not None:
            return tuning.gain_db
        power = float(np.mean(np.abs(arrived) ** 2)) + self.aether.noise_power(tuning)
        wanted = round(AGC_TARGET_DBFS - float(db(power)))
        self._agc_gain_db = float(np.clip(wanted, tuning.lowest_gain_db, tuning.highest_gain_db))
        return self._agc_gain_db

    def gain_db(self) -> float:
        """Receive gain in force."""
        return float(self.state.receive_gain_db) if self.state.gain_mode == "manual" else self._agc_gain_db

    @property
    def temperature_c(self) -> float:
        """Of the die: a few degrees apart from unit to unit, and constant."""
        return 38.0 + 1.7 * (self.number % 5)

    def rssi_db(self) -> float:
        """How far below full scale at gain 0 the antenna's power is."""
        tuning = self.tuning()
        now = self.aether.clock.now()
        heard = self.aether.hear(self.number, tuning, self.aether.segments(), now, RSSI_SAMPLES, 0)
        power = float(np.mean(np.abs(heard) ** 2)) + self.aether.noise_power(tuning)
        return float(np.clip(-db(power), 0, 128))

    def flag(self, device: str, bit: int) -> None:
        """Set a bit of a converter's status register, as its hardware would."""
        with self.lock:
            self.state.status[device] = self.state.status.get(device, 0) | bit

    def kernel_buffers(self, device: str) -> int:
        """Blocks in the kernel's queue of a device."""
        return self.state.buffers.get(device, KERNEL_BUFFERS)


def digital_loopback(wave: Samples) -> Samples:
    """What the receiver's converter interface gets of what the transmitter's was given: the upper 12 bits."""
    codes = np.round(wave.view(np.float32) * 32768).astype(np.int32) >> 4
    return np.asarray(codes, np.float32).view(np.complex64) / np.float32(2048)
