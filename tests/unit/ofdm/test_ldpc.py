from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import norm

from testbed.errors import FrameError
from testbed.ofdm import ldpc
from testbed.ofdm.ldpc import LENGTHS, RATES, decode, encode, load_code
from tests.reference import coding_slow

each_code = pytest.mark.parametrize(("n", "rate"), [(n, r) for n in LENGTHS for r in RATES])
HALF = Fraction(1, 2)


def noisy(words: np.ndarray, rate: Fraction, ebn0_db: float, rng: np.random.Generator) -> np.ndarray:
    """BPSK LLRs of codewords (w, n) in Gaussian noise."""
    variance = 1 / (2 * float(rate) * 10 ** (ebn0_db / 10))
    received = (1.0 - 2.0 * words) + rng.standard_normal(words.shape) * np.sqrt(variance)
    return (2 * received / variance).astype(np.float32)


def random_words(code: ldpc.Code, count: int, rng: np.random.Generator) -> np.ndarray:
    return encode(code, rng.integers(0, 2, (count, code.k), dtype=np.uint8))


@each_code
def test_codewords_satisfy_every_check_and_begin_with_the_information(
    n: int, rate: Fraction, rng: np.random.Generator
) -> None:
    code, H = load_code(n, rate), coding_slow.parity_matrix(n, rate)
    assert (code.n, code.k) == (n, n * rate)
    info = rng.integers(0, 2, (20, code.k), dtype=np.uint8)
    words = encode(code, info)
    np.testing.assert_array_equal(words[:, : code.k], info)
    assert not (words.astype(int) @ H.T % 2).any()


@each_code
def test_each_code_corrects_noise(n: int, rate: Fraction, rng: np.random.Generator) -> None:
    code = load_code(n, rate)
    words = random_words(code, 20, rng)
    llr = noisy(words, rate, 5.5, rng)
    assert ((llr < 0) != words).any(axis=1).sum() >= 15
    decoded = decode(code, llr)
    np.testing.assert_array_equal(decoded.bits, words)
    assert decoded.converged.all()


@pytest.mark.parametrize(("n", "rate"), [(648, HALF), (648, Fraction(5, 6)), (1296, Fraction(3, 4))])
def test_decoder_equals_the_textbook(n: int, rate: Fraction, rng: np.random.Generator) -> None:
    code, H = load_code(n, rate), coding_slow.parity_matrix(n, rate)
    llr = noisy(random_words(code, 6, rng), rate, 2.0 if rate == HALF else 3.6, rng)
    decoded = decode(code, llr, max_iterations=8, scale=0.75)
    for row in range(len(llr)):
        bits, iterations = coding_slow.layered_min_sum(H, code.z, llr[row], 8, 0.75)
        np.testing.assert_array_equal(decoded.bits[row], bits)
        assert decoded.converged[row] == (iterations >= 0)
        assert decoded.iterations[row] == (iterations if iterations >= 0 else 8)


def test_about_as_good_as_belief_propagation(rng: np.random.Generator) -> None:
    code, H = load_code(648, HALF), coding_slow.parity_matrix(648, HALF)
    words = random_words(code, 40, rng)
    llr = noisy(words, HALF, 1.7, rng)
    ours = np.sum((decode(code, llr).bits != words).any(axis=1))
    best = sum((coding_slow.belief_propagation(H, x, 32) != w).any() for x, w in zip(llr, words, strict=True))
    assert ours <= best + 4


@pytest.mark.parametrize(("ebn0_db", "words", "most"), [(1.5, 1000, 0.05), (2.0, 3000, 2e-3)])
def test_block_error_rate_of_the_long_half_rate_code(
    ebn0_db: float, words: int, most: float, rng: np.random.Generator
) -> None:
    code = load_code(1944, HALF)
    sent = random_words(code, words, rng)
    decoded = decode(code, noisy(sent, HALF, ebn0_db, rng))
    assert np.mean((decoded.bits != sent).any(axis=1)) <= most


def test_no_better_than_theory_allows(rng: np.random.Generator) -> None:
    """Below the normal approximation of the best code of that length (Y. Polyanskiy et al., 2010) nothing decodes."""
    code, ebn0_db = load_code(1944, HALF), 0.4
    sent = random_words(code, 200, rng)
    lost = np.mean((decode(code, noisy(sent, HALF, ebn0_db, rng)).bits != sent).any(axis=1))
    assert lost >= normal_approximation(1944, HALF, ebn0_db) - 0.05


def normal_approximation(n: int, rate: Fraction, ebn0_db: float) -> float:
    variance = 1 / (2 * float(rate) * 10 ** (ebn0_db / 10))
    y = 1 + np.sqrt(variance) * np.linspace(-9, 9, 20001)
    weight = norm.pdf(np.linspace(-9, 9, 20001))
    weight /= weight.sum()
    density = 1 - np.logaddexp(0, -2 * y / variance) / np.log(2)
    capacity = density @ weight
    dispersion = density**2 @ weight - capacity**2
    return float(norm.sf((n * (capacity - float(rate)) + 0.5 * np.log2(n)) / np.sqrt(n * dispersion)))


def test_a_codeword_needs_no_iteration_and_silence_is_the_zero_codeword(rng: np.random.Generator) -> None:
    code = load_code(1296, Fraction(2, 3))
    words = random_words(code, 3, rng)
    clean = decode(code, np.where(words == 1, -2.0, 2.0).astype(np.float32))
    assert not clean.iterations.any()
    silence = decode(code, np.zeros((1, 1296), np.float32))
    assert silence.converged.all()
    assert not silence.bits.any()


def test_erasures_are_filled_in(rng: np.random.Generator) -> None:
    code = load_code(1944, HALF)
    words = random_words(code, 10, rng)
    llr = np.where(words == 1, -3.0, 3.0).astype(np.float32)
    llr[:, rng.permutation(1944)[:700]] = 0.0
    np.testing.assert_array_equal(decode(code, llr).bits, words)


@pytest.mark.parametrize("factor", [2.0**-10, 2.0**10])
def test_a_common_factor_changes_nothing(factor: float, rng: np.random.Generator) -> None:
    code = load_code(648, HALF)
    llr = noisy(random_words(code, 20, rng), HALF, 1.5, rng)
    np.testing.assert_array_equal(decode(code, llr).iterations, decode(code, llr * np.float32(factor)).iterations)


def test_extreme_llrs_stay_finite(rng: np.random.Generator) -> None:
    code = load_code(648, Fraction(5, 6))
    words = random_words(code, 5, rng)
    llr = np.where(words == 1, -np.inf, np.inf).astype(np.float32)
    llr[:, ::9] *= -1
    assert not decode(code, llr, max_iterations=200).converged.any()
    known = np.where(words == 1, -np.inf, np.inf).astype(np.float32)
    known[:, ::9] = 0.0
    np.testing.assert_array_equal(decode(code, known, max_iterations=200).bits, words)


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(FrameError, match="n=1000"):
        load_code(1000, HALF)
    with pytest.raises(FrameError, match="rate=1/3"):
        load_code(648, Fraction(1, 3))
    code = load_code(648, HALF)
    with pytest.raises(FrameError, match=r"\(w, 324\)"):
        encode(code, np.zeros((1, 325), np.uint8))
    with pytest.raises(FrameError, match=r"\(w, 648\)"):
        decode(code, np.zeros(648, np.float32))
