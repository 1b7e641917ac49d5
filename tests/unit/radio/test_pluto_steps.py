"""What is written to a Pluto, and in which order."""

from __future__ import annotations

import numpy as np
import pytest

from testbed.errors import AddressError, RadioError
from testbed.radio import pluto_steps as steps
from testbed.radio.base import RadioSettings
from testbed.radio.open import check_address, open_radio
from testbed.radio.pluto_failure import explain, remedy
from testbed.radio.pluto_filter import CUTOFF, design, division, filter_text
from testbed.virtual_pluto.fir import parse_fir
from testbed.virtual_pluto.rates import carries, clock_chain


def random_settings(rng: np.random.Generator) -> RadioSettings:
    rate = float(np.round(np.exp(rng.uniform(np.log(65_200), np.log(61.4e6)))))
    return RadioSettings(rate, float(rng.uniform(1e8, 5.9e9)), float(rng.uniform(-89, 0)), float(rng.integers(0, 60)))


def test_the_transmitter_stays_muted_whatever_is_configured(rng: np.random.Generator) -> None:
    for _ in range(2000):
        order = steps.configure_steps(random_settings(rng), steps.PlutoOptions(xo_correction_hz=40_000_123))
        gains = [step.value for step in order if step.output and step.name == "hardwaregain"]
        assert gains == ["-89.75"]
        assert order[-1].name == "hardwaregain"
        assert not [step for step in order if step.name == "powerdown"]
        names = [step.name for step in order]
        assert names.index("xo_correction") < names.index("frequency")
        assert max(k for k, name in enumerate(names) if name == "sampling_frequency") < names.index("frequency")


def test_muting_zeroes_the_tones_before_the_gain() -> None:
    order = steps.mute_steps()
    assert [step.name for step in order] == ["scale"] * 4 + ["raw"] * 4 + ["hardwaregain"]
    assert {step.value for step in order[:8]} == {"0"}
    assert order[-1].value == "-89.75"


@pytest.mark.parametrize("rate", [65_000.0, 61.5e6, 1_000_000.5])
def test_rates_out_of_reach_are_refused(rate: float) -> None:
    with pytest.raises(RadioError, match="sample_rate_hz"):
        steps.configure_steps(RadioSettings(rate, 2.45e9), steps.PlutoOptions())


def test_every_rate_gets_filters_that_the_unit_takes(rng: np.random.Generator) -> None:
    for _ in range(200):
        rate = int(np.exp(rng.uniform(np.log(520_834), np.log(61.4e6))))
        fir = parse_fir(filter_text(rate))
        assert carries(fir, clock_chain(rate, fir))
        assert fir.decimation == division(rate)[0]


@pytest.mark.parametrize(("divide", "taps"), [(4, 128), (2, 128), (2, 64)])
def test_the_filter_passes_the_channel_and_stops_its_neighbours(divide: int, taps: int) -> None:
    h = design(divide, taps)
    assert h.tolist() == h[::-1].tolist()
    assert np.abs(h).max() <= 32767
    frequency = np.arange(0, 0.5, 1e-4)
    response = np.abs(np.exp(-2j * np.pi * np.outer(frequency, np.arange(taps))) @ h) / (1 << 16)
    width = 3.5 * divide / taps
    inside, outside = frequency * divide < CUTOFF - width / 2, frequency * divide > CUTOFF + width / 2
    assert np.abs(20 * np.log10(response[inside])).max() < 0.1
    assert 20 * np.log10(response[outside].max()) < -45


@pytest.mark.parametrize(
    ("step", "found", "wrong"),
    [
        (steps.gain_step(-20.1), "-20.250000 dB", False),
        (steps.gain_step(-20.0), "-10.000000 dB", True),
        (steps.phy("altvoltage1", True, "frequency", 2_450_000_000, 10.0), "2449999998", False),
        (steps.phy("altvoltage1", True, "frequency", 2_450_000_000, 10.0), "2400000000", True),
        (steps.phy("", False, "ensm_mode", "fdd", None), "fdd\n", False),
        (steps.phy("", False, "ensm_mode", "fdd", None), "alert", True),
        (steps.power_step(off=True), "", True),
        (steps.power_step(off=True), "nan", True),
        (steps.phy("", False, "x", "1", steps.NO_READBACK), "2", False),
    ],
)
def test_reading_back_tells_what_is_wrong(step: steps.Step, found: str, wrong: bool) -> None:
    assert (steps.mismatch(step, found) is not None) == wrong


@pytest.mark.parametrize("address", ["pluto:ip:192.168.2.1", "pluto:usb:1.2.5", "pluto:serial:1044", "sim:"])
def test_addresses(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize("address", ["pluto:", "pluto:ip:", "pluto:tcp:x", "pluto", "sim", "ip:192.168.2.1", ""])
def test_what_is_no_address_lists_the_forms(address: str) -> None:
    with pytest.raises(AddressError, match="pluto:serial:SERIAL"):
        open_radio(address, unit=0)


def test_failures_name_their_remedy() -> None:
    assert "refused" in explain(ConnectionRefusedError(111, "x"))
    assert "unreachable" in explain(OSError(113, "x"))
    assert "busy" in explain(OSError(16, "x"))
    assert "pip install pyadi-iio==0.0.21" in remedy(ImportError("no adi"))
    assert "apt-get install libiio0" in remedy(AttributeError("undefined symbol: iio_get_backends_count"))
    assert "pylibiio==0.25" in remedy(FileNotFoundError(2, "libiio version 1.x required, found version 0"))
