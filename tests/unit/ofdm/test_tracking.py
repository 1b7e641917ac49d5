import numpy as np
import pytest

from testbed.ofdm import frame_clock, tracking
from tests.reference.ofdm_slow import random_walk_estimate


def walk(rng, count, columns, step):
    moves = rng.standard_normal((count, columns)) + 1j * rng.standard_normal((count, columns))
    return np.cumsum(moves * np.sqrt(step / 2), axis=0)


@pytest.mark.parametrize("step", [1e-3, 0.1, 3.0])
def test_smoother_is_the_least_squares_solution(step, rng):
    noise, steps = rng.uniform(0.1, 2, 40), step * rng.uniform(0.5, 2, 39)
    values = (walk(rng, 40, 3, step) + walk(rng, 40, 3, 1.0)).astype(np.complex64)
    expected = random_walk_estimate(values, noise, steps)
    assert np.allclose(tracking.smooth_walk(values, noise, steps), expected, atol=1e-4 * np.abs(values).max())


def test_no_movement_gives_the_weighted_mean(rng):
    noise = rng.uniform(0.1, 2, 50)
    values = walk(rng, 50, 2, 1.0).astype(np.complex64)
    mean = (values / noise[:, None]).sum(axis=0) / (1 / noise).sum()
    assert np.allclose(tracking.smooth_walk(values, noise, np.zeros(49)), mean, atol=1e-5)


@pytest.mark.parametrize("drift", [0.0, 0.003, 0.05])
def test_phase_drift_is_found_in_noise(drift, rng):
    found = []
    for _ in range(60):
        phase = np.cumsum(rng.standard_normal(400) * np.sqrt(drift))
        noise = 0.05 * (rng.standard_normal(400) + 1j * rng.standard_normal(400)) / np.sqrt(2)
        phasors = (np.exp(1j * phase) + noise).astype(np.complex64)
        found.append(tracking.phase_drift(phasors))
    assert np.mean(found) == pytest.approx(drift, rel=0.15, abs=2e-4)


def test_channel_drift_is_found_in_noise(rng):
    channels = walk(rng, 60, 50, 0.02) + np.sqrt(0.1) * walk(rng, 1, 50, 1.0)
    noise = 0.1 * np.ones(60)
    seen = channels + np.sqrt(0.05) * (rng.standard_normal((60, 50)) + 1j * rng.standard_normal((60, 50)))
    found = tracking.channel_drift(seen.astype(np.complex64), noise, np.arange(60.0))
    assert found == pytest.approx(0.02, rel=0.25)


def test_channel_drift_does_not_rest_on_the_stated_noise(rng):
    """A channel that turns by a radian over 60 observations, seen in noise that is 8 % weaker than stated."""
    turning = np.exp(1j * np.arange(60)[:, None] / 60) * np.sqrt(0.5) * walk(rng, 1, 50, 1.0)
    seen = turning + np.sqrt(0.05) * (rng.standard_normal((60, 50)) + 1j * rng.standard_normal((60, 50)))
    found = tracking.channel_drift(seen.astype(np.complex64), np.full(60, 0.108), np.arange(60.0))
    after_15 = np.mean(np.abs(turning[15:] - turning[:-15]) ** 2)
    assert found == pytest.approx(after_15 / 15, rel=0.3)


def test_variance_of_the_turn_is_as_stated(rng):
    for count in (2, 5, 40, 300):
        found = []
        for _ in range(300):
            noise = 0.05 * (rng.standard_normal(count) + 1j * rng.standard_normal(count))
            turn, spread = tracking.turn_per_symbol((1 + noise).astype(np.complex64))
            found.append(turn)
        assert np.mean(np.square(found)) == pytest.approx(0.05**2 * spread, rel=0.3)


@pytest.mark.parametrize("turn", [-2.5, -0.01, 0.0, 0.3, 2.5])
@pytest.mark.parametrize("count", [2, 5, 300])
def test_turn_per_symbol(turn, count, rng):
    noise = 0.02 * (rng.standard_normal(count) + 1j * rng.standard_normal(count))
    phasors = (np.exp(1j * turn * np.arange(count)) + noise).astype(np.complex64)
    assert tracking.turn_per_symbol(phasors)[0] == pytest.approx(turn, abs=0.16 / count)


def test_step_rate_weighs_by_variance_and_distrusts_scatter():
    intervals = np.full(4, 33.0)
    steps = np.array([0.33, 0.33, 0.33, 5.0])
    rate, variance = frame_clock.step_rate(intervals, steps, np.array([1e-4, 1e-4, 1e-4, 1e4]))
    assert rate == pytest.approx(0.01, rel=1e-3)
    _, steady = frame_clock.step_rate(intervals, np.full(4, 0.33), np.full(4, 1e-4))
    _, jumpy = frame_clock.step_rate(intervals, np.array([0.33, -1, 1.4, 0.2]), np.full(4, 1e-4))
    assert jumpy > 1000 * steady
    assert variance < 1e-6


def test_mean_rate_is_the_weighted_regression(rng):
    times, powers = np.arange(20.0) * 33, rng.uniform(0.5, 2, 20)
    means = 7 + 0.003 * times + 0.1 * rng.standard_normal(20)
    rate, variance = frame_clock.mean_rate(times, means, powers)
    assert rate == pytest.approx(np.polyfit(times, means, 1, w=np.sqrt(powers))[0], rel=1e-9)
    assert variance > 0
