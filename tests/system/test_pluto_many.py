"""Whatever a Pluto is asked for, in any order: nothing beyond its permit, nothing tuned while armed, nothing stale.

Each property is held over a few hundred cases by default and over 10⁴ or 10⁵ with --long: the many straight into the
virtual Pluto (`tests.inside`), some through the genuine libraries.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from testbed.errors import RadioError, TransmitRefused
from testbed.radio.base import RadioSettings
from testbed.radio.guard import TransmitPermit
from testbed.radio.pluto import PlutoRadio
from testbed.radio.pluto_steps import MUTED_DB, PlutoOptions
from testbed.virtual_pluto.faults import Fault
from testbed.virtual_pluto.segments import Segment
from testbed.virtual_pluto.serve import make_units, serving
from testbed.virtual_pluto.unit import Unit
from tests.inside import connect_inside
from tests.libiio import need_libiio
from tests.unit.virtual_pluto.wires import air

WAVE = (0.5 * np.exp(2j * np.pi * np.arange(64) / 8)).astype(np.complex64)
BAND = TransmitPermit(bands_hz=((2.4e9, 2.5e9),), cabled=True)
Open = Callable[[TransmitPermit], PlutoRadio]


@pytest.fixture(params=["inside", "genuine"])
def bench(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Unit, Open]]:
    """A unit, and the way to open it."""
    if request.param == "inside":
        units = make_units(air(2), "logical")
        connect_inside(monkeypatch, units)
        yield units[0], lambda permit: PlutoRadio("pluto:ip:0", permit)
        return
    need_libiio()
    with serving(air(2), first_host="127.0.0.1", port=0) as servers:
        yield servers[0].unit, lambda permit: PlutoRadio(f"pluto:{servers[0].uri}", permit)


SHARDS = 10


@pytest.fixture(
    params=[None, *(pytest.param(k, marks=pytest.mark.long) for k in range(SHARDS))],
    ids=["short", *(f"long{k}" for k in range(SHARDS))],
)
def shard(request: pytest.FixtureRequest) -> int | None:
    """Part of the full-size form, or None for the short one."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def draw(seed: int, shard: int | None) -> np.random.Generator:
    """Other cases in each part."""
    return np.random.default_rng(seed if shard is None else [seed, shard])


def cases(request: pytest.FixtureRequest, shard: int | None, inside: tuple[int, int], genuine: tuple[int, int]) -> int:
    """How many: (by default, in full) for each kind of bench."""
    short, full = genuine if "genuine" in request.node.name else inside
    return short if shard is None else full // SHARDS


# the mask


def radiated(unit: Unit) -> list[Segment]:
    """All that `unit` puts on the air from now on, also what it turns into when it is retuned."""
    seen: list[Segment] = []
    aether = unit.aether

    def watch(name: str) -> None:
        original = getattr(aether, name)

        def watched(number: int, *values: object) -> object:
            found = original(number, *values)
            seen.extend(aether._live[number])
            return found

        setattr(aether, name, watched)

    for name in ("repeat", "play", "retune"):
        watch(name)
    return seen


def random_permit(rng: np.random.Generator) -> TransmitPermit:
    edges = np.sort(rng.uniform(0.3e9, 4e9, 2 * int(rng.integers(1, 4)))).reshape(-1, 2)
    narrow = float(10 ** rng.uniform(4.5, 7.5))
    return TransmitPermit(
        bands_hz=tuple((float(low), float(high)) for low, high in edges),
        cabled=bool(rng.random() < 0.8),
        licence=("", "experimental 0815")[rng.integers(2)],
        occupied_hz=narrow if rng.random() < 0.5 else None,
        highest_gain_db=float(np.round(rng.uniform(-80, 0), 2)),
        antenna_gain_dbi=float(rng.uniform(-3, 12)),
        highest_eirp_dbm=float(rng.uniform(-70, 20)) if rng.random() < 0.3 else None,
    )


def random_settings(rng: np.random.Generator, permit: TransmitPermit) -> RadioSettings:
    """Mostly near an edge of a band, and near the highest gain: where a slip would show."""
    edge = float(rng.choice(np.ravel(permit.bands_hz)))
    rate = float(np.rint(10 ** rng.uniform(4.7, 7.9)))
    width = permit.occupied_hz or rate
    centre = edge + width * float(rng.choice([0, -0.5, 0.5, -0.501, 0.501, -0.6, 0.6, rng.normal()]))
    gain = permit.highest_gain_db + float(rng.choice([0.0, 0.1, -0.1, -0.01, 0.24, -0.24, rng.normal(0, 10)]))
    return RadioSettings(rate, max(centre, 1.0), min(gain, 0.0), float(rng.integers(-3, 72)))


def assert_within(segment: Segment, permit: TransmitPermit, settings: RadioSettings) -> None:
    """The oracle: band, power and permission, from what the air was given."""
    assert permit.cabled or permit.licence
    width = settings.sample_rate_hz if permit.occupied_hz is None else permit.occupied_hz
    assert width <= segment.rate_hz + 2
    low, high = segment.carrier_hz - width / 2, segment.carrier_hz + width / 2
    assert any(bottom - 2 <= low and high <= top + 2 for bottom, top in permit.bands_hz)  # oscillators step by Hz
    assert segment.gain_db <= permit.highest_gain_db
    if permit.highest_eirp_dbm is not None:
        assert permit.full_scale_dbm + segment.gain_db + permit.antenna_gain_dbi <= permit.highest_eirp_dbm + 1e-9


IMPOSSIBLE = {"out of reach of a Pluto", "the unit refused the value"}


def test_nothing_is_radiated_outside_band_power_and_permission(
    bench: tuple[Unit, Open], shard: int | None, request: pytest.FixtureRequest, draw: np.random.Generator
) -> None:
    unit, opened = bench
    unit.faults.gain_reset_on_rate, unit.faults.calibration_burst_s = True, 1e-4
    count = cases(request, shard, inside=(300, 100_000), genuine=(40, 2_000))
    with opened(BAND) as radio:
        seen = radiated(unit)
        radio.silence()
        seen.clear()
        sent = refused = 0
        reasons: set[str] = set()
        for _ in range(count):
            permit = radio._permit = random_permit(draw)
            settings = random_settings(draw, permit)
            try:
                radio.configure(settings)
                radio.transmit(WAVE)
                sent += 1
            except TransmitRefused:
                refused += 1
            except RadioError as error:
                reasons.add(next((words for words in IMPOSSIBLE if words in str(error)), str(error)))
            radio.silence()
            for segment in seen:
                assert_within(segment, permit, settings)
            seen.clear()
    assert sent >= count // 20
    assert refused >= count // 10
    assert reasons <= IMPOSSIBLE


# the order


class Order:
    """Holds each command against: mute, retune, read back, unmute."""

    TUNING = ("frequency", "rf_bandwidth", "fir_en", "filter_fir_config", "xo_correction", "ensm_mode", "gain_control")

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._unread: set[str] = set()
        self.offences: list[str] = []
        self.unmuted = 0
        unit.witness = self

    def __call__(self, line: str) -> None:
        verb, *words = line.split(" ")
        if verb not in ("READ", "WRITE"):
            return
        end = 4 if len(words) > 1 and words[1] in ("INPUT", "OUTPUT") else 2
        where, value = " ".join(words[:end]), words[-1]
        if verb == "READ":
            self._unread.discard(where)
        elif verb == "WRITE" and any(name in where for name in self.TUNING):
            self._tuned(where)
        elif verb == "WRITE" and "OUTPUT voltage0 hardwaregain" in where and float(value) > MUTED_DB:
            self._unmuted(where)

    def _tuned(self, where: str) -> None:
        state = self._unit.state
        if state.attenuation_mdb != 89_750 and not state.transmitter_off:
            self.offences.append(f"tuned while on the air: {where}")
        if "filter_fir_config" not in where:  # it reads back as a summary
            self._unread.add(where)

    def _unmuted(self, where: str) -> None:
        self.unmuted += 1
        if self._unread:
            self.offences.append(f"unmuted before it was read back: {self._unread}")


VERBS = ("configure", "transmit", "silence", "receive", "fail")


def run_verb(verb: str, radio: PlutoRadio, unit: Unit, rng: np.random.Generator) -> None:
    match verb:
        case "configure":
            rate, centre = float(rng.integers(600_000, 10_000_000)), float(rng.uniform(2.41e9, 2.49e9))
            radio._options = PlutoOptions(xo_correction_hz=40_000_000 + int(rng.integers(-200, 200)))
            radio.configure(RadioSettings(rate, centre, float(-rng.integers(10, 80))))
        case "transmit":
            radio.transmit(WAVE)
        case "silence":
            radio.silence()
        case "receive":
            radio.receive(16)
        case "fail":
            unit.faults.protocol = [Fault(r"^(WRITE|READ) ", errno=5, after=int(rng.integers(60)))]


def test_mute_retune_read_back_unmute_in_every_sequence(
    bench: tuple[Unit, Open], shard: int | None, request: pytest.FixtureRequest, draw: np.random.Generator
) -> None:
    unit, opened = bench
    unit.faults.gain_reset_on_rate = True
    sequences = cases(request, shard, inside=(80, 10_000), genuine=(15, 500))
    with opened(BAND) as radio:
        order = Order(unit)
        for _ in range(sequences):
            for verb in draw.choice(VERBS, int(draw.integers(3, 9)), p=[0.3, 0.3, 0.15, 0.15, 0.1]):
                with contextlib.suppress(RadioError):
                    run_verb(verb, radio, unit, draw)
            unit.faults.protocol = []
            radio.silence()
            assert unit.state.transmitter_off
            assert unit.state.attenuation_mdb == 89_750
            assert not unit.aether.on_air()
            assert order.offences == []
        assert order.unmuted > sequences // 2


# freshness


def test_no_stale_capture_is_ever_accepted(
    shard: int | None, request: pytest.FixtureRequest, draw: np.random.Generator
) -> None:
    """Each change is a new tone, and each capture must hold it, however many old blocks the unit has to give."""
    need_libiio()
    settings = RadioSettings(4e6, 2.45e9, -20.0, 40.0)
    with serving(air(2), first_host="127.0.0.1", port=0) as servers:
        sender, hearer = (PlutoRadio(f"pluto:{server.uri}", BAND) for server in servers)
        with sender, hearer:
            for radio in (sender, hearer):
                radio.configure(settings)
            stale = 0
            for _ in range(cases(request, shard, inside=(200, 10_000), genuine=(0, 0))):
                servers[1].unit.faults.stale_blocks = int(draw.integers(0, 9))
                cycles = int(draw.integers(1, 100))
                sender.transmit((0.5 * np.exp(2j * np.pi * cycles * np.arange(200) / 200)).astype(np.complex64))
                heard = np.abs(np.fft.fft(hearer.receive(200).samples))
                heard[0] = 0
                stale += int(heard.argmax()) != cycles
    assert stale == 0
