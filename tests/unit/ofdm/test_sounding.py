import numpy as np
import pytest

from testbed.errors import FrameError
from testbed.ofdm.frame import Header, Link, modulate
from testbed.ofdm.frame_format import SOUNDING
from testbed.ofdm.grid import FULL_BAND_RMS, PRESETS
from testbed.ofdm.sounding import receive_sounding, sounding_frame, sounding_samples
from tests.reference.ofdm_air import pass_through

DEMO = PRESETS["demo"]


def sounding(repetitions=8, grid=DEMO, number=9):
    return sounding_frame(grid, Header(source=3, kind=SOUNDING, number=number), repetitions)


@pytest.mark.parametrize("name", PRESETS)
def test_measuring_symbols_have_full_power_and_a_low_crest(name):
    grid = PRESETS[name]
    frame = sounding(4, grid)
    assert len(frame) == sounding_samples(grid, 4)
    measuring = frame[-4 * grid.symbol_samples :]
    rms = np.sqrt(np.mean(np.abs(measuring) ** 2))
    assert rms == pytest.approx(FULL_BAND_RMS, rel=0.05)
    assert 20 * np.log10(np.abs(measuring).max() / rms) < 3.2


@pytest.mark.parametrize("name", PRESETS)
def test_a_sounding_is_received_from_any_phase_of_its_repetition(name, rng):
    grid = PRESETS[name]
    frame = sounding(6, grid)
    for first in (0, 1, len(frame) // 2, len(frame) - 1):
        heard = pass_through(grid, frame, rng, snr_db=15, cfo=6.3, first=first, count=2 * len(frame) + 8, repeat=True)
        got = receive_sounding(grid, heard)
        assert got is not None
        assert (got.header.source, got.header.kind, got.header.number) == (3, SOUNDING, 9)
        assert got.estimates.shape == (6, len(grid.used))
        assert got.cfo == pytest.approx(6.3, abs=0.01)
        assert not got.truncated
        assert min((got.start + first) % len(frame), -(got.start + first) % len(frame)) <= 2


def test_repetitions_are_aligned_in_phase_and_clock(rng):
    frame = sounding(40)
    heard = pass_through(DEMO, frame, rng, snr_db=25, cfo=-3.1, first=500, sfo_ppm=40)
    got = receive_sounding(DEMO, heard)
    assert got is not None
    assert 1e6 * got.sfo == pytest.approx(40, abs=2)
    scatter = np.mean(np.abs(got.estimates - got.estimates.mean(axis=0)) ** 2) * 40 / 39
    assert scatter == pytest.approx(DEMO.amplitude**2 / 10**2.5, rel=0.1)


@pytest.mark.parametrize("snr_db", [0, 20])
def test_noise_variance_has_no_bias(snr_db, rng):
    found = []
    for _ in range(40):
        heard = pass_through(DEMO, sounding(4), rng, snr_db=snr_db, cfo=rng.uniform(-8, 8), first=300)
        got = receive_sounding(DEMO, heard)
        assert got is not None
        found.append(got.noise)
    truth = DEMO.amplitude**2 / 10 ** (snr_db / 10)
    assert 10 * np.log10(np.mean(found) / truth) == pytest.approx(0, abs=0.1)


def test_a_dc_offset_does_not_reach_the_estimates(rng):
    """25 dB above the signal, on an offset that puts it onto a used subcarrier."""
    frame = sounding(4)
    clean = pass_through(DEMO, frame, np.random.default_rng(4), snr_db=20, cfo=5.0, first=400)
    dirty = pass_through(DEMO, frame, np.random.default_rng(4), snr_db=20, cfo=5.0, first=400, dc=4.0)
    first, second = receive_sounding(DEMO, clean), receive_sounding(DEMO, dirty)
    assert first is not None
    assert second is not None
    difference = first.estimates.mean(axis=0) - second.estimates.mean(axis=0)
    assert np.mean(np.abs(difference) ** 2) < 0.5 * first.noise


@pytest.mark.parametrize("cfo", [0.0, 1e-4, 1.0, -7.0])
def test_no_offset_hides_or_invents_dc(cfo, rng):
    """Without an offset DC falls between the used subcarriers, where it can neither be seen nor do harm."""
    for seed in range(10):
        draws = np.random.default_rng(seed)
        got = receive_sounding(DEMO, pass_through(DEMO, sounding(8), draws, snr_db=30, cfo=cfo, first=100))
        assert 10 * np.log10(got.noise / DEMO.amplitude**2) == pytest.approx(-30, abs=0.4)


def test_clipping_is_reported(rng):
    heard = pass_through(DEMO, sounding(), rng, snr_db=30, first=100)
    clipped = np.clip(8 * heard.real, -1, 1) + 1j * np.clip(8 * heard.imag, -1, 1)
    assert receive_sounding(DEMO, clipped.astype(np.complex64)).clipped
    assert not receive_sounding(DEMO, heard).clipped


def test_a_cut_sounding_is_marked_truncated(rng):
    frame = sounding(10)
    heard = pass_through(DEMO, frame, rng, snr_db=20, first=200, count=200 + len(frame) - 5 * DEMO.symbol_samples)
    got = receive_sounding(DEMO, heard)
    assert got.truncated
    assert len(got.estimates) == 5
    nothing = pass_through(DEMO, frame, rng, snr_db=20, first=200, count=200 + len(frame) - 10 * DEMO.symbol_samples)
    assert receive_sounding(DEMO, nothing) is None


def test_other_numbers_and_data_frames_are_passed_over(rng):
    link = Link(np.arange(192), 1, 1, 20)
    data = modulate(DEMO, Header(1, 1, 5), [link], [np.zeros((1, 20), np.uint8)])
    both = np.concatenate([data, sounding(3, number=6), sounding(3, number=7)])
    heard = pass_through(DEMO, both, rng, snr_db=20, first=100)
    assert receive_sounding(DEMO, heard).header.number == 6
    assert receive_sounding(DEMO, heard, number=7).header.number == 7
    assert receive_sounding(DEMO, heard, number=8) is None
    assert receive_sounding(DEMO, heard[: len(data)]) is None


@pytest.mark.parametrize("repetitions", [0, -1, 70000])
def test_impossible_repetitions(repetitions):
    with pytest.raises(FrameError, match=f"repetitions={repetitions}"):
        sounding(repetitions)
