import numpy as np
import pytest

from testbed.csi.sound import sound
from testbed.errors import SignalError
from testbed.ofdm.estimate import ramp
from testbed.ofdm.frame import Header
from testbed.ofdm.grid import PRESETS
from testbed.ofdm.sounding import sounding_frame
from tests.reference.ofdm_air import pass_through, rayleigh, response

DEMO = PRESETS["demo"]


def measure(rng, snr_db, *, method, taps=None, repetitions=2, channel=16, first=300):
    """A sounding through a random channel: the estimate, and the true channel at its timing and phase."""
    path = rayleigh(rng, channel)
    frame = sounding_frame(DEMO, Header(1, 0, 1), repetitions)
    heard = pass_through(DEMO, frame, rng, snr_db=snr_db, cfo=rng.uniform(-8, 8), taps=path, first=first)
    csi = sound(DEMO, heard, method=method, taps=taps)
    if csi is None:
        return None
    truth = response(DEMO, path) * ramp(DEMO, first - csi.timing_samples)
    return csi, truth * np.exp(1j * np.angle(np.vdot(truth, csi.h)))


@pytest.mark.parametrize(("method", "share"), [("ls", 1.0), ("dft", 32 / 204)])
@pytest.mark.parametrize("snr_db", [5, 20])
def test_error_of_two_symbols_is_that_of_theory(method, share, snr_db, rng):
    """NMSE = share/(2·SNR), SNR being that of one symbol on one subcarrier; 3 % for LS, 5 % for DFT smoothing."""
    error = power = 0.0
    for _ in range(120):
        csi, truth = measure(rng, snr_db, method=method)
        error += np.sum(np.abs(csi.h - truth) ** 2)
        power += np.sum(np.abs(truth) ** 2)
    expected = share / (2 * 10 ** (snr_db / 10)) * (120 * 204 * DEMO.amplitude**2 / power)
    assert error / power == pytest.approx(expected, rel=0.03 if method == "ls" else 0.05)


@pytest.mark.parametrize("snr_db", [0, 3, 10, 20, 30])
def test_snr_bias_is_below_0_3_db(snr_db, rng):
    found = expected = 0.0
    for _ in range(40):
        got = measure(rng, snr_db, method="lmmse", repetitions=4)
        if got is None:
            continue
        csi, truth = got
        found += np.mean(csi.snr)
        expected += np.mean(np.abs(truth) ** 2) / DEMO.amplitude**2 * 10 ** (snr_db / 10)
    assert 10 * np.log10(found / expected) == pytest.approx(0, abs=0.3)


def test_a_known_delay_spread_helps(rng):
    errors = {}
    for taps in (16, 32):
        draws = np.random.default_rng(5)
        pairs = [measure(draws, 10, method="lmmse", taps=taps, channel=4) for _ in range(20)]
        errors[taps] = np.mean([np.mean(np.abs(csi.h - truth) ** 2) for csi, truth in pairs])
    assert errors[16] < 0.7 * errors[32]


def test_lmmse_predicts_its_error(rng):
    pairs = [measure(rng, 8, method="lmmse", channel=24) for _ in range(40)]
    found = np.mean([np.mean(np.abs(csi.h - truth) ** 2) for csi, truth in pairs])
    assert found == pytest.approx(np.mean([csi.error for csi, _ in pairs]), rel=0.25)


def test_every_estimate_carries_what_is_needed_to_use_it(rng):
    path = [1.0, 0.4j]
    frame = sounding_frame(DEMO, Header(7, 0, 42), 8)
    heard = pass_through(DEMO, frame, rng, snr_db=25, cfo=2.5, taps=path, first=777)
    csi = sound(DEMO, heard)
    assert (csi.header.source, csi.header.number) == (7, 42)
    assert csi.h.shape == csi.noise.shape == csi.snr.shape == (204,)
    assert (csi.h.dtype, csi.noise.dtype, csi.snr.dtype) == (np.complex64, np.float32, np.float32)
    assert csi.cfo_hz == pytest.approx(2.5 * 15e3, abs=10)
    assert abs(csi.timing_samples - 777) <= 1
    assert csi.symbols == 8
    assert csi.method == "lmmse"
    assert not csi.clipped
    assert not csi.truncated
    assert np.mean(np.abs(csi.h) ** 2) == pytest.approx(DEMO.amplitude**2 * 1.16, rel=0.03)


def test_phase_holds_at_the_stated_sample(rng):
    """The channel turns with the carrier offset; undone from phase_samples to 0 it is the phase there."""
    frame = sounding_frame(DEMO, Header(7, 0, 42), 8)
    heard = pass_through(DEMO, frame, rng, snr_db=35, cfo=1.7, first=600)
    csi = sound(DEMO, heard)
    turned = csi.h * np.exp(-2j * np.pi * csi.cfo_hz * csi.phase_samples / DEMO.sample_rate_hz)
    start = np.vdot(frame, heard[600:] * np.exp(-2j * np.pi * 1.7 * np.arange(600, 600 + len(frame)) / 256))
    difference = np.angle(np.sum(turned * ramp(DEMO, csi.timing_samples - 600)) * np.conj(start))
    assert difference == pytest.approx(0, abs=0.1)


def test_amplitude_follows_the_received_level(rng):
    frame = sounding_frame(DEMO, Header(7, 0, 42), 8)
    quiet = sound(DEMO, (0.01 * pass_through(DEMO, frame, rng, snr_db=30, first=100)).astype(np.complex64))
    assert np.mean(np.abs(quiet.h)) == pytest.approx(0.01 * DEMO.amplitude, rel=0.02)
    assert 10 * np.log10(np.mean(quiet.snr)) == pytest.approx(30, abs=0.3)


def test_no_sounding_is_none(rng):
    noise = (rng.standard_normal(20000) + 1j * rng.standard_normal(20000)).astype(np.complex64)
    assert sound(DEMO, noise) is None


def test_unknown_method_and_impossible_taps_are_refused(rng):
    frame = sounding_frame(DEMO, Header(7, 0, 42), 2)
    heard = pass_through(DEMO, frame, rng, snr_db=30, first=100)
    with pytest.raises(SignalError, match=r"'mmse'.*'ls', 'dft' or 'lmmse'"):
        sound(DEMO, heard, method="mmse")
    with pytest.raises(SignalError, match="taps=999"):
        sound(DEMO, heard, taps=999)
