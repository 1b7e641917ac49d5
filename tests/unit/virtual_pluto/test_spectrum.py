"""What of a transmission lies in a receiver's band, against tones whose place is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from testbed.virtual_pluto.spectrum import received_wave


@dataclass(frozen=True)
class Ear:
    carrier_hz: float
    rate_hz: float


def tone(frequency_hz: float, rate_hz: float, count: int) -> np.ndarray:
    return np.exp(2j * np.pi * frequency_hz / rate_hz * np.arange(count)).astype(np.complex64)


def strongest_hz(wave: np.ndarray, rate_hz: float) -> float:
    return float(np.fft.fftfreq(wave.size, 1 / rate_hz)[np.abs(np.fft.fft(wave)).argmax()])


def test_the_same_band_is_the_same_wave() -> None:
    wave = tone(1e5, 4e6, 400)
    heard, rate, offset = received_wave(wave, 4e6, True, Ear(2.4e9, 4e6 * (1 + 5e-6)), 2.4e9 + 300)
    assert heard is wave
    assert (rate, offset) == (4e6, 300)


def test_bands_that_do_not_meet_are_silent() -> None:
    assert received_wave(tone(0, 4e6, 400), 4e6, True, Ear(2.4e9, 2e6), 2.4e9 + 3.1e6)[0] is None


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize(("transmit_hz", "receive_hz"), [(4e6, 2e6), (2e6, 4e6), (3e6, 4.5e6), (4e6, 4e6)])
def test_a_tone_keeps_its_frequency_and_its_power(transmit_hz: float, receive_hz: float, periodic: bool) -> None:
    wave = tone(2e5, transmit_hz, 60_000)
    heard, rate, offset = received_wave(wave, transmit_hz, periodic, Ear(1e9, receive_hz), 1e9 + 3e5)
    assert heard is not None
    assert rate == pytest.approx(receive_hz, rel=1e-4)
    place = strongest_hz(heard, rate)
    assert place + offset == pytest.approx(5e5, abs=2 * rate / heard.size)
    middle = heard[heard.size // 4 : heard.size // 2]
    assert np.mean(np.abs(middle) ** 2) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize(("transmit_hz", "receive_hz"), [(7e6, 3e6), (3e6, 29e6), (61.44e6, 521e3), (521e3, 61.44e6)])
@pytest.mark.parametrize("count", [1, 16, 777])
def test_a_few_samples_keep_the_rate_as_well(transmit_hz: float, receive_hz: float, periodic: bool, count: int) -> None:
    """The rate that rounding leaves is passed on as a clock offset, which has a limit."""
    heard, rate, _ = received_wave(tone(0, transmit_hz, count), transmit_hz, periodic, Ear(1e9, receive_hz), 1e9)
    assert heard is not None
    assert rate == pytest.approx(receive_hz, rel=1.3e-4)
    energy = np.mean(np.abs(heard) ** 2) * heard.size / rate
    if not periodic and receive_hz > transmit_hz:
        assert energy == pytest.approx(count / transmit_hz, rel=1e-3)


def test_what_lies_outside_is_cut_off_and_does_not_fold_back() -> None:
    wave = tone(1.5e6, 4e6, 40_000) + tone(-1.0e5, 4e6, 40_000)
    heard, rate, offset = received_wave(wave, 4e6, True, Ear(1e9, 2e6), 1e9)
    assert heard is not None
    assert offset == 0
    assert np.mean(np.abs(heard) ** 2) == pytest.approx(1.0, abs=0.01)
    assert strongest_hz(heard, rate) == pytest.approx(-1e5, abs=100)
