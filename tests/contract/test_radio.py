"""What every radio promises, asked of every kind that is here: one suite, a pair of radios a backend."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from testbed.agents.air import answer
from testbed.agents.ether import RemoteEther
from testbed.errors import AddressError, RadioError
from testbed.link.keys import client_keys, ensure_keys, server_keys
from testbed.link.service import Client, Service
from testbed.radio.air import Air, AirSettings
from testbed.radio.base import Radio, RadioSettings
from testbed.radio.guard import TransmitPermit
from testbed.radio.open import open_radio
from testbed.radio.recording import RecordingRadio
from testbed.record.iq_read import IqTape, read_recordings
from testbed.record.iq_write import IqRecorder
from testbed.virtual_pluto.clock import ClockName
from testbed.virtual_pluto.serve import serving
from tests.libiio import need_libiio

RATE_HZ = 1e6
SETTINGS = RadioSettings(sample_rate_hz=RATE_HZ, centre_hz=2.45e9, transmit_gain_db=-10.0, receive_gain_db=40.0)
GAIN_DB = -50.0


def cabled(units: int) -> Air:
    """An air of one flat line-of-sight path, without clock errors: nearly a cable."""
    return Air(
        AirSettings(
            profile="TDL-E",
            delay_spread_s=0.0,
            doppler_hz=0.0,
            path_gain_db=tuple((GAIN_DB,) * units for _ in range(units)),
            clock_ppm=(0.0,) * units,
            noise_figure_db=6.0,
            full_scale_dbm=7.0,
            reciprocal=False,
            seed=3,
        )
    )


Opener = Callable[[int], Radio]
"""Opens the radio of a unit on an air that all units share."""

BACKENDS = (
    "sim in this process",
    "sim behind a socket",
    "virtual Pluto by the logical clock",
    "virtual Pluto by the wall clock",
    "replay",
    pytest.param("two real ones", marks=pytest.mark.hardware),
)
PERMIT = TransmitPermit(bands_hz=((2.4e9, 2.5e9),), cabled=True)


@pytest.fixture(params=BACKENDS)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """The way to each unit of one air."""
    with ExitStack() as stack:
        match request.param:
            case "sim in this process":
                air = cabled(2)
                yield lambda unit: open_radio("sim:", unit=unit, ether=air)
            case "sim behind a socket":
                clients = behind_a_socket(stack, tmp_path / "keys")
                yield lambda unit: open_radio("sim:", unit=unit, ether=RemoteEther(clients[unit]))
            case "replay":
                rehearse(request, tmp_path / "iq")
                tapes = [IqTape(read_recordings(tmp_path / "iq", unit, "rx")) for unit in range(2)]
                yield lambda unit: open_radio("replay:here", unit=unit, tape=tapes[unit])
            case "two real ones":
                addresses = str(request.config.getoption("--radio")).split(",")
                if len(addresses) < 2:
                    pytest.skip("the contract needs two radios, with a cable and 30 dB between them: --radio A,B")
                yield lambda unit: open_radio(addresses[unit], unit=unit, permit=PERMIT)
            case _:
                need_libiio()
                clock: ClockName = "wall" if "wall" in request.param else "logical"
                air = cabled(2)
                servers = stack.enter_context(serving(air.settings, first_host="127.0.0.1", port=0, clock=clock))
                yield lambda unit: open_radio(f"pluto:{servers[unit].uri}", unit=unit, permit=PERMIT)


def rehearse(request: pytest.FixtureRequest, folder: Path) -> None:
    """The test itself, on simulated radios whose samples are recorded."""
    air = cabled(2)
    with ExitStack() as stack:
        recorders = [stack.enter_context(IqRecorder(folder, unit, "ci16", f"sim:{unit}")) for unit in range(2)]

        def recorded(unit: int) -> Radio:
            return RecordingRadio(open_radio("sim:", unit=unit, ether=air), recorders[unit])

        given: dict[str, object] = dict(request.node.callspec.params) | {"opener": recorded}
        if "pair" in request.fixturenames:
            given["pair"] = stack.enter_context(recorded(0)), stack.enter_context(recorded(1))
        given |= {"request": request, "stray_hz": 1.0}
        request.function(**{name: given[name] for name in inspect.signature(request.function).parameters})


def behind_a_socket(stack: ExitStack, keys: Path) -> list[Client]:
    """Clients of an air that a thread serves."""
    air = cabled(2)
    ensure_keys(keys, 2)
    service = stack.enter_context(Service("tcp://127.0.0.1:*", server_keys(keys, 2, "air")))
    thread = threading.Thread(target=lambda: service.serve(lambda who, frames: answer(air, who, frames)))
    thread.start()
    stack.callback(thread.join)
    stack.callback(service.stop)
    return [stack.enter_context(Client(service.address, client_keys(keys, k, "air"))) for k in range(2)]


@pytest.fixture
def pair(opener: Opener) -> Iterator[tuple[Radio, Radio]]:
    with opener(0) as one, opener(1) as other:
        yield one, other


def tone(count: int, cycles: int, amplitude: float = 0.5) -> np.ndarray:
    return (amplitude * np.exp(2j * np.pi * cycles * np.arange(count) / count)).astype(np.complex64)


def strongest_hz(samples: np.ndarray) -> float:
    """Where the strongest tone is; what lies at 0 is the receiver's own."""
    spectrum = np.abs(np.fft.fft(samples))
    spectrum[0] = 0.0
    return float(np.fft.fftfreq(samples.size, 1 / RATE_HZ)[spectrum.argmax()])


@pytest.fixture
def stray_hz(request: pytest.FixtureRequest) -> float:
    """How far a tone may be off: real units have crystals of their own."""
    return 1.0 if request.config.getoption("--radio") is None else 60e-6 * SETTINGS.centre_hz


def power_db(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.abs(samples) ** 2)))


def test_what_one_transmits_the_other_hears_at_the_power_of_the_path(
    pair: tuple[Radio, Radio], stray_hz: float, request: pytest.FixtureRequest
) -> None:
    one, other = pair
    for radio in pair:
        radio.configure(SETTINGS)
    one.transmit(tone(1000, 100))
    capture = other.receive(4000)
    one.silence()
    assert capture.samples.dtype == np.complex64
    assert capture.samples.shape == (4000,)
    assert (capture.sample_rate_hz, capture.centre_hz) == (RATE_HZ, 2.45e9)
    assert strongest_hz(capture.samples) == pytest.approx(100e3, abs=stray_hz)
    expected = 20 * np.log10(0.5) - 10.0 + GAIN_DB + 40.0
    if request.config.getoption("--radio") is None:  # nobody knows the path between real ones
        assert abs(power_db(capture.samples) - expected) < 6.0  # TDL-E: line of sight and what is scattered


def test_silence_is_silence(pair: tuple[Radio, Radio]) -> None:
    one, other = pair
    for radio in pair:
        radio.configure(SETTINGS)
    floor = power_db(other.receive(4000).samples)
    one.transmit(tone(1000, 100))
    assert power_db(other.receive(4000).samples) > floor + 10
    one.silence()
    assert abs(power_db(other.receive(4000).samples) - floor) < 1
    one.silence()


def test_a_new_transmission_replaces_the_old_one(pair: tuple[Radio, Radio], stray_hz: float) -> None:
    one, other = pair
    for radio in pair:
        radio.configure(SETTINGS)
    one.transmit(tone(1000, 100))
    one.transmit(tone(1000, -200))
    assert strongest_hz(other.receive(1000).samples) == pytest.approx(-200e3, abs=stray_hz)


def test_tuning_ends_a_transmission(pair: tuple[Radio, Radio]) -> None:
    one, other = pair
    for radio in pair:
        radio.configure(SETTINGS)
    floor = power_db(other.receive(4000).samples)
    one.transmit(tone(1000, 100))
    one.configure(SETTINGS)
    assert abs(power_db(other.receive(4000).samples) - floor) < 1


def transmit_and_fail(opener: Opener) -> None:
    with opener(0) as one:
        one.configure(SETTINGS)
        one.transmit(tone(1000, 100))
        raise ZeroDivisionError


def test_leaving_silences(opener: Opener) -> None:
    with opener(1) as other:
        other.configure(SETTINGS)
        floor = power_db(other.receive(4000).samples)
        with pytest.raises(ZeroDivisionError):
            transmit_and_fail(opener)
        assert abs(power_db(other.receive(4000).samples) - floor) < 1


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.zeros(0, np.complex64), "shape"),
        (np.zeros((2, 2), np.complex64), "shape"),
        (np.full(8, np.nan, np.complex64), "NaN"),
        (np.full(8, 1.5, np.complex64), "full scale"),
    ],
)
def test_impossible_samples_are_refused(pair: tuple[Radio, Radio], samples: np.ndarray, words: str) -> None:
    pair[0].configure(SETTINGS)
    with pytest.raises(RadioError, match=words):
        pair[0].transmit(samples)


def test_a_radio_must_be_tuned_first(pair: tuple[Radio, Radio]) -> None:
    with pytest.raises(RadioError, match="never tuned"):
        pair[0].receive(100)
    with pytest.raises(RadioError, match="never tuned"):
        pair[0].transmit(tone(100, 1))


def test_a_capture_needs_samples(pair: tuple[Radio, Radio]) -> None:
    pair[0].configure(SETTINGS)
    with pytest.raises(RadioError, match="count = 0"):
        pair[0].receive(0)


def test_nobody_uses_another_nodes_unit() -> None:
    from testbed.agents.ether import Silence
    from testbed.link.codec import pack

    with pytest.raises(RadioError, match="may not use unit 1"):
        answer(cabled(2), 0, [bytes(frame) for frame in pack(Silence(1))])


def test_an_unknown_address_lists_the_forms() -> None:
    with pytest.raises(AddressError, match="sim:"):
        open_radio("bladerf:0", unit=0)
    with pytest.raises(AddressError, match="simulated air"):
        open_radio("sim:", unit=0)
    with pytest.raises(AddressError, match="recording"):
        open_radio("replay:somewhere", unit=0)
    with pytest.raises(AddressError, match="replay:RUN"):
        open_radio("replay:", unit=0)
