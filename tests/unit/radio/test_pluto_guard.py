"""The transmit guard: nothing leaves the band, the power and the time that were allowed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from testbed.errors import TransmitRefused
from testbed.radio.base import RadioSettings
from testbed.radio.guard import NOTHING, TransmitPermit, check_transmit

SETTINGS = RadioSettings(sample_rate_hz=4e6, centre_hz=2.45e9, transmit_gain_db=-20.0)
CABLED = TransmitPermit(bands_hz=((2.4e9, 2.4835e9),), cabled=True)


def test_a_cabled_signal_within_its_band_may_go() -> None:
    check_transmit(CABLED, SETTINGS)
    check_transmit(replace(CABLED, cabled=False, licence="experimental licence 0815"), SETTINGS)


@pytest.mark.parametrize(
    ("permit", "settings", "words"),
    [
        (NOTHING, SETTINGS, "no transmit band"),
        (replace(CABLED, cabled=False), SETTINGS, "cabled"),
        (replace(CABLED, cabled=False, licence="  "), SETTINGS, "licence"),
        (CABLED, replace(SETTINGS, centre_hz=2.5e9), "outside the allowed bands"),
        (CABLED, replace(SETTINGS, centre_hz=2.4015e9), "2399.5"),
        (CABLED, replace(SETTINGS, centre_hz=2.4825e9), "2484.5"),
        (CABLED, replace(SETTINGS, transmit_gain_db=-5.0), "highest_gain_db"),
        (CABLED, replace(SETTINGS, transmit_gain_db=float("nan")), "transmit_gain_db"),
        (CABLED, replace(SETTINGS, transmit_gain_db=float("-inf")), "transmit_gain_db = -inf"),
        (replace(CABLED, occupied_hz=5e6), SETTINGS, "occupied_hz"),
        (replace(CABLED, occupied_hz=0.0), SETTINGS, "occupied_hz"),
        (replace(CABLED, highest_eirp_dbm=-20.0), SETTINGS, r"lower transmit_gain_db by 7\.00 dB"),
        (replace(CABLED, highest_eirp_dbm=0.0, antenna_gain_dbi=14.0), SETTINGS, "EIRP"),
        (replace(CABLED, longest_airtime_s=float("inf")), SETTINGS, "longest_airtime_s"),
        (replace(CABLED, longest_airtime_s=0.0), SETTINGS, "longest_airtime_s"),
    ],
)
def test_everything_else_is_refused_with_its_reason(
    permit: TransmitPermit, settings: RadioSettings, words: str
) -> None:
    with pytest.raises(TransmitRefused, match=words):
        check_transmit(permit, settings)


def test_a_narrow_signal_may_come_closer_to_the_edge() -> None:
    near = replace(SETTINGS, centre_hz=2.4015e9)
    check_transmit(replace(CABLED, occupied_hz=2.9e6), near)


def test_no_random_configuration_passes_outside_the_mask(rng: np.random.Generator) -> None:
    passed = 0
    for _ in range(100_000):
        edges = np.sort(rng.uniform(2.39e9, 2.5e9, 2))
        permit = TransmitPermit(
            bands_hz=((float(edges[0]), float(edges[1])),),
            cabled=bool(rng.integers(2)),
            licence=("", "x")[rng.integers(2)],
            highest_gain_db=float(rng.uniform(-60, 0)),
        )
        settings = RadioSettings(
            float(rng.uniform(1e5, 2e7)), float(rng.uniform(2.39e9, 2.5e9)), float(rng.uniform(-89, 0))
        )
        try:
            check_transmit(permit, settings)
        except TransmitRefused:
            continue
        passed += 1
        assert edges[0] <= settings.centre_hz - settings.sample_rate_hz / 2
        assert settings.centre_hz + settings.sample_rate_hz / 2 <= edges[1]
        assert settings.transmit_gain_db <= permit.highest_gain_db
        assert permit.cabled or permit.licence
    assert passed > 100
