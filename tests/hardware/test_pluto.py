"""On a real Pluto: run with --radio pluto:ip:192.168.2.1 (or usb:, serial:).

Nothing is radiated: the transmitter works at its least gain, or within digital loopback. A virtual Pluto's address
does as well, to try the tests themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from testbed.errors import TransmitRefused
from testbed.radio.base import RadioSettings
from testbed.radio.doctor import examine_pluto
from testbed.radio.guard import TransmitPermit
from testbed.radio.pluto import PlutoRadio

pytestmark = pytest.mark.hardware

SETTINGS = RadioSettings(sample_rate_hz=4e6, centre_hz=2.45e9, transmit_gain_db=-89.75, receive_gain_db=30.0)
MUTED = TransmitPermit(bands_hz=((2.4e9, 2.4835e9),), cabled=True, highest_gain_db=-80.0, longest_airtime_s=5.0)


@pytest.fixture
def address(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--radio")).split(",")[0]


@pytest.fixture
def radio(address: str) -> Iterator[PlutoRadio]:
    with PlutoRadio(address, MUTED) as radio:
        radio.configure(SETTINGS)
        yield radio


def test_the_unit_is_well(address: str) -> None:
    findings = examine_pluto(address)
    assert [one for one in findings if not one.well and one.name != "transmitter"] == []


@pytest.mark.parametrize("rate", [100_000.0, 600_000.0, 2_500_000.0, 7_680_000.0, 30_720_000.0])
def test_rates_take_and_read_back(radio: PlutoRadio, rate: float) -> None:
    radio.configure(replace(SETTINGS, sample_rate_hz=rate))
    assert radio.receive(10_000).samples.size == 10_000


@pytest.mark.parametrize("centre_hz", [433e6, 868e6, 2.45e9, 3.6e9])
def test_frequencies_take_and_read_back(radio: PlutoRadio, centre_hz: float) -> None:
    radio.configure(replace(SETTINGS, centre_hz=centre_hz))


def test_a_capture_holds_noise_and_no_repetition(radio: PlutoRadio) -> None:
    one, other = (radio.receive(50_000).samples for _ in range(2))
    assert np.std(one) > 0
    assert not np.array_equal(one, other)
    assert not np.array_equal(one[:25_000], one[25_000:])


def test_loopback_returns_a_ramp(radio: PlutoRadio) -> None:
    ramp = (np.arange(-512, 512) / 1024).astype(np.complex64)
    back = np.sort(radio.digital_loopback(ramp).real)
    assert np.abs(back - ramp.real).max() <= 2 / 2048


def test_a_muted_transmission_comes_and_goes(radio: PlutoRadio) -> None:
    for _ in range(5):
        radio.transmit(np.full(4096, 0.1, np.complex64))
        radio.receive(1000)
        radio.silence()


def test_beyond_the_permit_nothing_goes(radio: PlutoRadio) -> None:
    radio.configure(replace(SETTINGS, transmit_gain_db=-10.0))
    with pytest.raises(TransmitRefused):
        radio.transmit(np.full(16, 0.1, np.complex64))
