"""The shared air: link budget, frequencies, order of readers, two clocks."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from testbed.radio.base import Samples
from testbed.virtual_pluto.aether import Aether
from testbed.virtual_pluto.clock import LogicalClock, WallClock
from testbed.virtual_pluto.segments import Tuning
from testbed.virtual_pluto.unit import Unit
from tests.unit.virtual_pluto.wires import air, units

RATE = 4e6


def tone(count: int, cycles: int, amplitude: float = 0.5) -> Samples:
    return (amplitude * np.exp(2j * np.pi * cycles * np.arange(count) / count)).astype(np.complex64)


def heard(aether: Aether, unit: Unit, count: int = 4000, capture: int = 1, at_s: float = 0.0) -> Samples:
    return aether.hear(unit.number, unit.tuning(), aether.segments(), at_s, count, capture)


def power_db(samples: Samples) -> float:
    return float(10 * np.log10(np.mean(np.abs(samples) ** 2) + 1e-30))


def test_power_is_sum_of_the_budget() -> None:
    one, other = units(2, path_gain_db=((0, -47.0), (-53.0, 0)), profile="TDL-E")
    aether = one.aether
    one.repeat(tone(1000, 100))
    fading = aether._fading[0, 1]
    from testbed.radio.channel import tap_gains

    flat = float(20 * np.log10(abs(tap_gains(fading, [0.0]).sum())))
    assert power_db(heard(aether, other)) == pytest.approx(20 * np.log10(0.5) - 20 - 47 + flat, abs=0.1)
    one.end_repeat()
    other.repeat(tone(1000, 100))
    back = float(20 * np.log10(abs(tap_gains(aether._fading[1, 0], [0.0]).sum())))
    assert power_db(heard(aether, one)) == pytest.approx(20 * np.log10(0.5) - 20 - 53 + back, abs=0.1)


def test_a_unit_hears_itself_only_when_asked_to() -> None:
    deaf, ear = units(1)[0], units(1, own_gain_db=-30.0)[0]
    for unit in (deaf, ear):
        unit.repeat(tone(1000, 100))
    assert power_db(heard(deaf.aether, deaf)) < -200
    assert power_db(heard(ear.aether, ear)) == pytest.approx(20 * np.log10(0.5) - 20 - 30, abs=0.1)


def test_crystals_move_carriers_and_the_correction_moves_them_back() -> None:
    one, other = units(2, clock_ppm=(10.0, -4.0))
    one.repeat(np.full(4096, 0.5, np.complex64))
    offset = 2.45e9 * 14e-6
    spectrum = np.abs(np.fft.fft(heard(one.aether, other, 1 << 16)))
    assert np.fft.fftfreq(1 << 16, 1 / RATE)[spectrum.argmax()] == pytest.approx(offset, abs=RATE / (1 << 16))
    one.state.xo_correction, other.state.xo_correction = 40_000_400, 39_999_840
    one.settle()
    spectrum = np.abs(np.fft.fft(heard(one.aether, other, 1 << 16)))
    assert abs(np.fft.fftfreq(1 << 16, 1 / RATE)[spectrum.argmax()]) <= RATE / (1 << 16)


def test_a_receiver_tuned_elsewhere_hears_the_offset_or_nothing() -> None:
    one, other = units(2)
    one.repeat(np.full(4096, 0.5, np.complex64))
    other.state.receive_hz -= 1_000_000
    spectrum = np.abs(np.fft.fft(heard(one.aether, other, 1 << 14)))
    assert np.fft.fftfreq(1 << 14, 1 / RATE)[spectrum.argmax()] == pytest.approx(1e6, abs=2 * RATE / (1 << 14))
    other.state.receive_hz -= 10_000_000
    assert power_db(heard(one.aether, other)) < -200


def test_order_of_readers_does_not_matter_by_the_logical_clock() -> None:
    def run(order: tuple[int, ...]) -> dict[int, Samples]:
        three = units(3, profile="TDL-A", delay_spread_s=1e-7, doppler_hz=10.0)
        three[0].repeat(tone(1000, 100))
        return {k: heard(three[0].aether, three[k], capture=three[k].next_capture()) for k in order}

    first, second = run((1, 2)), run((2, 1))
    for k in (1, 2):
        np.testing.assert_array_equal(first[k], second[k])


def test_a_repeated_transmission_counts_two_lengths_when_it_ends() -> None:
    (unit,) = units(1)
    unit.repeat(tone(4000, 1))
    assert unit.aether.clock.now() == 0
    unit.end_repeat()
    assert unit.aether.clock.now() == pytest.approx(2 * 4000 / RATE)


@pytest.mark.parametrize("off", ["power", "mode"])
def test_an_oscillator_that_is_off_radiates_nothing(off: str) -> None:
    one, other = units(2)
    one.repeat(tone(1000, 100))
    if off == "power":
        one.state.transmitter_off = True
    else:
        one.state.ensm = "alert"
    one.settle()
    assert one.aether.on_air() == ()
    assert power_db(heard(one.aether, other)) < -200
    one.state.transmitter_off, one.state.ensm = False, "fdd"
    one.settle()
    assert one.aether.on_air() == (0,)


def test_tones_sound_while_no_buffer_is_open() -> None:
    one, other = units(2)
    for k, phase in ((0, 90_000), (2, 0)):
        tone_k = one.state.tones[k]
        tone_k.frequency_hz, tone_k.scale, tone_k.phase_mdeg, tone_k.on = 500_000, 0.5, phase, True
    one.settle()
    spectrum = np.abs(np.fft.fft(heard(one.aether, other, 1 << 14)))
    assert np.fft.fftfreq(1 << 14, 1 / RATE)[spectrum.argmax()] == pytest.approx(500_000, abs=300)
    one.opened(1)
    assert one.aether.on_air() == ()
    one.opened(-1)
    assert one.aether.on_air() == (0,)


class HandClock(WallClock):
    """A wall clock that a test moves."""

    def __init__(self) -> None:
        self.moment = 0.0
        super().__init__(lambda: self.moment)

    def sleep_until(self, moment_s: float, stop: threading.Event) -> bool:
        self.moment = max(self.moment, moment_s)
        return not stop.is_set()


def tuning(rate: float = RATE) -> Tuning:
    return Tuning(2.45e9, rate, 0.0)


def test_by_the_wall_clock_a_transmission_is_heard_while_it_is_on_the_air() -> None:
    clock = HandClock()
    aether = Aether(air(2), clock)
    clock.moment = 1e-3
    segment = aether.repeat(0, tone(1000, 100), 2.45e9, RATE, 0.0)
    clock.moment = 2e-3
    aether.end(0, segment.serial)
    capture = aether.hear(1, tuning(), aether.segments(), 0.0, 12_000, 1)
    on = np.abs(capture) > 1e-5
    assert (int(on.argmax()), int(on.size - on[::-1].argmax())) == (4000, 8000)
    assert aether.hear(1, tuning(), aether.segments(), 3e-3, 1000, 1).any() == np.False_


def test_by_the_wall_clock_position_follows_time() -> None:
    clock = HandClock()
    aether = Aether(air(2), clock)
    aether.repeat(0, tone(1000, 1), 2.45e9, RATE, 0.0)
    whole = aether.hear(1, tuning(), aether.segments(), 0.0, 4000, 1)
    part = aether.hear(1, tuning(), aether.segments(), 1234 / RATE, 1000, 2)
    np.testing.assert_allclose(part, whole[1234:2234], atol=1e-6)


def test_blocks_played_in_a_row_join_without_a_seam() -> None:
    aether = Aether(air(2), LogicalClock())
    wave = tone(3000, 70)
    whole = aether.play(0, wave, 0.0, 2.45e9, RATE, 0.0)
    expected = aether.hear(1, tuning(), (whole,), 0.0, 3000, 1)
    parts = [aether.play(1, part, 1.0 + k * 1000 / RATE, 2.45e9, RATE, 0.0) for k, part in enumerate(np.split(wave, 3))]
    assert [part.start_s for part in parts] == pytest.approx([1.0 + k * 1000 / RATE for k in range(3)])
    same_path = [type(part)(**{**vars(part), "unit": 0}) for part in parts]
    joined = aether.hear(1, tuning(), tuple(same_path), 1.0, 3000, 1)
    np.testing.assert_allclose(joined, expected, atol=2e-6)


def test_a_far_move_of_the_oscillator_may_burst_at_full_power() -> None:
    one, other = units(2)
    one.faults.calibration_burst_s = 1e-3
    one.state.attenuation_mdb = 89_750
    one.state.transmit_hz = other.state.receive_hz = 2_300_000_000
    one.retuned_transmitter()
    assert power_db(heard(one.aether, other)) == pytest.approx(-50, abs=6)
    quiet, _ = units(2)
    quiet.state.transmit_hz = 2_300_000_000
    quiet.retuned_transmitter()
    assert quiet.aether.on_air() == ()
