import numpy as np
import pytest

from testbed.errors import GridError
from testbed.ofdm.grid import PRESETS, Grid

GOOD = {"fft_size": 256, "cyclic_prefix": 32, "occupied": 204, "pilot_count": 12, "sample_rate_hz": 3.84e6}


@pytest.mark.parametrize("name", PRESETS)
def test_used_subcarriers_are_data_and_pilots_without_dc(name):
    grid = PRESETS[name]
    assert np.array_equal(np.sort(np.concatenate([grid.data, grid.pilots])), np.arange(len(grid.used)))
    assert 0 not in grid.used
    assert np.all(np.diff(grid.frequency_hz) > 0)
    assert np.allclose(
        np.exp(2j * np.pi * grid.used / grid.fft_size), np.exp(2j * np.pi * grid.offsets / grid.fft_size)
    )
    assert np.abs(grid.frequency_hz).max() < grid.sample_rate_hz / 2


@pytest.mark.parametrize("name", PRESETS)
def test_pilots_alone_do_not_repeat_every_quarter_symbol(name):
    grid = PRESETS[name]
    turn = np.exp(2j * np.pi * grid.offsets[grid.pilots] / 4)
    assert abs(turn.mean()) < 1e-9


@pytest.mark.parametrize("name", PRESETS)
def test_presets_fit_a_pluto(name):
    assert 1e6 <= PRESETS[name].sample_rate_hz <= 5e6


def test_explicit_band_may_lie_on_one_side_or_across_dc():
    above = Grid(**{**GOOD, "occupied": (10, 100)})
    assert above.offsets[0] == 10
    assert len(above.used) == 91
    across = Grid(**{**GOOD, "occupied": (-20, 100)})
    assert len(across.used) == 120
    assert 0 not in across.offsets


def test_durations():
    grid = Grid(**GOOD)
    assert grid.spacing_hz == 15e3
    assert grid.symbol_samples == 288
    assert grid.symbol_s == pytest.approx(75e-6)


def test_values_compare_and_hash_by_content():
    assert Grid(**GOOD) == Grid(**GOOD)
    assert hash(Grid(**GOOD)) == hash(Grid(**GOOD))
    assert Grid(**GOOD).fingerprint != Grid(**{**GOOD, "pilot_count": 16}).fingerprint
    assert Grid(**GOOD).fingerprint == Grid(**{**GOOD, "sample_rate_hz": 1e6}).fingerprint


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fft_size", 32),
        ("fft_size", 8192),
        ("fft_size", 250),
        ("fft_size", 256.0),
        ("cyclic_prefix", 3),
        ("cyclic_prefix", 129),
        ("occupied", 205),
        ("occupied", 256),
        ("occupied", 10),
        ("occupied", (5, 300)),
        ("occupied", (40, -40)),
        ("occupied", (3, 9)),
        ("occupied", (1, 2, 3)),
        ("pilot_count", 3),
        ("pilot_count", 40),
        ("pilot_count", True),
        ("sample_rate_hz", 0.0),
        ("sample_rate_hz", "1e6"),
        ("sample_rate_hz", None),
        ("sample_rate_hz", float("nan")),
        ("sample_rate_hz", float("inf")),
        ("training_period", 0),
    ],
)
def test_impossible_grids_name_field_and_value(field, value):
    with pytest.raises(GridError) as error:
        Grid(**{**GOOD, field: value})
    assert field in str(error.value)
    assert str(value) in str(error.value)
