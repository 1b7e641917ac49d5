"""U-Boot variables: what the boot script keeps, and the script that sets them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.errors import FirmwareError
from testbed.firmware.uboot import RULES, check_variables, parse_environment, parse_script, render_script

QUICK = settings(max_examples=50, deadline=None)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
VALUES = st.from_regex(r"(?:[!-~](?:[ -~]{0,20}[!-~])?)?", fullmatch=True)


@QUICK
@given(st.dictionaries(NAMES, VALUES, max_size=12))
def test_a_script_is_read_back(values: dict[str, str]) -> None:
    assert parse_script(render_script(values)) == values


@QUICK
@given(st.dictionaries(NAMES, VALUES.filter(bool), max_size=12))
def test_an_environment_is_read_as_printed(values: dict[str, str]) -> None:
    assert parse_environment("".join(f"{name}={value}\n" for name, value in values.items())) == values


@pytest.mark.parametrize("value", ["a\nqspiboot x", " x", "x ", "é", "a\x00b", "a\rb"])
def test_a_value_that_would_start_a_second_line_is_refused(value: str) -> None:
    with pytest.raises(FirmwareError, match="mode"):
        render_script({"mode": value})


@pytest.mark.parametrize("name", ["", "a b", "a=b", "1a", "a\nb"])
def test_names_are_names(name: str) -> None:
    with pytest.raises(FirmwareError, match="cannot name"):
        render_script({name: "1"})


def test_a_variable_given_twice_is_refused() -> None:
    with pytest.raises(FirmwareError, match="mode is given twice"):
        parse_script("# comment\n\nmode 1r1t\nmode 2r2t\n")


LEGAL = {
    "attr_name": "compatible",
    "attr_val": "ad9364",
    "mode": "1r1t",
    "refclk_source": "external",
    "ad936x_ext_refclk": "<40000159>",
    "ad936x_ext_refclk_override": "<40000000>",
    "ad936x_skip_ext_refclk": "1",
    "cs_gpio": "54",
    "maxcpus": "2",
    "iio_max_block_size": "67108864",
}


def test_the_whole_table_is_accepted() -> None:
    assert set(LEGAL) == set(RULES)
    check_variables(LEGAL, "C")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attr_name", "model"),
        ("attr_val", "ad9363"),
        ("attr_val", '"ad9361"'),
        ("mode", "2x2"),
        ("refclk_source", "gps"),
        ("ad936x_ext_refclk", "40000000"),
        ("ad936x_ext_refclk_override", "<9999999>"),
        ("ad936x_ext_refclk_override", "<80000001>"),
        ("ad936x_skip_ext_refclk", "0"),
        ("cs_gpio", "118"),
        ("maxcpus", "4"),
        ("iio_max_block_size", "1024"),
        ("iio_max_block_size", "٣٣٣٣٣٣٣"),
    ],
)
def test_values_outside_the_table_are_refused(name: str, value: str) -> None:
    with pytest.raises(FirmwareError, match=rf"uboot\.{name} = .* must be "):
        check_variables(LEGAL | {name: value}, "C")


@pytest.mark.parametrize("name", ["compatible", "ethaddr", "fit_size", "qspiboot", "ipaddr", "bootcmd"])
def test_variables_that_are_not_ours_are_refused_with_the_reason(name: str) -> None:
    with pytest.raises(FirmwareError, match=rf"uboot\.{name}[: ]"):
        check_variables({name: "1"}, "C")


@pytest.mark.parametrize(
    ("values", "revision", "message"),
    [
        ({"attr_name": "compatible"}, "C", "give both, or none"),
        ({"attr_val": "ad9364"}, "C", "give both, or none"),
        ({"attr_name": "compatible", "attr_val": "ad9361"}, "B", "reset to ad9363a on revision B"),
        ({"attr_name": "compatible", "attr_val": "ad9361"}, "D", "reset to ad9363a on revision D"),
        ({"mode": "2r2t"}, "B", "needs revision C"),
        ({"attr_name": "compatible", "attr_val": "ad9364", "mode": "2r2t"}, "C", "other than ad9364"),
        ({"refclk_source": "external"}, "A", "no effect on revision A"),
    ],
)
def test_combinations_that_the_boot_script_undoes_are_refused(
    values: dict[str, str], revision: str, message: str
) -> None:
    with pytest.raises(FirmwareError, match=message):
        check_variables(values, revision)
