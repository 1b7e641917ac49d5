"""Attributes: ranges, files that channels share, what one setting does to another."""

from __future__ import annotations

import itertools
import re
import struct
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.virtual_pluto.attributes import context_attributes, rules, unruled
from testbed.virtual_pluto.description import context_xml, devices
from testbed.virtual_pluto.fir import parse_fir
from testbed.virtual_pluto.rates import asked_chain, carries, clock_chain
from tests.unit.virtual_pluto.wires import ask, set_value, units, value

RX, TX = "ad9361-phy INPUT voltage0", "ad9361-phy OUTPUT voltage0"
RX_LO, TX_LO = "ad9361-phy OUTPUT RX_LO", "ad9361-phy OUTPUT TX_LO"


def fir_text(taps: int = 128, divide: int = 4, between: str = "") -> str:
    return f"RX 3 GAIN -6 DEC {divide}\n{between}TX 3 GAIN 0 INT {divide}\n" + "100,200\n" * taps


def test_every_attribute_that_is_described_has_a_rule() -> None:
    assert unruled() == set()


def test_the_description_is_well_formed_and_complete() -> None:
    (unit,) = units(1)
    root = ElementTree.fromstring(context_xml("a <b>", context_attributes(unit)))
    assert root.get("description") == "a <b>"
    assert [one.get("name") for one in root.iter("device")] == [device.name for device in devices()]
    told = {(c.get("id"), c.get("type")) for c in root.find("device").iter("channel")}  # type: ignore[union-attr]
    assert {("voltage0", "input"), ("voltage0", "output"), ("altvoltage1", "output"), ("out", "input")} <= told
    formats = [scan.get("format") for scan in root.iter("scan-element")]
    assert formats == ["le:S16/16>>0", "le:S16/16>>0", "le:S12/16>>0", "le:S12/16>>0"]


def test_all_attributes_of_a_place_come_in_one_answer() -> None:
    (unit,) = units(1)
    answer = ask(unit, b"READ ad9361-phy OUTPUT TX_LO \r\n")
    size, _, data = answer.partition(b"\n")
    data, values = data[: int(size)], []
    while data:
        (length,) = struct.unpack(">i", data[:4])
        taken = max(length, 0)
        values.append(data[4 : 4 + taken].rstrip(b"\0").decode() if length > 0 else str(length))
        data = data[4 + taken + -taken % 4 :]
    assert values == ["0", "-13", "0", "0 0", "-13", "2450000000", "[46875001 1 6000000000]", "0"]


@pytest.mark.parametrize(
    ("where", "low", "high", "step"),
    [
        (f"{RX_LO} frequency", 70_000_000, 6_000_000_000, 1),
        (f"{TX_LO} frequency", 46_875_001, 6_000_000_000, 1),
        (f"{RX} sampling_frequency", 2_083_333, 61_440_000, 1),
        (f"{RX} rf_bandwidth", 200_000, 56_000_000, 1),
        (f"{TX} rf_bandwidth", 200_000, 40_000_000, 1),
        (f"{TX} hardwaregain", -89.75, 0, 0.25),
        (f"{RX} hardwaregain", -3, 71, 1),
        ("ad9361-phy xo_correction", 39_992_000, 40_008_000, 1),
    ],
)
def test_the_range_that_is_told_is_the_range_that_is_taken(where: str, low: float, high: float, step: float) -> None:
    (unit,) = units(1)
    told = value(unit, f"{where}_available")
    assert [float(number) for number in told.strip("[]").split()] == [low, step, high]
    for good in (low, high):
        assert set_value(unit, where, str(good)) > 0
        assert float(value(unit, where).removesuffix(" dB")) == good
    for bad in (low - step, high + step):
        assert set_value(unit, where, str(bad)) == -22
    assert float(value(unit, where).removesuffix(" dB")) == high


@pytest.mark.parametrize("text", ["", "abc", "2.4e9", "0x10", "1 2", "nan", "9" * 30, "\u00e9", "-"])
def test_what_is_no_number_is_invalid(text: str) -> None:
    (unit,) = units(1)
    for where in (f"{RX_LO} frequency", f"{TX} hardwaregain", f"{RX} sampling_frequency"):
        assert set_value(unit, where, text) == -22


def test_channels_share_the_sample_rate() -> None:
    (unit,) = units(1)
    assert set_value(unit, f"{TX} sampling_frequency", "6000000") > 0
    assert value(unit, f"{RX} sampling_frequency") == "6000000"
    assert value(unit, "cf-ad9361-lpc INPUT voltage1 sampling_frequency") == "6000000"
    assert "RXSAMP:6000000" in value(unit, "ad9361-phy rx_path_rates")


def test_receive_gain_is_set_in_manual_mode_only() -> None:
    (unit,) = units(1)
    assert set_value(unit, f"{RX} gain_control_mode", "slow_attack") > 0
    assert set_value(unit, f"{RX} hardwaregain", "20") == -95
    assert set_value(unit, f"{RX} gain_control_mode", "bogus") == -22
    assert set_value(unit, f"{RX} gain_control_mode", "manual") > 0
    assert set_value(unit, f"{RX} hardwaregain", "20") > 0
    assert value(unit, f"{RX} hardwaregain") == "20.000000 dB"


def test_gain_range_follows_the_band() -> None:
    (unit,) = units(1)
    for frequency, span in (("900000000", "[-1 1 73]"), ("5800000000", "[-10 1 62]")):
        assert set_value(unit, f"{RX_LO} frequency", frequency) > 0
        assert value(unit, f"{RX} hardwaregain_available") == span


def test_low_rates_need_the_filter_and_an_eighth_needs_the_fabric() -> None:
    (unit,) = units(1)
    assert set_value(unit, f"{RX} sampling_frequency", "1000000") == -22
    assert set_value(unit, "ad9361-phy INPUT out voltage_filter_fir_en", "1") == -22
    assert set_value(unit, "ad9361-phy filter_fir_config", fir_text()) > 0
    assert value(unit, "ad9361-phy filter_fir_config") == "FIR Rx: 128,4 Tx: 128,4"
    assert set_value(unit, "ad9361-phy INPUT out voltage_filter_fir_en", "1") > 0
    assert set_value(unit, f"{RX} sampling_frequency", "1000000") > 0
    assert set_value(unit, "ad9361-phy INPUT out voltage_filter_fir_en", "0") == -22
    assert value(unit, "cf-ad9361-lpc INPUT voltage0 sampling_frequency_available") == "1000000 125000"
    assert set_value(unit, "cf-ad9361-lpc INPUT voltage0 sampling_frequency", "125000") > 0
    assert unit.state.receive_rate_hz == 125_000
    assert set_value(unit, "cf-ad9361-lpc INPUT voltage0 sampling_frequency", "999") == -22


@pytest.mark.parametrize(
    "text",
    [
        fir_text(17),
        fir_text(144),
        fir_text(between="\n"),
        fir_text(between="RTX 1 2 3 4 5 6\n"),
        "TX 3 GAIN 0 INT 2\n" + "1,1\n" * 16,
        fir_text(128, 1),
        fir_text() + "junk\n",
        "#" * 5000 + "\n" + fir_text(),
    ],
)
def test_filters_that_the_driver_refuses_or_loses_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_fir(text)


def test_a_filter_with_rates_sets_the_rate() -> None:
    (unit,) = units(1)
    rates = "RRX 983040000 122880000 61440000 30720000 30720000 7680000\n"
    text = fir_text() + rates + rates.replace("RRX", "RTX") + "BWRX 5000000\n"
    assert set_value(unit, "ad9361-phy filter_fir_config", text) > 0
    assert set_value(unit, "ad9361-phy INPUT out voltage_filter_fir_en", "1") > 0
    assert value(unit, f"{RX} sampling_frequency") == "7680000"
    assert value(unit, f"{RX} rf_bandwidth") == "5000000"
    path = "BBPLL:983040000 ADC:122880000 R2:61440000 R1:30720000 RF:30720000 RXSAMP:7680000"
    assert value(unit, "ad9361-phy rx_path_rates") == path
    assert set_value(unit, f"{RX} sampling_frequency", "7680000") > 0  # the driver chooses its clocks anew
    assert value(unit, "ad9361-phy rx_path_rates") != path


@pytest.mark.parametrize(
    "rates",
    [
        "983040000 245760000 122880000 61440000 30720000 15360000",  # divides by 2, not by 4
        "983040000 245760000 49152000 24576000 24576000 6144000",  # no stage divides by 5
        "983040000 245760000 122880000 61440000 30720000 0",
    ],
)
def test_rates_of_a_filter_that_no_device_has_are_not_taken_as_they_are(rates: str) -> None:
    assert asked_chain(parse_fir(f"{fir_text()}RTX {rates}\nRRX {rates}\n")) is None


@given(st.integers(2_083_333, 61_440_000))
def test_the_clock_chain_divides_evenly(rate: int) -> None:
    chain = clock_chain(rate, None)
    for stages in (chain.receive, chain.transmit):
        assert stages[-1] == rate
        assert 25_000_000 - 64 <= stages[0] <= 336_000_000
        assert all(left % right == 0 and left // right <= 4 for left, right in itertools.pairwise(stages))


@given(st.integers(520_834, 61_440_000))
def test_the_usual_filters_fit_at_every_rate(rate: int) -> None:
    divide, taps = (4, 128) if rate <= 20_000_000 else (2, 128) if rate <= 40_000_000 else (2, 64)
    fir = parse_fir(fir_text(taps, divide))
    assert carries(fir, clock_chain(rate, fir))


def test_the_status_register_is_cleared_by_writing_ones() -> None:
    (unit,) = units(1)
    place = "cf-ad9361-lpc DEBUG direct_reg_access"
    unit.flag("iio:device3", 4)
    set_value(unit, place, "0x80000088")
    assert value(unit, place) == "0x4"
    set_value(unit, place, "0x80000088 0x4")
    assert value(unit, place) == "0x0"
    assert set_value(unit, place, "rubbish") == -22


def test_fastlock_profiles_bring_back_a_frequency() -> None:
    (unit,) = units(1)
    assert set_value(unit, f"{RX_LO} fastlock_recall", "3") == -22
    set_value(unit, f"{RX_LO} frequency", "900000000")
    assert set_value(unit, f"{RX_LO} fastlock_store", "3") > 0
    set_value(unit, f"{RX_LO} frequency", "2000000000")
    assert set_value(unit, f"{RX_LO} fastlock_recall", "3") > 0
    assert value(unit, f"{RX_LO} frequency") == "900000000"


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(rules())), st.text(max_size=30))
def test_no_text_breaks_an_attribute(key: tuple[str, str], text: str) -> None:
    (unit,) = units(1)
    device, file = key
    words = {
        (one.id, found): f"{one.id} {'OUTPUT' if c.output else 'INPUT'} {c.id} {name}"
        for one in devices()
        for c in one.channels
        for name, found in c.files.items()
    }
    place = words.get(key, f"{device} {re.sub('/', ' ', file).replace('debug', 'DEBUG').replace('buffer', 'BUFFER')}")
    encoded = text.encode("utf-8", "replace")
    assert re.fullmatch(rb"-?\d+\n", ask(unit, f"WRITE {place} {len(encoded)}\r\n".encode() + encoded))
    assert value(unit, place) != ""
