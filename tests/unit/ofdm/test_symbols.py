import numpy as np
import pytest

from testbed.errors import FrameError
from testbed.ofdm import symbols
from testbed.ofdm.grid import PRESETS, Grid
from tests.reference.ofdm_slow import analyse, synthesise

GRIDS = [*PRESETS.values(), Grid(128, 12, (3, 60), 4, 1e6)]


def random_cells(rng, grid, count):
    return (rng.standard_normal((count, len(grid.used))) + 1j * rng.standard_normal((count, len(grid.used)))).astype(
        np.complex64
    )


@pytest.mark.parametrize("grid", GRIDS)
def test_modulation_is_the_sum_of_carriers(grid, rng):
    cells = random_cells(rng, grid, 3)
    assert np.allclose(symbols.modulate(grid, cells), synthesise(grid, cells), atol=2e-6)


@pytest.mark.parametrize("grid", GRIDS)
def test_demodulation_is_the_dft_after_offset_and_dc(grid, rng):
    samples = (rng.standard_normal(4 * grid.symbol_samples) * (1 + 1j)).astype(np.complex64)
    starts = np.array([7, grid.symbol_samples + 1, 2 * grid.symbol_samples - 5])
    fast = symbols.demodulate(grid, samples, starts, 3.7, 0.2 - 0.1j)[:, grid.used]
    assert np.allclose(fast, analyse(grid, samples, starts, 3.7, 0.2 - 0.1j), atol=1e-5)


@pytest.mark.parametrize("grid", GRIDS)
def test_demodulation_inverts_modulation(grid, rng):
    cells = random_cells(rng, grid, 5)
    starts = np.arange(5) * grid.symbol_samples + grid.cyclic_prefix
    back = symbols.demodulate(grid, symbols.modulate(grid, cells), starts)[:, grid.used] / grid.amplitude
    assert np.allclose(back, cells, atol=1e-5)


@pytest.mark.parametrize("alone", [True, False])
def test_power_of_a_subcarrier_does_not_depend_on_the_others(alone):
    grid = PRESETS["demo"]
    cells = np.zeros((1, len(grid.used)), np.complex64) if alone else np.ones((1, len(grid.used)), np.complex64)
    cells[0, 5] = 1.0
    spectrum = symbols.demodulate(grid, symbols.modulate(grid, cells), np.array([grid.cyclic_prefix]))
    assert abs(spectrum[0, grid.used[5]]) == pytest.approx(grid.amplitude, rel=1e-5)


def test_dc_leaks_as_predicted(rng):
    grid = PRESETS["demo"]
    starts = np.array([0, 300, 777])
    constant = np.full(1200, 0.5 + 0.25j, np.complex64)
    seen = symbols.demodulate(grid, constant, starts, 2.3)
    assert np.allclose(seen, (0.5 + 0.25j) * symbols.dc_leakage(grid, starts, 2.3), atol=1e-5)


def test_cells_of_another_grid_are_refused():
    with pytest.raises(FrameError, match=r"\(2, 52\).*204"):
        symbols.modulate(PRESETS["demo"], np.zeros((2, 52), np.complex64))
