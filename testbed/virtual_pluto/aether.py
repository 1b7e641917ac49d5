"""The air that virtual Plutos share: who sent what and when, and what each of them hears.

A transmission is a `Segment` of time in which nothing about it changes. What a unit hears is a function of the
segments, its own tuning and the time, by the same channel functions that `sim:` uses.

Two clocks. By the wall clock a segment begins and ends when it does, and a receiver hears it at the position
that time gives it. By the logical clock nothing takes time but transmissions: a repeated one counts two of its
lengths when it ends (as on the air of `sim:`), and a receiver hears it from a random position on, the same
whoever reads first; a single block counts its length.

Left out: what `testbed.radio.channel` leaves out, and interference between the units' power supplies, clocks
and USB links; analogue filters (`rf_bandwidth` is kept and does nothing: what lies beyond the sample rate is cut
off sharply); leakage of the carrier; a retuned oscillator settles at once, and a drifting crystal moves a
transmission only when it is started or retuned. A unit hears itself only as far as `own_gain_db` says.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from testbed.radio import channel
from testbed.radio.air import AirSettings, draw_links, thermal_noise_dbm
from testbed.radio.base import Samples
from testbed.units import from_db
from testbed.virtual_pluto.clock import Clock
from testbed.virtual_pluto.segments import CABLE, Path, Segment, Tuning
from testbed.virtual_pluto.spectrum import received_wave

HISTORY_S: Final = 10.0
"""Ended segments are kept this long for receivers that lag."""
SEGMENTS: Final = 512
MARGIN: Final = 64
"""Samples around a segment within which the channel's filter may spread it."""


@dataclass
class Aether:
    """All segments of all units; every method may be called from any thread.

    Attributes:
        settings: the units' channels, clock errors and noise.
        clock: logical or wall.
        own_gain_db: gain from a unit's transmitter to its own receiver; None where it does not hear itself.
    """

    settings: AirSettings
    clock: Clock
    own_gain_db: float | None = None
    _live: dict[int, list[Segment]] = field(init=False)
    _ended: list[Segment] = field(init=False, default_factory=list)
    _fading: dict[tuple[int, int], channel.Fading] = field(init=False)
    _lock: threading.RLock = field(init=False, default_factory=threading.RLock)
    _serial: int = field(init=False, default=0)
    _frontiers: dict[int, float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._live = {unit: [] for unit in range(self.settings.units)}
        self._fading = draw_links(self.settings)

    def repeat(self, unit: int, wave: Samples, carrier_hz: float, rate_hz: float, gain_db: float) -> Segment:
        """`unit` starts to repeat `wave`; other transmissions of it stay."""
        with self._lock:
            now = self.clock.now()
            self._serial += 1
            segment = Segment(unit, wave, now, now, carrier_hz, rate_hz, gain_db, True, self._serial)
            self._live[unit].append(segment)
            return segment

    def play(
        self, unit: int, wave: Samples, not_before_s: float, carrier_hz: float, rate_hz: float, gain_db: float
    ) -> Segment:
        """`unit` sends `wave` once, as soon as possible but not before a time."""
        with self._lock:
            start = max(self.clock.now(), not_before_s)
            self._serial += 1
            stop = start + wave.size / rate_hz
            once = Segment(unit, wave, start, start, carrier_hz, rate_hz, gain_db, False, self._serial, stop)
            self._live[unit].append(once)
            self._forget()
            return once

    def retune(self, unit: int, carrier_hz: float, rate_hz: float, gain_db: float) -> None:
        """What `unit` has on the air goes on at other settings."""
        with self._lock:
            now = self.clock.now()
            for segment in [one for one in self._live[unit] if one.stop_s > now]:
                following = replace(
                    segment, start_s=max(now, segment.start_s), carrier_hz=carrier_hz, rate_hz=rate_hz, gain_db=gain_db
                )
                self._live[unit][self._live[unit].index(segment)] = following
                if self.clock.name == "wall" and segment.start_s < now:
                    self._ended.append(replace(segment, stop_s=now))

    def end(self, unit: int, serial: int) -> None:
        """A transmission ends, now or at its own end, whichever comes first by the clock."""
        with self._lock:
            for segment in [one for one in self._live[unit] if one.serial == serial]:
                self._live[unit].remove(segment)
                if self.clock.name == "logical":
                    lengths = 2 * segment.wave.size / segment.rate_hz
                    self.clock.advance_to(self.clock.now() + lengths if segment.periodic else segment.stop_s)
                stop = min(segment.stop_s, self.clock.now())
                if stop > segment.start_s and not (segment.periodic and self.clock.name == "logical"):
                    self._ended.append(replace(segment, stop_s=stop))
            self._forget()

    def clear(self, unit: int) -> None:
        """All that `unit` has on the air ends."""
        with self._lock:
            for segment in list(self._live[unit]):
                self.end(unit, segment.serial)

    def reach(self, reader: int, until_s: float | None) -> None:
        """A receiver has taken its samples up to a time, or is gone (None)."""
        with self._lock:
            if until_s is None:
                self._frontiers.pop(reader, None)
            else:
                self._frontiers[reader] = until_s

    def frontier_s(self) -> float:
        """The time up to which receivers have taken their samples: what is sent from now on comes after it."""
        with self._lock:
            return max(self._frontiers.values(), default=0.0)

    def on_air(self) -> tuple[int, ...]:
        """Units that transmit now."""
        with self._lock:
            return tuple(unit for unit, segments in self._live.items() if segments)

    def segments(self) -> tuple[Segment, ...]:
        """All that is on the air, was lately, or is about to be."""
        with self._lock:
            live = [segment for segments in self._live.values() for segment in segments]
            return (*live, *self._ended)

    def hear(
        self,
        unit: int,
        tuning: Tuning,
        segments: tuple[Segment, ...],
        start_s: float,
        count: int,
        capture: int,
        gain_db: float = 0.0,
    ) -> Samples:
        """What arrives at the converter of `unit`, before noise.

        Args:
            unit: who listens.
            tuning: how.
            segments: what is on the air.
            start_s: time of the first sample.
            count: samples.
            capture: number of the capture; by the logical clock, it draws where repetitions begin.
            gain_db: of the receiver.
        """
        total = np.zeros(count, np.complex64)
        for segment in segments:
            path = self._path(segment.unit, unit)
            first, last = self._window(segment, tuning, start_s, count)
            if path is None or tuning.deaf or first >= last:
                continue
            route = replace(path, gain_db=path.gain_db + gain_db)
            at = start_s + first / tuning.rate_hz
            total[first:last] += self._arrive(segment, route, tuning, at, last - first, (unit, capture))
        return total

    def noise_power(self, tuning: Tuning) -> float:
        """Thermal noise at gain 0 dB relative to full scale."""
        dbm = thermal_noise_dbm(tuning.rate_hz) + self.settings.noise_figure_db
        return float(from_db(dbm - self.settings.full_scale_dbm))

    def _path(self, source: int, destination: int) -> Path | None:
        if source != destination:
            return Path(self.settings.path_gain_db[source][destination], self._fading[source, destination])
        return None if self.own_gain_db is None else Path(self.own_gain_db, CABLE)

    def _window(self, segment: Segment, tuning: Tuning, start_s: float, count: int) -> tuple[int, int]:
        """Samples of a capture that a segment can reach."""
        if segment.periodic and self.clock.name == "logical":
            return 0, count
        first = math.floor((segment.start_s - start_s) * tuning.rate_hz)
        last = math.ceil(min((segment.stop_s - start_s) * tuning.rate_hz, 1e18))
        spread = 0 if segment.periodic else MARGIN
        return min(max(first - spread, 0), count), min(max(last + 8 * spread, 0), count)

    def _arrive(
        self,
        segment: Segment,
        path: Path,
        tuning: Tuning,
        start_s: float,
        count: int,
        who: tuple[int, int],
    ) -> Samples:
        wave, rate, offset_hz = received_wave(
            segment.wave, segment.rate_hz, segment.periodic, tuning, segment.carrier_hz
        )
        if wave is None:
            return np.zeros(count, np.complex64)
        position = (start_s - segment.origin_s) * rate
        if segment.periodic and self.clock.name == "logical":
            rng = np.random.default_rng([self.settings.seed, 1 + who[0], who[1], segment.serial])
            position += rng.uniform(0, wave.size)
        if segment.periodic:
            position %= wave.size
        return channel.propagate(
            wave,
            path.fading,
            sample_rate_hz=tuning.rate_hz,
            start_time_s=start_s,
            gain_db=segment.gain_db + path.gain_db,
            cfo_hz=offset_hz,
            sfo_ppm=1e6 * (rate / tuning.rate_hz - 1),
            first_sample=position,
            count=count,
            periodic=segment.periodic,
        )

    def _forget(self) -> None:
        """Drop what ended long ago; by the logical clock, blocks that were played leave when they are many."""
        now = self.clock.now()
        for unit, segments in self._live.items():
            done = [one for one in segments if one.stop_s <= now]
            self._live[unit] = [one for one in segments if one.stop_s > now]
            self._ended += done
        if self.clock.name == "wall":
            self._ended = [one for one in self._ended if one.stop_s > now - HISTORY_S]
        self._ended = self._ended[-SEGMENTS:]
