"""The simulated air: what one unit transmits, the others hear through fading channels and imperfect radios.

The air keeps a logical clock that advances when a transmission ends, by two lengths of its frame: the time
that receivers need to capture a whole one. Channels fade by that clock, so a run depends on the order of its
transmissions and on the seed, and on nothing else: the same calls give the same samples, bit for bit,
whichever process makes them and however fast.

Left out: a unit does not hear itself, switching transients, the time that computing takes, interference from
anybody else, adjacent-channel filters, antenna patterns; see `testbed.radio.channel` for what a single link
leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from testbed.errors import RadioError
from testbed.radio import channel
from testbed.radio.base import Capture, RadioSettings, Samples
from testbed.units import db, from_db

FRONT_END = channel.Impairments(
    phase_noise_variance=channel.wiener_step_variance(linewidth_hz=1.0, sample_rate_hz=4e6),
    iq_gain_db=0.1,
    iq_phase_deg=0.5,
    dc=0.002,
    bits=12,
)
"""Front end of every simulated receiver: about what an AD936x leaves after its own corrections (assumed)."""

THERMAL_DBM_PER_HZ = -173.975
"""k·T at 290 K."""


@dataclass(frozen=True)
class AirSettings:
    """K units and the channels between them.

    Attributes:
        profile: tapped-delay-line profile of TR 38.901, "TDL-A" … "TDL-E".
        delay_spread_s: rms delay spread; doppler_hz: largest Doppler shift.
        path_gain_db: K×K gain of each directed link, [from][to].
        clock_ppm: (K,) error of each unit's crystal; it moves carrier and sample clock alike.
        noise_figure_db: of every receiver.
        full_scale_dbm: transmit power of a full-scale sample at gain 0; at a receiver, the power that
            drives the converter to full scale at gain 0.
        reciprocal: i→j and j→i fade alike.
        correlation: share ρ of the fading power that all links have in common: two links have correlation ρ.
        seed: of everything drawn.
    """

    profile: str
    delay_spread_s: float
    doppler_hz: float
    path_gain_db: tuple[tuple[float, ...], ...]
    clock_ppm: tuple[float, ...]
    noise_figure_db: float
    full_scale_dbm: float
    reciprocal: bool
    seed: int
    correlation: float = 0.0

    @property
    def units(self) -> int:
        """K."""
        return len(self.clock_ppm)


@dataclass
class _Unit:
    """One radio on the air."""

    settings: RadioSettings | None = None
    on_air: Samples | None = None
    captures: int = 0


@dataclass
class Air:
    """The state all simulated radios share; implements `testbed.radio.sim.Ether`.

    Not thread-safe: one process owns it, and serves the calls one after the other.
    """

    settings: AirSettings
    clock_s: float = 0.0
    _units: list[_Unit] = field(init=False)
    _fading: dict[tuple[int, int], channel.Fading] = field(init=False)

    def __post_init__(self) -> None:
        self._units = [_Unit() for _ in range(self.settings.units)]
        self._fading = draw_links(self.settings)

    def configure(self, unit: int, settings: RadioSettings) -> None:
        """Tune `unit`."""
        self._unit(unit).settings = settings

    def transmit(self, unit: int, samples: Samples) -> None:
        """`unit` starts to repeat `samples`; an earlier transmission of it ends."""
        self._tuned(unit)
        self.silence(unit)
        self._units[unit].on_air = samples

    def silence(self, unit: int) -> None:
        """`unit` leaves the air, and the clock moves on if it was on it."""
        one = self._unit(unit)
        if one.on_air is not None and one.settings is not None:
            self.clock_s += 2 * one.on_air.size / one.settings.sample_rate_hz
        one.on_air = None

    def on_air(self) -> tuple[int, ...]:
        """Units that transmit now."""
        return tuple(k for k, unit in enumerate(self._units) if unit.on_air is not None)

    def receive(self, unit: int, count: int) -> Capture:
        """What `unit` hears in `count` samples, beginning anywhere in the others' repetitions.

        Raises:
            RadioError: no such unit, or it was never tuned.
        """
        tuned = self._tuned(unit)
        self._units[unit].captures += 1
        rng = np.random.default_rng([self.settings.seed, 1 + unit, self._units[unit].captures])
        heard = np.zeros(count, np.complex64)
        for other in self.on_air():
            if other != unit:
                heard += self._propagate(other, unit, count, rng)
        samples, _ = channel.receive_front_end(heard, FRONT_END, self._noise_power(tuned), rng)
        return Capture(samples, tuned.sample_rate_hz, tuned.centre_hz, tuned.receive_gain_db, self.clock_s)

    def truth(self, source: int, destination: int) -> channel.Fading:
        """The channel itself. For tests only: a testbed that read it would measure nothing."""
        return self._fading[source, destination]

    def _unit(self, unit: int) -> _Unit:
        if not 0 <= unit < self.settings.units:
            raise RadioError(f"unit {unit} is not on this air, which has units 0 … {self.settings.units - 1}")
        return self._units[unit]

    def _tuned(self, unit: int) -> RadioSettings:
        settings = self._unit(unit).settings
        if settings is None:
            raise RadioError(f"unit {unit} was never tuned: call configure first")
        return settings

    def _noise_power(self, receiver: RadioSettings) -> float:
        dbm = thermal_noise_dbm(receiver.sample_rate_hz) + self.settings.noise_figure_db
        return float(from_db(dbm + receiver.receive_gain_db - self.settings.full_scale_dbm))

    def _propagate(self, source: int, destination: int, count: int, rng: np.random.Generator) -> Samples:
        sender, receiver = self._tuned(source), self._tuned(destination)
        wave = self._units[source].on_air
        assert wave is not None
        ppm, other_ppm = self.settings.clock_ppm[source], self.settings.clock_ppm[destination]
        carrier_hz = sender.centre_hz * (1 + 1e-6 * ppm)
        own_hz = receiver.centre_hz * (1 + 1e-6 * other_ppm)
        path_db = self.settings.path_gain_db[source][destination]
        return channel.propagate(
            wave,
            self._fading[source, destination],
            sample_rate_hz=receiver.sample_rate_hz,
            start_time_s=self.clock_s,
            gain_db=sender.transmit_gain_db + path_db + receiver.receive_gain_db,
            cfo_hz=carrier_hz - own_hz,
            sfo_ppm=ppm - other_ppm,
            first_sample=rng.uniform(0, wave.size),
            count=count,
            periodic=True,
        )


def thermal_noise_dbm(bandwidth_hz: float) -> float:
    """k·T·B at 290 K, in dBm."""
    return float(THERMAL_DBM_PER_HZ + db(bandwidth_hz))


def draw_links(settings: AirSettings) -> dict[tuple[int, int], channel.Fading]:
    """The fading of every directed link, each from a seed of its own, and a common part where they correlate."""
    profile = channel.load_profile(settings.profile)

    def draw_alone(i: int, j: int) -> channel.Fading:
        rng = np.random.default_rng([settings.seed, 0, i, j])
        return channel.draw_fading(profile, settings.delay_spread_s, settings.doppler_hz, rng)

    common = draw_alone(settings.units, settings.units)

    def draw(i: int, j: int) -> channel.Fading:
        own = draw_alone(i, j)
        return channel.mix_fading(own, common, settings.correlation) if settings.correlation else own

    links = [(i, j) for i in range(settings.units) for j in range(settings.units) if i != j]
    return {(i, j): draw(min(i, j), max(i, j)) if settings.reciprocal else draw(i, j) for i, j in links}
