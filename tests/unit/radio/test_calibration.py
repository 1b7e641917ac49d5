"""Calibration: frequency and gain measured on the simulated air, kept in dated files."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from testbed.errors import RadioError
from testbed.radio.air import Air, AirSettings
from testbed.radio.base import RadioSettings
from testbed.radio.calibration import (
    Calibration,
    corrected_xo,
    measure_gain_slope,
    measure_ppm,
    read_calibration,
    tone,
    tone_frequency,
    write_calibration,
)
from testbed.radio.sim import SimRadio

SETTINGS = RadioSettings(sample_rate_hz=4e6, centre_hz=2.45e9, transmit_gain_db=-20.0, receive_gain_db=50.0)
KEPT = Calibration("1044", "1045", "2026-03-01", -3.25, 39_999_870, 0.998, 0.0021)


def pair(ppm: tuple[float, float], path_db: float = -50.0) -> tuple[SimRadio, SimRadio]:
    air = Air(AirSettings("TDL-E", 0.0, 0.0, ((0.0, path_db), (path_db, 0.0)), ppm, 6.0, 7.0, reciprocal=False, seed=5))
    return SimRadio(air, 0), SimRadio(air, 1)


@pytest.mark.parametrize("ppm", [(0.0, 0.0), (7.25, -4.5), (-20.0, 20.0)])
def test_the_crystals_difference_is_found(ppm: tuple[float, float]) -> None:
    reference, unit = pair(ppm)
    assert measure_ppm(reference, unit, SETTINGS) == pytest.approx(ppm[1] - ppm[0], abs=0.01)


def test_each_db_set_is_a_db_heard() -> None:
    reference, unit = pair((1.0, -1.0))
    assert measure_gain_slope(reference, unit, SETTINGS, (0.0, 5.0, 10.0)) == pytest.approx(1.0, abs=0.02)


def test_without_a_tone_nothing_is_measured() -> None:
    reference, unit = pair((0.0, 0.0), path_db=-200.0)
    with pytest.raises(RadioError, match="no tone"):
        measure_ppm(reference, unit, SETTINGS)


@pytest.mark.parametrize("snr_db", [40, 0, -15])
def test_frequency_is_found_between_the_bins(snr_db: float, rng: np.random.Generator) -> None:
    n, rate = 1 << 15, 1e6
    noise = (rng.standard_normal(n) + 1j * rng.standard_normal(n)) * np.sqrt(0.5 * 10 ** (-snr_db / 10))
    for frequency in rng.uniform(50_000, 52_000, 5):
        samples = np.exp(2j * np.pi * frequency / rate * np.arange(n)) + noise
        # Cramér–Rao: σ_f = (rate/2π)·√(6/(SNR·n³)); the Hann window and the halves cost less than twice that
        bound = rate / (2 * np.pi) * np.sqrt(6 / (10 ** (snr_db / 10) * n**3))
        found = tone_frequency(samples.astype(np.complex64), rate, 51_000.0, 3_000.0)
        assert abs(found - frequency) < 6 * 2 * bound + 1e-3


def test_the_tone_is_within_full_scale_and_has_no_offset() -> None:
    assert np.abs(tone()).max() <= 0.51
    assert abs(tone().mean()) < 1e-6


def test_the_correction_is_what_the_crystal_is() -> None:
    assert corrected_xo(40_000_000, 5.0) == 40_000_200
    assert corrected_xo(40_000_200, 0.0) == 40_000_200


def test_results_are_dated_files_and_old_ones_warn(tmp_path: Path) -> None:
    assert read_calibration(tmp_path, "1044", date(2026, 3, 2)) == (
        None,
        "1044 was never calibrated; run: testbed calibrate frequency",
    )
    write_calibration(tmp_path, KEPT)
    assert read_calibration(tmp_path, "1044", date(2026, 3, 31)) == (KEPT, None)
    _, warning = read_calibration(tmp_path, "1044", date(2026, 4, 1))
    assert warning is not None
    assert "31 days old" in warning


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"serial": 1}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    write_calibration(tmp_path, KEPT).write_text(text)
    with pytest.raises(RadioError, match=r"1044-2026-03-01\.json"):
        read_calibration(tmp_path, "1044", date(2026, 3, 2))
