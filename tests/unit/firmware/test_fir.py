"""Designed filters, measured from the integers in the committed files: by a plain sum, and by filtering tones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from testbed.errors import FirmwareError
from testbed.firmware.fir import band_edge_hz, design, measure, response
from testbed.firmware.folder import filter_path, load_filter
from testbed.firmware.ftr import Side
from testbed.ofdm.grid import PRESETS, Grid

CONFIGS = Path(__file__).parents[3] / "firmware_configs"
LARGEST_RIPPLE_DB = 0.01
LEAST_STOP_DB = 80.0


def gain_db(taps: NDArray[np.float64], frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """|Σ h[n] exp(−2πi f n)|² in dB by its definition; frequency in cycles a sample."""
    phases = np.exp(-2j * np.pi * np.outer(frequency, np.arange(taps.size)))
    return 20 * np.log10(np.abs(phases @ taps))


@pytest.fixture(params=PRESETS)
def preset(request: pytest.FixtureRequest) -> tuple[Grid, Side, Side]:
    stored = load_filter(filter_path(CONFIGS, request.param))
    return PRESETS[request.param], stored.transmit, stored.receive


def test_ripple_and_attenuation_of_the_committed_taps(preset: tuple[Grid, Side, Side]) -> None:
    grid, *sides = preset
    edge, rate = band_edge_hz(grid), grid.sample_rate_hz
    for side in sides:
        taps, fast = np.array(side.taps, dtype=float), side.factor * rate
        passed = gain_db(taps, np.linspace(0, edge, 700) / fast)
        stopped = gain_db(taps, np.linspace(rate - edge, fast / 2, 3000) / fast)
        assert np.ptp(passed) < LARGEST_RIPPLE_DB
        assert passed.min() - stopped.max() > LEAST_STOP_DB
        assert measure(side, grid).stop_db == pytest.approx(passed[0] - stopped.max(), abs=0.5)


def test_used_subcarriers_pass_at_unity_gain_and_linear_phase(preset: tuple[Grid, Side, Side]) -> None:
    grid, transmit, receive = preset
    for side, outward in ((transmit, True), (receive, False)):
        passed = response(side, grid.frequency_hz, transmit=outward)
        assert np.abs(passed) == pytest.approx(np.ones(grid.frequency_hz.size), abs=1e-3)
        assert side.taps == side.taps[::-1]
    assert receive.rates_hz is not None
    assert receive.rates_hz[5] == grid.sample_rate_hz
    assert receive.bandwidth_hz is not None
    assert receive.bandwidth_hz >= 2 * np.abs(grid.frequency_hz).max()


def test_a_tone_beyond_the_band_does_not_fold_onto_a_subcarrier(preset: tuple[Grid, Side, Side]) -> None:
    """Decimation as the device does it: integers, gain, every `factor`-th sample."""
    grid, _, receive = preset
    used = float(grid.frequency_hz[-1])
    alias = used - grid.sample_rate_hz
    levels = [decimated_level(receive, frequency, grid.sample_rate_hz) for frequency in (used, alias)]
    assert levels[0] == pytest.approx(1.0, abs=1e-3)
    assert 20 * np.log10(levels[0] / levels[1]) > LEAST_STOP_DB


def decimated_level(side: Side, frequency_hz: float, rate_hz: float) -> float:
    time = np.arange(8192) / (side.factor * rate_hz)
    tone = np.exp(2j * np.pi * frequency_hz * time)
    filtered = np.convolve(tone, np.array(side.taps) / 2**15 * 2.0 ** (side.gain_db / 6), mode="valid")
    return float(np.abs(filtered[:: side.factor]).mean())


def test_images_of_the_transmitted_band_are_gone(preset: tuple[Grid, Side, Side]) -> None:
    """Interpolation as the device does it: zeros between samples, then the filter."""
    grid, transmit, _ = preset
    symbols = 2048
    tone = np.exp(2j * np.pi * float(grid.frequency_hz[0]) / grid.sample_rate_hz * np.arange(symbols))
    stuffed = np.zeros(symbols * transmit.factor, dtype=complex)
    stuffed[:: transmit.factor] = tone
    wave = np.convolve(stuffed, np.array(transmit.taps) / 2**15, mode="valid")
    spectrum = np.abs(np.fft.fft(wave * np.blackman(wave.size)))
    frequency = np.fft.fftfreq(wave.size, 1 / (transmit.factor * grid.sample_rate_hz))
    wanted = spectrum[np.abs(frequency) < grid.sample_rate_hz / 2].max()
    images = spectrum[np.abs(frequency) > grid.sample_rate_hz - band_edge_hz(grid)].max()
    assert np.abs(wave).mean() == pytest.approx(1.0, abs=1e-3)
    # The Blackman window's own side lobes end at −58 dB and fall by 18 dB an octave.
    assert 20 * np.log10(wanted / images) > 75


def test_clocks_are_multiples_and_within_the_converters(preset: tuple[Grid, Side, Side]) -> None:
    _, _, receive = preset
    assert receive.rates_hz is not None
    pll, adc, *stages = receive.rates_hz
    assert 715_000_000 <= pll <= 1_430_000_000
    assert 25_000_000 <= adc <= 320_000_000
    assert pll % adc == 0
    assert all(fast % slow == 0 for fast, slow in zip((adc, *stages), stages, strict=False))


@pytest.mark.parametrize(
    ("rate_hz", "factor", "adc_hz"),
    [(520_834, 4, 25_000_032), (600_000, 4, 28_800_000), (10_000_000, 4, 320_000_000), (20_000_000, 2, 320_000_000)],
)
def test_other_rates_get_a_chain_that_runs(rate_hz: int, factor: int, adc_hz: int) -> None:
    grid = replace(PRESETS["demo"], sample_rate_hz=float(rate_hz))
    found = design(grid).receive
    assert found.rates_hz is not None
    assert (found.factor, found.rates_hz[1], found.rates_hz[5]) == (factor, adc_hz, rate_hz)
    assert measure(found, grid).stop_db > 70


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_rate_hz": 520_833.0}, "sample_rate_hz = 520833 must be from 520834 to 20000000"),
        ({"sample_rate_hz": 20_000_001.0}, "must be from 520834 to 20000000"),
        ({"sample_rate_hz": 1e6 + 0.5}, "must be a whole number"),
        ({"occupied": 254}, "occupy fewer subcarriers"),
    ],
)
def test_grids_that_the_device_cannot_filter_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(FirmwareError, match=message):
        design(replace(PRESETS["demo"], **change))  # type: ignore[arg-type]


def test_a_filter_is_measured_on_its_own_rate_alone() -> None:
    side = design(PRESETS["demo"]).receive
    with pytest.raises(FirmwareError, match="the filter is for 3840000"):
        measure(side, PRESETS["lte"])
    with pytest.raises(FirmwareError, match="has no rates"):
        response(replace(side, rates_hz=None), 0.0)
