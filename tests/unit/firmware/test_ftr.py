"""Filter files: what is written is read back, also by the driver, and what a driver gets wrong is refused."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.errors import FirmwareError
from testbed.firmware.ftr import Filter, Side, parse_filter, render_filter
from tests.reference.firmware_driver import load

QUICK = settings(max_examples=50, deadline=None)
INT16 = st.integers(-32768, 32767)


@st.composite
def chains(draw: st.DrawFn, factor: int, count: int) -> tuple[int, ...]:
    """Rates whose ratios the device has, with enough clocks for `count` taps."""
    ratios = [draw(st.sampled_from(choice)) for choice in ((1, 2, 3), (1, 2), (1, 2))]
    half = ratios[0] * ratios[1] * ratios[2]
    least = -(-25_000_000 // (half * factor))
    sample = draw(st.integers(least, least * 6))
    converter = sample * factor * half
    room = 16 * (converter // 2 // sample)
    plls = [converter * 2**n for n in range(1, 7) if 715_000_000 <= converter * 2**n <= 1_430_000_000]
    if not plls or converter > 320_000_000 or count > room:
        return ()
    stages = [converter]
    for ratio in ratios:
        stages.append(stages[-1] // ratio)
    return (plls[0], *stages, sample)


@st.composite
def filters(draw: st.DrawFn) -> Filter:
    count = draw(st.sampled_from(range(16, 129, 16)))
    factor = draw(st.sampled_from((1, 2, 4) if count <= 64 else (2, 4)))
    rates = draw(chains(factor, count)) or None
    sides = []
    for gains, top in (((0, -6), 40_000_000), ((-12, -6, 0, 6), 56_000_000)):
        taps = draw(st.lists(INT16, min_size=count, max_size=count))
        bandwidth = draw(st.none() | st.integers(200_000, top))
        sides.append(Side(tuple(taps), draw(st.sampled_from(gains)), factor, draw(st.integers(1, 3)), rates, bandwidth))
    return Filter(sides[0], sides[1], tuple(draw(st.lists(st.sampled_from(["note", "TX 3 GAIN 0"]), max_size=2))))


@QUICK
@given(filters(), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "\n", "\n\n"]))
def test_written_and_read_back_is_the_same(design: Filter, ending: str, tail: str) -> None:
    again = parse_filter((render_filter(design) + tail).replace("\n", ending))
    assert again == design
    assert again.comments == design.comments


@QUICK
@given(filters())
def test_the_driver_reads_the_same(design: Filter) -> None:
    loaded = load(render_filter(design))
    for side, header, taps in (
        (design.transmit, loaded.transmit, loaded.transmit_taps),
        (design.receive, loaded.receive, loaded.receive_taps),
    ):
        assert header == (side.channels, side.gain_db, side.factor)
        assert tuple(taps) == side.taps
    assert loaded.rates.get("TX") == design.transmit.rates_hz
    assert loaded.bandwidths.get("RX") == design.receive.bandwidth_hz


TAPS = "".join(f"{n},{-n}\n" for n in range(16))
TEXT = "TX 3 GAIN 0 INT 4\nRX 3 GAIN -6 DEC 4\n" + TAPS
RATES = "RTX 983040000 122880000 61440000 30720000 15360000 3840000\n"
BOTH = RATES + RATES.replace("RTX", "RRX")


def with_rates(*replacements: tuple[str, str]) -> str:
    rates = BOTH
    for old, new in replacements:
        rates = rates.replace(old, new)
    return TEXT.replace("0,0\n", rates + "0,0\n", 1)


@pytest.mark.parametrize("between", ["\n", "# note\n", "RTX 1 2 3 4 5 6\n", "5,5\n"])
def test_headers_must_be_adjacent_because_the_driver_loses_the_transmit_filter(between: str) -> None:
    text = TEXT.replace("RX 3", between + "RX 3")
    if not between.startswith("#"):
        assert load(text).transmit == (-1,)
    with pytest.raises(FirmwareError, match=r"line 2: .* RX … DEC .*right after"):
        parse_filter(text)


def test_either_order_of_headers_and_one_number_a_line_are_read() -> None:
    text = "RX 3 GAIN -6 DEC 4\nTX 3 GAIN 0 INT 4\n" + "".join(f"{n}\n" for n in range(16))
    design = parse_filter(text)
    assert design.transmit.taps == design.receive.taps == tuple(range(16))
    assert load(text).transmit_taps == load(text).receive_taps == list(range(16))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the end of the file"),
        ("hello", "line 1: 'hello'"),
        (TEXT.replace("TX 3 GAIN 0 INT 4\n", ""), "TX … INT"),
        (TEXT.replace("RX 3 GAIN -6 DEC 4\n", "TX 3 GAIN 0 INT 4\n"), "line 2: .*RX … DEC"),
        (TEXT.replace("INT 4", "DEC 4"), "line 1: "),
        (TEXT.replace("GAIN 0", "GAIN 3"), "TX GAIN = 3 must be one of 0, -6"),
        (TEXT.replace("GAIN -6", "GAIN -18"), "RX GAIN = -18 must be one of"),
        (TEXT.replace("TX 3", "TX 4"), "TX channels = 4"),
        (TEXT.replace("DEC 4", "DEC 3"), "RX DEC = 3"),
        (TEXT + "16,16\n", "number of TX taps = 17 must be one of 16, 32"),
        (TEXT + "0,0\n" * 128, "number of TX taps = 144"),
        (TEXT.replace("15,-15", "99999,0"), "TX tap 99999 does not fit 16 bits"),
        (TEXT.replace("15,-15", "0,-32769"), "RX tap -32769 does not fit"),
        (TEXT.replace("15,-15", "1.5,2"), "line 18: '1.5,2' where a tap"),
        (TEXT.replace("15,-15", "1,2,3"), "line 18: "),
        (TEXT.replace("15,-15", "15 ,-15"), "line 18: "),
        (TEXT.replace("15,-15", "# late"), "line 18: "),
        (TEXT.replace("INT 4", "INT 1") + "0,0\n" * 64, "room for 64"),
        ("#" + "x" * 4096 + "\n" + TEXT, r"\d+ bytes; the driver reads 4096"),
        (TEXT.replace("0,0\n", RATES + "0,0\n", 1), "RTX and RRX count together"),
        (with_rates(("RTX 9", "RTX 9 9")), "line 3: "),
        (with_rates((BOTH, BOTH + RATES)), "line 5: .* not there already"),
        (with_rates(("RRX 983040000", "RRX 491520000")), "RRX PLL = 491520000 must be from 715000000"),
        (with_rates(("983040000 122880000", "983040000 245760000")), "245760000 to 61440000 is not a ratio of 1 or 2"),
        (with_rates(("15360000 3840000", "15360000 7680000")), "15360000 to 7680000 is not a ratio of 4"),
        (with_rates(("983040000", "1000000000")), "1000000000 to 122880000 is not a ratio"),
        (with_rates((BOTH, BOTH + "BWTX 1000\n")), "BWTX = 1000 must be from 200000 to 40000000"),
    ],
)  # fmt: skip
def test_what_a_driver_would_refuse_or_misread_is_refused(text: str, message: str) -> None:
    with pytest.raises(FirmwareError, match=message):
        parse_filter(text)


def test_the_driver_would_have_cut_a_wide_tap_silently() -> None:
    assert load(TEXT.replace("15,-15", "99999,0")).transmit_taps[15] == -31073


SIDE = Side((0,) * 64, 0, 1)


@pytest.mark.parametrize(
    ("transmit", "receive", "message"),
    [
        # 64 taps want 4 clocks of half the ADC a sample; a chain of ÷2 in all offers one, ÷4 offers two.
        ((800_000_000, 100_000_000, 50_000_000, 50_000_000, 50_000_000, 50_000_000), None, "computes 16 a sample"),
        ((800_000_000, 100_000_000, 50_000_000, 25_000_000, 25_000_000, 25_000_000), None, "computes 32 a sample"),
        ((800_000_000, 100_000_000, 50_000_000, 25_000_000, 12_500_000, 12_500_000), None, ""),
        (
            (800_000_000, 50_000_000, 25_000_000, 25_000_000, 12_500_000, 12_500_000),
            (800_000_000, 100_000_000, 50_000_000, 25_000_000, 12_500_000, 12_500_000),
            "",
        ),
        (
            (800_000_000, 25_000_000, 12_500_000, 12_500_000, 12_500_000, 12_500_000),
            (800_000_000, 100_000_000, 50_000_000, 25_000_000, 12_500_000, 12_500_000),
            "DAC at 25000000 Hz must run at",
        ),
        (
            (800_000_000, 100_000_000, 50_000_000, 25_000_000, 12_500_000, 12_500_000),
            (800_000_000, 100_000_000, 50_000_000, 25_000_000, 25_000_000, 25_000_000),
            "must share PLL and sample rate",
        ),
        (
            (900_000_000, 112_500_000, 37_500_000, 18_750_000, 9_375_000, 9_375_000),
            (900_000_000, 225_000_000, 112_500_000, 56_250_000, 28_125_000, 28_125_000),
            "must share PLL and sample rate",
        ),
    ],
)
def test_both_chains_must_fit_together_and_leave_time_for_the_taps(
    transmit: tuple[int, ...], receive: tuple[int, ...] | None, message: str
) -> None:
    sides = (replace(SIDE, rates_hz=transmit), replace(SIDE, rates_hz=receive or transmit))
    if not message:
        assert Filter(*sides).transmit.rates_hz == transmit
        return
    with pytest.raises(FirmwareError, match=message):
        Filter(*sides)


def test_third_band_stages_are_known() -> None:
    third = (720_000_000, 90_000_000, 30_000_000, 15_000_000, 7_500_000, 7_500_000)
    assert Filter(replace(SIDE, rates_hz=third), replace(SIDE, rates_hz=third))
    with pytest.raises(FirmwareError, match="22500000 to 7500000 is not a ratio of 1 or 2"):
        Filter(*[replace(SIDE, rates_hz=(720_000_000, 90_000_000, 45_000_000, 22_500_000, 7_500_000, 7_500_000))] * 2)


@QUICK
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
def test_any_text_is_refused_without_another_error(text: str) -> None:
    with pytest.raises(FirmwareError):
        parse_filter(text)


@QUICK
@given(st.data())
def test_a_damaged_file_is_refused_or_means_the_same_to_the_driver(data: st.DataObject) -> None:
    text = with_rates()
    at = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:at] + data.draw(st.sampled_from(["", "\n", " ", "1", "-", "x", "#", ","])) + text[at + 1 :]
    try:
        design = parse_filter(damaged)
    except FirmwareError:
        return
    loaded = load(damaged)
    assert loaded.transmit == (design.transmit.channels, design.transmit.gain_db, design.transmit.factor)
    assert (tuple(loaded.transmit_taps), tuple(loaded.receive_taps)) == (design.transmit.taps, design.receive.taps)


def test_comments_are_lines_of_ascii() -> None:
    design = parse_filter(TEXT)
    for comment in ("two\nlines", "é"):
        with pytest.raises(FirmwareError, match="comments"):
            render_filter(replace(design, comments=(comment,)))
    assert re.match(r"# why\nTX", render_filter(replace(design, comments=("why",))))
