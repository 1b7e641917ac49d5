import numpy as np
import pytest

from testbed.errors import FrameError
from testbed.ofdm import sync
from testbed.ofdm.frame import Header, Link, demodulate, modulate
from testbed.ofdm.grid import PRESETS, Grid
from testbed.ofdm.preamble import preamble, short_period, short_samples
from tests.reference.ofdm_air import noise_power, pass_through, rayleigh
from tests.reference.ofdm_slow import repetition_metric

DEMO = PRESETS["demo"]


def noise(rng, count):
    return (rng.standard_normal(count, np.float32) + 1j * rng.standard_normal(count, np.float32)).astype(np.complex64)


@pytest.mark.parametrize("name", PRESETS)
def test_metric_equals_its_definition(name, rng):
    grid = PRESETS[name]
    samples = noise(rng, 9000) + np.complex64(3 - 2j)
    samples[3000 : 3000 + len(preamble(grid))] += 4 * preamble(grid)
    lag, width, hop = short_period(grid), sync.window_samples(grid), sync._hop(grid)
    fast = sync._correlate(samples, lag, width, hop)
    assert len(fast) >= (len(samples) - 2 * lag - width) // hop
    for w in range(0, len(fast), 7):
        assert fast[w, 2] == pytest.approx(repetition_metric(samples, w * hop, lag, width), rel=1e-3, abs=1e-5)


def test_detection_finds_the_place_and_offset_modulo_4():
    samples = pass_through(DEMO, preamble(DEMO), np.random.default_rng(1), snr_db=20, cfo=5.25, first=2000, count=6000)
    found = sync.detect(DEMO, samples)[0]
    assert abs(found.index - 2000) <= sync._hop(DEMO)
    assert found.cfo == pytest.approx(1.25, abs=0.05)
    assert found.metric > 0.9


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("dispersive", [False, True])
def test_preambles_at_0_db_are_found_at_any_offset_within_8_subcarriers(name, dispersive, rng):
    grid = PRESETS[name]
    found = 0
    for trial in range(200):
        cfo = (-8.0, 8.0)[trial] if trial < 2 else rng.uniform(-8, 8)
        taps = rayleigh(rng, grid.cyclic_prefix // 2) if dispersive else [1.0]
        taps = np.asarray(taps) / np.linalg.norm(taps)
        dc = np.sqrt(noise_power(grid, 0))
        samples = pass_through(
            grid, preamble(grid), rng, snr_db=0, cfo=cfo, taps=taps, first=700, count=2500 + len(preamble(grid)), dc=dc
        )
        acquired = sync.acquire(grid, samples)
        found += (
            acquired is not None
            and abs(acquired.start - 700) <= grid.cyclic_prefix // 2
            and abs(acquired.cfo - cfo) < 0.25
        )
    assert found >= 198


@pytest.mark.parametrize("n", [64, 256, 1024])
def test_prefixes_of_half_a_symbol_do_not_hide_the_preamble(n, rng):
    """Half of all delays then collect the long part's energy, so that it hardly stands out from the usual."""
    grid = Grid(n, n // 2, n // 2, 4, 1e6)
    for _ in range(25):
        cfo = rng.uniform(-8, 8)
        count = 2500 + len(preamble(grid))
        for snr_db in (0, 30):
            samples = pass_through(grid, preamble(grid), rng, snr_db=snr_db, cfo=cfo, first=700, count=count)
            acquired = sync.acquire(grid, samples)
            assert acquired is not None
            assert abs(acquired.start - 700) <= grid.cyclic_prefix // 2
            assert abs(acquired.cfo - cfo) < 0.25


@pytest.mark.parametrize("dc", [0.0, np.sqrt(2)])
def test_noise_raises_no_alarm_whatever_the_dc(dc, rng):
    samples = noise(rng, 3_000_000) + np.complex64(dc)
    assert len(sync.detect(DEMO, samples)) <= 3
    assert sync.acquire(DEMO, samples) is None


@pytest.mark.long
@pytest.mark.parametrize("name", PRESETS)
def test_false_alarms_in_ten_million_samples(name, rng):
    """At most one in a million samples over white noise, half of it on a DC offset of its own power; no frame in it."""
    grid, alarms, count = PRESETS[name], 0, 12_000_000
    for part in range(8):
        samples = noise(rng, count // 8) + np.complex64(np.sqrt(2) * (part % 2))
        alarms += len(sync.detect(grid, samples))
        assert demodulate(grid, samples) is None
    assert alarms <= count * 1e-6


def test_threshold_keeps_the_stated_false_alarm_rate(rng):
    """At a rate high enough to be counted: windows that overlap by nothing, threshold for 1 in 100."""
    lag, width = short_period(DEMO), sync.window_samples(DEMO)
    metric = sync._correlate(noise(rng, 4_000_000), lag, width, 32)[:: (width + lag) // 32, 2]
    threshold = -np.expm1(np.log(0.01) / (width - 1))
    share = np.mean(metric > threshold)
    assert share == pytest.approx(0.01, abs=4 * np.sqrt(0.01 / len(metric)))
    assert sync.detection_threshold(DEMO, 1e-9) == pytest.approx(-np.expm1(np.log(1e-9) / (width - 1)))
    assert sync.detection_threshold(PRESETS["fine"]) >= sync.LEAST_THRESHOLD


def test_silence_and_pure_dc_are_no_frame():
    assert sync.acquire(DEMO, np.zeros(20000, np.complex64)) is None
    assert sync.acquire(DEMO, np.full(20000, 0.3 + 0.1j, np.complex64)) is None


def test_a_tone_repeats_but_is_no_preamble(rng):
    tone = np.exp(2j * np.pi * 0.05 * np.arange(20000)).astype(np.complex64) + 0.05 * noise(rng, 20000)
    assert sync.detect(DEMO, tone)
    assert sync.acquire(DEMO, tone) is None


@pytest.mark.parametrize("snr_db", [3, 10, 15, 20, 25])
def test_fine_offset_reaches_the_bound_of_two_repeated_symbols(snr_db, rng):
    """var ≥ 1/(4π²·U·SNR) in subcarriers², for the turn between two symbols through an unknown channel.

    The bound is held by the preamble alone and, refined by the header, by what a receiver reports. With 300 trials
    the root mean square is known to 4 %.
    """
    frame = modulate(DEMO, Header(1, 1, 1), [Link(np.arange(192), 1, 1, 20)], [np.zeros((1, 20), np.uint8)])
    alone, reported = [], []
    for _ in range(300):
        cfo = rng.uniform(-8, 8)
        samples = pass_through(DEMO, frame, rng, snr_db=snr_db, cfo=cfo, first=600)
        acquired, heard = sync.acquire(DEMO, samples), demodulate(DEMO, samples)
        assert acquired is not None
        assert heard is not None
        alone.append(acquired.cfo - cfo)
        reported.append(heard.cfo_hz / DEMO.spacing_hz - cfo)
    bound = 1 / (2 * np.pi * np.sqrt(len(DEMO.used) * 10 ** (snr_db / 10)))
    assert np.sqrt(np.mean(np.square(alone))) < 1.25 * bound
    assert np.sqrt(np.mean(np.square(reported))) < 1.0 * bound


def test_timing_is_the_first_path(rng):
    taps = np.zeros(20, complex)
    taps[[0, 5, 19]] = 0.5, 1.0, 0.7j
    samples = pass_through(DEMO, preamble(DEMO), rng, snr_db=25, taps=taps, cfo=-2.2, first=1234, count=4000)
    acquired = sync.acquire(DEMO, samples)
    assert acquired is not None
    assert abs(acquired.start - 1234) <= 2


def test_a_preamble_cut_off_by_the_end_is_none(rng):
    samples = pass_through(DEMO, preamble(DEMO), rng, snr_db=20, first=500, count=500 + len(preamble(DEMO)) - 40)
    acquired = sync.acquire(DEMO, samples)
    assert acquired is None or abs(acquired.start - 500) > DEMO.cyclic_prefix


def test_strong_detections_come_first_weak_ones_are_kept():
    found = [sync.Detection(i, 0.0, 0.9, power) for i, power in enumerate((1e-6, 1.0, 0.5, 1e-3))]
    assert [one.index for one in sync.strong_first(found)] == [1, 2, 3, 0]
    assert sync.strong_first([]) == []


@pytest.mark.parametrize(
    ("samples", "word"),
    [
        (np.zeros(0, np.complex64), "empty"),
        (np.zeros((2, 5), np.complex64), "one-dimensional"),
        (np.zeros(5, np.float32), "float32"),
        ([1.0], "list"),
    ],
)
def test_unusable_captures_are_named(samples, word):
    with pytest.raises(FrameError, match=word):
        sync.checked(samples)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1j * np.nan])
def test_nan_and_infinity_anywhere_are_refused(value):
    samples = np.zeros(100_000, np.complex64)
    samples[54_321] = value
    with pytest.raises(FrameError, match="NaN"):
        sync.survey(samples)


def test_survey_counts_clipped_samples_and_finds_the_mean(rng):
    samples = (0.1 * noise(rng, 50_000) + np.complex64(0.2 - 0.1j)).astype(np.complex64)
    samples[[7, 40_000]] = 1.0, -0.5 - 1j
    looked = sync.survey(samples)
    assert looked.clipped == 2
    assert looked.mean == pytest.approx(samples.astype(complex).mean(), abs=1e-5)


def test_a_full_scale_12_bit_code_counts_as_clipped():
    assert sync.survey(np.full(10, 2047 / 2048, np.complex64)).clipped == 10


def test_short_captures_are_none():
    assert sync.acquire(DEMO, np.ones(10, np.complex64)) is None
    assert sync.detect(DEMO, np.ones(short_samples(DEMO) - 1, np.complex64)) == []
