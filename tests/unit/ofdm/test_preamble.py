import numpy as np
import pytest

from testbed.ofdm import preamble as pre
from testbed.ofdm.grid import FULL_BAND_RMS, PRESETS, Grid

GRIDS = [*PRESETS.values(), Grid(512, 36, (10, 200), 12, 4e6)]


@pytest.mark.parametrize("grid", GRIDS)
def test_short_part_repeats_every_quarter_symbol(grid):
    short = pre.preamble(grid)[: pre.short_samples(grid)]
    period = pre.short_period(grid)
    assert period * 4 == grid.fft_size
    assert np.allclose(short[period:], short[:-period], atol=1e-6)


@pytest.mark.parametrize("grid", GRIDS)
def test_long_part_is_a_guard_and_two_equal_symbols(grid):
    whole = pre.preamble(grid)
    assert len(whole) == pre.preamble_samples(grid)
    long = whole[pre.short_samples(grid) :]
    assert len(long) == pre.guard_samples(grid) + 2 * grid.fft_size
    assert np.allclose(long[grid.fft_size :], long[: -grid.fft_size], atol=1e-6)


@pytest.mark.parametrize("grid", GRIDS)
def test_both_parts_have_the_power_of_a_full_symbol_and_a_low_crest(grid):
    whole = pre.preamble(grid)
    for part in (whole[: pre.short_samples(grid)], whole[-grid.fft_size :]):
        rms = np.sqrt(np.mean(np.abs(part) ** 2))
        assert rms == pytest.approx(FULL_BAND_RMS, rel=1e-3)
        assert 20 * np.log10(np.abs(part).max() / rms) < 3.0


@pytest.mark.parametrize("grid", GRIDS)
def test_known_symbols_have_unit_magnitude_and_differ(grid):
    first, second = pre.training(grid), pre.retraining(grid)
    assert np.allclose(np.abs(first), 1, atol=1e-6)
    assert np.allclose(np.abs(second), 1, atol=1e-6)
    assert abs(np.vdot(first, second)) / len(first) < 0.4


@pytest.mark.parametrize("shift", [-8, -4, 4, 8])
def test_a_carrier_offset_is_no_delay(shift):
    """Unlike a chirp: at any delay, correlation with the shifted symbol stays far below the peak of 1."""
    grid = PRESETS["demo"]
    symbol = pre.long_symbol(grid)
    shifted = symbol * np.exp(2j * np.pi * shift * np.arange(grid.fft_size) / grid.fft_size)
    circular = np.fft.ifft(np.fft.fft(shifted) * np.conj(np.fft.fft(symbol)))
    assert np.abs(circular).max() / np.vdot(symbol, symbol).real < 0.4


def test_another_grid_has_another_preamble():
    one, other = PRESETS["demo"], Grid(256, 32, 204, 16, 3.84e6)
    assert abs(np.vdot(pre.training(one), pre.training(other))) / 204 < 0.4
