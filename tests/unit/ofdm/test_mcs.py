from __future__ import annotations

import json
from fractions import Fraction
from importlib import resources

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from testbed.errors import FrameError, SignalError
from testbed.ofdm.coding import coded_length, decode_blocks, encode_blocks
from testbed.ofdm.mcs import MCS, bit_information, choose_mcs, effective_snr, find_mcs, spectral_efficiency
from testbed.ofdm.modulation import BITS_PER_SYMBOL, demap, map_bits
from testbed.units import db, from_db
from tests.reference import coding_slow

THRESHOLDS = np.array([m.snr_threshold_db for m in MCS])
snrs = hnp.arrays(float, st.integers(1, 20), elements=st.floats(1e-3, 1e4))


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """Hypothesis gives each example a fifth of a second, which is too little to load compiled code."""
    choose_mcs(np.ones(1), 0.0)
    spectral_efficiency(np.ones(1))


def test_table_rises_from_bpsk_to_256_qam() -> None:
    assert (MCS[0].bits_per_symbol, MCS[0].code_rate) == (1, Fraction(1, 2))
    assert (MCS[-1].bits_per_symbol, MCS[-1].code_rate) == (8, Fraction(5, 6))
    assert [m.index for m in MCS] == list(range(len(MCS)))
    assert (np.diff([m.efficiency for m in MCS]) > 0).all()
    assert (np.diff(THRESHOLDS) > 0).all()


@pytest.mark.parametrize("mcs", MCS, ids=lambda m: m.name)
def test_threshold_lies_a_little_above_the_limit_of_the_constellation(mcs) -> None:
    information = bit_information(from_db(mcs.snr_threshold_db - np.array([0.0, 1.0, 2.7])), mcs.bits_per_symbol)
    assert information[1] > float(mcs.code_rate)
    assert information[2] < float(mcs.code_rate)


def test_table_says_how_it_was_measured() -> None:
    text = resources.files("testbed.ofdm").joinpath("data", "mcs_thresholds.json").read_text(encoding="utf-8")
    assert {"script", "seed", "payload_bytes", "blocks_per_point"} <= set(json.loads(text)["measured"])


@pytest.mark.parametrize("bits", BITS_PER_SYMBOL)
def test_bit_information_is_what_exact_llrs_carry(bits: int, rng: np.random.Generator) -> None:
    for snr_db in (-2.0, 6.0, 14.0):
        sent = rng.integers(0, 2, 40_000 // bits * bits, dtype=np.uint8)
        symbols = map_bits(sent, bits)
        noise = float(from_db(-snr_db))
        received = (symbols + coding_slow.gaussian_noise(rng, len(symbols), noise)).astype(np.complex64)
        llr = demap(received, noise, bits, method="exact").astype(float)
        density = 1 - np.logaddexp(0, -(1 - 2.0 * sent) * llr) / np.log(2)
        error = 5 * density.std() / np.sqrt(len(sent)) + 1e-4
        assert bit_information(from_db([snr_db]), bits)[0] == pytest.approx(density.mean(), abs=error)


def test_bit_information_of_bpsk_at_known_points() -> None:
    """Capacity of the binary-input Gaussian channel at E_s/N_0 of 0 dB and −2.82 dB (rate one half)."""
    np.testing.assert_allclose(bit_information(from_db([0.0, -2.823]), 1), [0.7215, 0.5], atol=2e-4)


@pytest.mark.parametrize("mcs", MCS, ids=lambda m: m.name)
def test_effective_snr_of_a_flat_channel_is_its_snr(mcs) -> None:
    for snr_db in (-8.0, mcs.snr_threshold_db):
        assert db(effective_snr(np.full(7, from_db(snr_db)), mcs)) == pytest.approx(snr_db, abs=0.02)


@given(snr=snrs, index=st.integers(0, len(MCS) - 1))
def test_effective_snr_lies_between_worst_and_best_and_below_the_mean(snr: np.ndarray, index: int) -> None:
    effective = db(effective_snr(snr, index))
    assert effective >= min(db(snr.min()), 11.0) - 0.1
    assert effective <= db(snr.mean()) + 0.1
    assert effective == pytest.approx(float(db(effective_snr(snr[::-1], index))), abs=1e-6)


@pytest.mark.parametrize("index", [1, 4, 6])
def test_effective_snr_predicts_the_loss_of_blocks_on_an_uneven_channel(index: int, rng: np.random.Generator) -> None:
    """Within half a decibel about the threshold, the loss passes through one block in a hundred."""
    mcs = MCS[index]
    shape = from_db(rng.uniform(-6.0, 6.0, 48))
    gains = np.linspace(-10.0, 40.0, 2001)
    effective = np.array([db(effective_snr(shape * from_db(g), mcs)) for g in gains])
    payloads = rng.integers(0, 256, (400, 256), dtype=np.uint8)
    coded = encode_blocks(payloads, mcs, coded_length(256, mcs))
    symbols = map_bits(coded.ravel(), mcs.bits_per_symbol)
    lost = []
    for offset in (-0.5, 0.5):
        snr = shape * from_db(gains[int(np.argmax(effective >= mcs.snr_threshold_db + offset))])
        noise = np.resize(1 / snr, len(symbols))
        received = symbols + coding_slow.gaussian_noise(rng, len(symbols), 1.0) * np.sqrt(noise)
        llr = demap(received.astype(np.complex64), noise, mcs.bits_per_symbol).reshape(coded.shape)
        lost.append(np.mean(~decode_blocks(llr, 256, mcs)[1]))
    assert lost[0] > 0.01 > lost[1]


@given(snr=snrs, margin=st.floats(-3.0, 10.0))
def test_choice_is_the_best_scheme_that_the_effective_snr_supports(snr: np.ndarray, margin: float) -> None:
    fits = [m for m in MCS if db(effective_snr(snr, m)) >= m.snr_threshold_db + margin]
    assert choose_mcs(snr, margin) == (fits[-1] if fits else None)


@given(snr=st.floats(1e-3, 1e4), margin=st.floats(-3.0, 10.0))
def test_on_one_subcarrier_choice_and_rate_agree(snr: float, margin: float) -> None:
    near = np.abs(db(snr) - margin - THRESHOLDS).min()
    if near > 0.05:
        chosen = choose_mcs(np.array([snr]), margin)
        assert spectral_efficiency(snr, margin) == (chosen.efficiency if chosen else 0.0)


def test_spectral_efficiency_steps_at_the_thresholds() -> None:
    got = spectral_efficiency(from_db(np.stack([THRESHOLDS - 0.01, THRESHOLDS + 0.01])))
    efficiency = [m.efficiency for m in MCS]
    np.testing.assert_allclose(got, [[0.0, *efficiency[:-1]], efficiency])
    np.testing.assert_array_equal(spectral_efficiency([0.0, np.nan, np.inf]), [0.0, 0.0, efficiency[-1]])
    assert spectral_efficiency(from_db(THRESHOLDS[2] + 1.0), margin_db=1.5) == efficiency[1]


def test_unknown_schemes_and_impossible_snrs_are_refused() -> None:
    assert find_mcs(3) is MCS[3]
    assert find_mcs(MCS[2]) is MCS[2]
    with pytest.raises(FrameError, match=r"mcs=99 is unknown; choose 0…9"):
        find_mcs(99)
    for snr in ([], [[1.0]], [np.nan], [-1.0]):
        with pytest.raises(SignalError, match="snr of shape"):
            effective_snr(np.array(snr), 0)
