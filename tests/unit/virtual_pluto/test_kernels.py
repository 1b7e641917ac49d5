"""The fast receiver: true Gaussian noise, and otherwise the front end of the simulated air."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from testbed.radio import channel
from testbed.virtual_pluto.kernels import deliver, hash_counters

MIX = np.array([1.0, 0.0, -0.01, 0.99], np.float32)
OFFSET = np.array([0.002, -0.001], np.float32)
NEUTRAL = (np.array([1, 0, 0, 1], np.float32), np.zeros(2, np.float32))
KEYS = np.array([5, 6, 7, 8], np.uint32)


def codes_of(samples: np.ndarray) -> np.ndarray:
    codes = np.empty(2 * samples.size, np.int16)
    deliver(samples.view(np.float32), 0, KEYS, np.float32(0), MIX, OFFSET, np.float32(2048), codes)
    return codes


def noise(count: int, keys: np.ndarray = KEYS, first: int = 0) -> np.ndarray:
    """Branch values of standard deviation 1, finely quantised: full scale is eight deviations."""
    codes = np.empty(2 * count, np.int16)
    zeros = np.zeros(2 * count, np.float32)
    deliver(zeros, first, keys, np.float32(1 / 8), *NEUTRAL, np.float32(32768), codes)
    return codes / 4096


def test_noise_is_gaussian_and_white(seed: int) -> None:
    keys = np.random.SeedSequence(seed).generate_state(4, np.uint32)
    count = 200_000
    values = noise(count, keys).astype(float)
    inner = np.abs(values) < 7.9
    assert inner.all()
    for branch in (values[0::2], values[1::2]):
        assert stats.kstest(branch + np.random.default_rng(1).uniform(-1, 1, count) / 8192, "norm").pvalue > 1e-4
        assert abs(stats.kurtosis(branch)) < 6 * np.sqrt(24 / count)
        lags = [np.mean(branch[lag:] * branch[: count - lag]) for lag in (1, 2, 7, 64, 512)]
        assert np.abs(lags).max() < 6 / np.sqrt(count)
    assert abs(np.mean(values[0::2] * values[1::2])) < 6 / np.sqrt(count)
    beyond = np.mean(np.abs(values) > 4.0)
    assert beyond == pytest.approx(2 * stats.norm.sf(4.0), rel=0.6)


def test_any_part_of_a_stream_can_be_made_alone() -> None:
    whole = noise(3000)
    np.testing.assert_array_equal(whole[2 * 1234 :], noise(3000 - 1234, first=1234))


@pytest.mark.parametrize(("key", "left"), [(0, np.pi / 4), (1, np.pi / 4), (2, 0.0), (3, 0.0)])
def test_two_keys_draw_the_radii_and_two_the_angles(key: int, left: float) -> None:
    """With the same angles and new radii E[r]²/E[r²] = π/4 of the correlation is left, with new angles nothing."""
    changed = KEYS.copy()
    changed[key] += 1
    correlation = np.corrcoef(noise(20_000), noise(20_000, changed))[0, 1]
    assert correlation == pytest.approx(left, abs=0.03)


def test_counters_hash_without_collisions() -> None:
    words = np.empty(1 << 16, np.uint32)
    hash_counters(np.uint32(0xFFFFF000), np.uint32(1), np.uint32(2), words)
    assert np.unique(words).size == words.size


def test_without_noise_it_is_the_front_end_of_the_simulated_air(rng: np.random.Generator) -> None:
    samples = (rng.standard_normal(2000) + 1j * rng.standard_normal(2000)).astype(np.complex64)
    gain = float(np.hypot(MIX[2], MIX[3]))
    impairments = channel.Impairments(
        iq_gain_db=20 * np.log10(gain),
        iq_phase_deg=float(np.rad2deg(np.arctan2(-MIX[2], MIX[3]))),
        dc=complex(*OFFSET),
    )
    expected, clipped = channel.receive_front_end(samples, impairments, 0.0, rng)
    difference = codes_of(samples) - expected.view(np.float32) * 2048
    assert clipped > 0
    assert np.abs(difference).max() <= 1
    assert np.mean(difference != 0) < 1e-3
