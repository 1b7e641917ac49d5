from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.errors import FrameError
from testbed.ofdm.modulation import BITS_PER_SYMBOL, constellation, demap, map_bits
from tests.reference import coding_slow

each_constellation = pytest.mark.parametrize("bits", BITS_PER_SYMBOL)


@each_constellation
def test_points_are_those_of_the_standard(bits: int) -> None:
    np.testing.assert_allclose(constellation(bits), coding_slow.points(bits), atol=1e-6)


@each_constellation
def test_mean_energy_is_one(bits: int) -> None:
    assert np.mean(np.abs(constellation(bits)) ** 2) == pytest.approx(1.0, abs=1e-6)


@each_constellation
def test_nearest_neighbours_differ_in_one_bit(bits: int) -> None:
    points = constellation(bits)
    distance = np.abs(points[:, None] - points)
    nearest = distance[distance > 0].min()
    for a, b in zip(*np.nonzero(np.isclose(distance, nearest, rtol=1e-3)), strict=True):
        assert int(a ^ b).bit_count() == 1


@settings(deadline=None)
@given(data=st.data(), bits=st.sampled_from(BITS_PER_SYMBOL))
def test_noiseless_signs_give_the_bits_back(data: st.DataObject, bits: int) -> None:
    count = data.draw(st.integers(0, 40))
    sent = np.array(data.draw(st.lists(st.integers(0, 1), min_size=bits * count, max_size=bits * count)), np.uint8)
    np.testing.assert_array_equal(demap(map_bits(sent, bits), 0.1, bits) < 0, sent)


@each_constellation
@pytest.mark.parametrize("method", ["max-log", "exact"])
@pytest.mark.parametrize("noise_db", [-25.0, -10.0, 3.0])
def test_llrs_equal_the_search_over_all_points(
    bits: int, method: str, noise_db: float, rng: np.random.Generator
) -> None:
    noise = 10 ** (noise_db / 10) * rng.uniform(0.5, 2.0, 500)
    sent = coding_slow.points(bits)[rng.integers(0, 2**bits, 500)]
    received = (sent + coding_slow.gaussian_noise(rng, 500, 1.0) * np.sqrt(noise)).astype(np.complex64)
    wanted = coding_slow.llr(received, noise, bits, exact=method == "exact")
    got = demap(received, noise, bits, method=method)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=2e-5 / noise.min())


@each_constellation
def test_llrs_far_outside_the_constellation(bits: int, rng: np.random.Generator) -> None:
    received = (coding_slow.gaussian_noise(rng, 200, 400.0)).astype(np.complex64)
    wanted = coding_slow.llr(received, np.ones(200), bits, exact=False)
    np.testing.assert_allclose(demap(received, 1.0, bits), wanted, rtol=1e-4, atol=1e-3)


@each_constellation
def test_one_noise_variance_serves_all_symbols(bits: int, rng: np.random.Generator) -> None:
    received = coding_slow.gaussian_noise(rng, 50, 2.0).astype(np.complex64)
    np.testing.assert_array_equal(demap(received, 0.3, bits), demap(received, np.full(50, 0.3), bits))


@each_constellation
def test_a_symbol_that_is_no_number_gives_llrs_that_are_none(bits: int) -> None:
    received = np.array([complex(np.nan, np.nan), 1 + 1j, complex(np.inf, -np.inf)], np.complex64)
    got = demap(received, 0.1, bits).reshape(3, bits)
    assert np.isnan(got[0]).all()
    assert np.isfinite(got[1]).all()


def test_an_erased_symbol_says_nothing() -> None:
    received = np.array([1 + 1j, -1 + 1j], np.complex64)
    got = demap(received, np.array([np.inf, 0.5]), 4).reshape(2, 4)
    assert not got[0].any()
    assert got[1].all()


@each_constellation
def test_bit_error_rate_is_that_of_the_formula(bits: int, rng: np.random.Generator) -> None:
    for wanted in (1e-1, 1e-2):
        grid = 10 ** (np.arange(-5.0, 30.0, 0.25) / 10)
        snr = next(g for g in grid if coding_slow.bit_error_rate(g, bits) <= wanted)
        sent = rng.integers(0, 2, 120_000, dtype=np.uint8)
        symbols = map_bits(sent, bits)
        received = symbols + coding_slow.gaussian_noise(rng, len(symbols), 1 / snr).astype(np.complex64)
        errors = np.mean((demap(received, 1 / snr, bits) < 0) != sent)
        expected = coding_slow.bit_error_rate(snr, bits)
        assert errors == pytest.approx(expected, abs=5 * np.sqrt(expected / len(sent)))


def test_what_makes_no_sense_is_refused() -> None:
    symbols = np.ones(4, np.complex64)
    with pytest.raises(FrameError, match="bits_per_symbol=3"):
        constellation(3)
    with pytest.raises(FrameError, match="2 bits make one symbol"):
        map_bits(np.zeros(5, np.uint8), 2)
    with pytest.raises(FrameError, match="method='hard'"):
        demap(symbols, 1.0, 2, method="hard")  # type: ignore[arg-type]
    with pytest.raises(FrameError, match="shape"):
        demap(symbols, np.ones(3), 2)
    for noise in (0.0, -1.0, np.nan):
        with pytest.raises(FrameError, match="above 0"):
            demap(symbols, noise, 2)
