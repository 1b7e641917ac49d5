"""The simulated air: a function of its seed and of the order of calls, with an honest link budget."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from testbed.errors import RadioError
from testbed.radio.air import Air, AirSettings, thermal_noise_dbm
from testbed.radio.base import RadioSettings
from testbed.radio.channel import frequency_response

RATE_HZ = 1e6
TUNED = RadioSettings(sample_rate_hz=RATE_HZ, centre_hz=2.45e9, transmit_gain_db=0.0, receive_gain_db=60.0)
SETTINGS = AirSettings(
    profile="TDL-A",
    delay_spread_s=100e-9,
    doppler_hz=5.0,
    path_gain_db=((0.0, -60.0, -70.0), (-60.0, 0.0, -65.0), (-70.0, -65.0, 0.0)),
    clock_ppm=(1.0, -2.0, 0.0),
    noise_figure_db=6.0,
    full_scale_dbm=0.0,
    reciprocal=False,
    seed=4,
)


def tuned(settings: AirSettings = SETTINGS) -> Air:
    air = Air(settings)
    for unit in range(settings.units):
        air.configure(unit, TUNED)
    return air


@pytest.fixture
def wave(rng: np.random.Generator) -> np.ndarray:
    return (0.1 * (rng.standard_normal(500) + 1j * rng.standard_normal(500))).astype(np.complex64)


def heard(air: Air, wave: np.ndarray, order: tuple[int, ...]) -> dict[int, np.ndarray]:
    air.transmit(0, wave)
    captures = {unit: air.receive(unit, 1200).samples for unit in order}
    air.silence(0)
    return captures


def test_the_same_calls_give_the_same_samples_whoever_asks_first(wave: np.ndarray) -> None:
    one, other = heard(tuned(), wave, (1, 2)), heard(tuned(), wave, (2, 1))
    for unit in (1, 2):
        np.testing.assert_array_equal(one[unit], other[unit])


def test_another_seed_is_another_air(wave: np.ndarray) -> None:
    assert not np.array_equal(heard(tuned(), wave, (1,))[1], heard(tuned(replace(SETTINGS, seed=5)), wave, (1,))[1])


def test_captures_differ_from_each_other(wave: np.ndarray) -> None:
    air = tuned()
    assert not np.array_equal(heard(air, wave, (1,))[1], heard(air, wave, (1,))[1])


def test_the_clock_moves_by_two_frames_a_transmission(wave: np.ndarray) -> None:
    air = tuned()
    heard(air, wave, (1, 2))
    assert air.clock_s == pytest.approx(2 * wave.size / RATE_HZ)
    air.silence(0)
    air.receive(1, 100)
    assert air.clock_s == pytest.approx(2 * wave.size / RATE_HZ)
    assert air.on_air() == ()


def test_idle_noise_is_thermal_noise_with_the_noise_figure() -> None:
    samples = tuned().receive(1, 200_000).samples
    samples = samples - samples.mean()
    measured_db = 10 * np.log10(np.mean(np.abs(samples) ** 2))
    expected_db = -173.975 + 10 * np.log10(RATE_HZ) + 6.0 + 60.0 - 0.0
    assert measured_db == pytest.approx(expected_db, abs=0.1)
    assert thermal_noise_dbm(1.0) == pytest.approx(-173.975)


def test_directions_fade_alone_unless_the_air_is_reciprocal() -> None:
    frequency_hz = np.linspace(-4e5, 4e5, 9)
    there, back = (frequency_response(tuned().truth(*link), 0.0, frequency_hz) for link in ((0, 1), (1, 0)))
    assert not np.allclose(there, back)
    both = tuned(replace(SETTINGS, reciprocal=True))
    there, back = (frequency_response(both.truth(*link), 0.0, frequency_hz) for link in ((0, 1), (1, 0)))
    np.testing.assert_array_equal(there, back)


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_links_correlate_as_much_as_asked_and_keep_their_power(share: float) -> None:
    frequency_hz = np.linspace(-4e5, 4e5, 3)
    h = np.array(
        [
            [frequency_response(links.truth(*link), 0.03, frequency_hz) for link in ((0, 1), (1, 2), (2, 0))]
            for links in (tuned(replace(SETTINGS, correlation=share, seed=seed)) for seed in range(400))
        ]
    )
    power = (np.abs(h) ** 2).mean()
    assert power == pytest.approx(1.0, abs=0.12)
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert (h[:, one] * h[:, other].conj()).mean() / power == pytest.approx(share, abs=0.1)


def test_several_transmitters_add_up(wave: np.ndarray) -> None:
    quiet = replace(SETTINGS, noise_figure_db=0.0)
    air = tuned(quiet)
    air.transmit(0, wave)
    air.transmit(1, wave)
    both = air.receive(2, 50_000).samples
    air.silence(0)
    one = air.receive(2, 50_000).samples
    air.silence(1)
    other = tuned(quiet)
    other.transmit(0, wave)
    first = other.receive(2, 50_000).samples
    power = [float(np.mean(np.abs(samples) ** 2)) for samples in (both, one, first)]
    assert power[0] == pytest.approx(power[1] + power[2], rel=0.3)


def test_unknown_units_are_refused() -> None:
    with pytest.raises(RadioError, match="unit 3 is not on this air"):
        tuned().receive(3, 10)
