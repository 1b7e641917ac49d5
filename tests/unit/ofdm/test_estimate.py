import numpy as np
import pytest

from testbed.errors import SignalError
from testbed.ofdm import estimate
from testbed.ofdm.grid import PRESETS, Grid
from tests.reference.ofdm_air import rayleigh, response
from tests.reference.ofdm_slow import lmmse_matrix

DEMO = PRESETS["demo"]
GRIDS = [*PRESETS.values(), Grid(512, 36, (10, 200), 12, 4e6)]


def noisy(rng, h, error):
    return (h + np.sqrt(error / 2) * (rng.standard_normal(h.shape) + 1j * rng.standard_normal(h.shape))).astype(
        np.complex64
    )


@pytest.mark.parametrize("grid", GRIDS)
def test_basis_is_orthonormal_and_holds_every_short_channel(grid, rng):
    basis = estimate.delay_basis(grid, grid.cyclic_prefix)
    assert np.allclose(basis.conj() @ basis.T, np.eye(len(basis)), atol=1e-5)
    h = response(grid, rayleigh(rng, grid.cyclic_prefix)).astype(np.complex64)
    assert np.allclose(estimate.dft_smooth(grid, h, grid.cyclic_prefix), h, atol=1e-5)


@pytest.mark.parametrize("grid", [*GRIDS, Grid(64, 4, 48, 4, 3e6)])
def test_prior_holds_paths_between_whole_delays(grid):
    basis, energy = estimate.prior_basis(grid, grid.cyclic_prefix)
    assert np.allclose(basis.conj() @ basis.T, np.eye(len(basis)), atol=1e-5)
    assert energy.sum() == pytest.approx(len(grid.used), rel=1e-4)
    assert len(basis) <= grid.cyclic_prefix + 12
    for share in (0.0, 0.123, 0.51, 0.987):
        path = estimate.ramp(grid, share * grid.cyclic_prefix)
        left = path - (path @ basis.conj().T) @ basis
        assert np.mean(np.abs(left) ** 2) < 1e-6


def test_dft_smoothing_leaves_its_share_of_the_noise(rng):
    """Error σ²·L/U, from Rayleigh channels of 16 samples and L = 16 and 32."""
    h = np.array([response(DEMO, rayleigh(rng, 16)) for _ in range(300)])
    error = 0.1 * np.mean(np.abs(h) ** 2)
    for taps in (16, 32):
        left = np.mean(np.abs(estimate.dft_smooth(DEMO, noisy(rng, h, error), taps) - h) ** 2)
        assert left == pytest.approx(error * taps / len(DEMO.used), rel=0.05)


def test_leverage_is_where_that_share_lies():
    weights = estimate.leverage(DEMO, 32)
    assert weights.sum() == pytest.approx(32, rel=1e-5)
    steering = np.exp(-2j * np.pi * np.outer(DEMO.offsets, np.arange(32)) / 256)
    assert np.allclose(weights, np.diag(steering @ np.linalg.pinv(steering)).real, atol=1e-4)


@pytest.mark.parametrize("snr_db", [-5, 10, 30])
def test_lmmse_is_the_wiener_filter(snr_db, rng):
    h = response(DEMO, rayleigh(rng, 20)) / DEMO.amplitude
    error = 10 ** (-snr_db / 10)
    seen = noisy(rng, h, error)
    fast, mse = estimate.lmmse(DEMO, seen, error, 32)
    power = np.mean(np.abs(seen) ** 2) - error
    wiener = lmmse_matrix(DEMO, 32, power, error)
    assert np.allclose(fast, wiener @ seen, atol=2e-3 * np.abs(h).max())
    assert mse == pytest.approx(error * np.trace(wiener).real / len(DEMO.used), rel=1e-3)


def test_lmmse_predicts_its_error_and_beats_least_squares(rng):
    h = np.array([response(DEMO, rayleigh(rng, 32)) for _ in range(200)]) / DEMO.amplitude
    for error in (1.0, 0.03):
        fast, mse = estimate.lmmse(DEMO, noisy(rng, h, error), error, 32)
        assert np.mean(np.abs(fast - h) ** 2) == pytest.approx(mse, rel=0.08)
        assert mse < error * 32 / len(DEMO.used)


def test_ramp_is_a_delay():
    delays = np.array([[0.0, 3.0], [-1.5, 0.25]])
    expected = np.exp(-2j * np.pi * delays[..., None] * DEMO.offsets / DEMO.fft_size)
    assert np.allclose(estimate.ramp(DEMO, delays), expected, atol=1e-5)
    assert estimate.ramp(DEMO, 1.0).shape == (len(DEMO.used),)


@pytest.mark.parametrize("grid", GRIDS)
def test_relative_delay_and_change(grid, rng):
    h = response(grid, rayleigh(rng, grid.cyclic_prefix)).astype(np.complex64)
    delays = np.array([-2.9, -0.01, 0.0, 0.7, 2.9])
    later = h * estimate.ramp(grid, delays) * np.exp(2j)
    found, change = estimate.relative_delay(grid, h, later.astype(np.complex64), 3.0)
    assert np.allclose(found, delays, atol=1e-3)
    assert np.all(np.abs(change) < 1e-3)
    other = response(grid, rayleigh(rng, grid.cyclic_prefix)).astype(np.complex64)
    assert estimate.relative_delay(grid, h, other[None], 1.0)[1][0] > 0.5


def test_mean_delay_is_weighted_by_power():
    taps = np.zeros(20)
    taps[[4, 10]] = 1.0, 1.0
    both = response(DEMO, taps).astype(np.complex64)
    mean, power = estimate.mean_delay(DEMO, both[None])
    assert mean[0] == pytest.approx(7, abs=0.2)
    assert power[0] > 0
    single = estimate.ramp(DEMO, np.array([5.5]))
    assert estimate.mean_delay(DEMO, single)[0][0] == pytest.approx(5.5, abs=1e-3)


def test_pair_noise_ignores_turn_and_delay_and_has_no_bias(rng):
    found = []
    for _ in range(400):
        h = response(DEMO, rayleigh(rng, 16)) / DEMO.amplitude
        pair = np.stack([h, h * estimate.ramp(DEMO, 0.05) * np.exp(0.3j)])
        found.append(estimate.pair_noise(DEMO, noisy(rng, pair, 0.02)))
    assert np.mean(found) == pytest.approx(0.02, rel=0.015)


@pytest.mark.parametrize("snr_db", [0, 5, 15, 30])
def test_snr_has_no_bias(snr_db, rng):
    """Known noise degrees of freedom, Rayleigh channels: the mean over many soundings is the true SNR."""
    ratios, noise = [], 10 ** (-snr_db / 10)
    for _ in range(300):
        h = response(DEMO, rayleigh(rng, 12)) / DEMO.amplitude
        measured = noise * rng.chisquare(2 * 203) / (2 * 203)
        snr = estimate.snr_per_subcarrier(DEMO, noisy(rng, h, noise / 2), noise / 2, measured, 203, 32)
        ratios.append(snr.mean() / (np.mean(np.abs(h) ** 2) / noise))
    assert 10 * np.log10(np.mean(ratios)) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("taps", [0, 257])
def test_impossible_delay_spread(taps):
    with pytest.raises(SignalError, match=f"taps={taps}"):
        estimate.delay_basis(DEMO, taps)
