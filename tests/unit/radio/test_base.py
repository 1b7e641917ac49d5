"""What every radio may rely on: settings are numbers that mean something."""

from __future__ import annotations

import math

import pytest

from testbed.errors import RadioError
from testbed.radio.base import RadioSettings


@pytest.mark.parametrize("field", ["sample_rate_hz", "centre_hz", "receive_gain_db"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_settings_are_finite(field: str, value: float) -> None:
    usual = {"sample_rate_hz": 1e6, "centre_hz": 2.45e9}
    with pytest.raises(RadioError, match=f"{field} = {value}"):
        RadioSettings(**(usual | {field: value}))


@pytest.mark.parametrize(("rate", "centre", "gain"), [(0.0, 1e9, 0.0), (1e6, -1.0, 0.0), (1e6, 1e9, 0.25)])
def test_settings_that_no_radio_has_are_refused(rate: float, centre: float, gain: float) -> None:
    with pytest.raises(RadioError, match="must"):
        RadioSettings(rate, centre, gain)
