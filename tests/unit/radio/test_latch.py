"""Once latched, a radio stays silent, whatever is still asked of it."""

from __future__ import annotations

import numpy as np
import pytest

from testbed.errors import TransmitRefused
from testbed.radio.latch import Latched
from testbed.radio.sim import SimRadio
from tests.unit.radio.test_air import TUNED, tuned

WAVE = np.full(64, 0.1, np.complex64)


def test_it_passes_on_until_it_is_latched() -> None:
    air = tuned()
    with Latched(SimRadio(air, 0)) as radio:
        radio.configure(TUNED)
        radio.transmit(WAVE)
        assert air.on_air() == (0,)
        assert radio.receive(10).samples.size == 10
        assert radio.address == "sim:0"
        radio.latch()
        assert air.on_air() == ()
        with pytest.raises(TransmitRefused, match="joins again"):
            radio.transmit(WAVE)
        assert air.on_air() == ()


def test_leaving_silences() -> None:
    air = tuned()
    with Latched(SimRadio(air, 1)) as radio:
        radio.configure(TUNED)
        radio.transmit(WAVE)
    assert air.on_air() == ()
