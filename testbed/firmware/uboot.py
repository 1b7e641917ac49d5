"""U-Boot variables of a Pluto that this project sets, and the script that `fw_setenv -s` reads.

A variable that the boot script does not understand is reset by it, or stops the board from booting. So only those
below are written; identity and boot variables (`ethaddr`, `fit_size`, `qspiboot`, …) never are, and a whole dump of one
board is never loaded into another.

Source: `adi_loadvals_pluto` in the default environment of the board's U-Boot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from testbed.errors import FirmwareError
from testbed.firmware.config_txt import VARIABLES


class Rule(NamedTuple):
    """What a variable may be: a pattern for the whole value, in words, and limits of the number in it."""

    pattern: str
    words: str
    low: int = 0
    high: int = 0


_REFERENCE_CLOCK: Final = Rule(r"<(\d+)>", "a clock in Hz from 10 to 80 MHz in <…>, e.g. <40000000>", 10**7, 8 * 10**7)

RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "attr_name": Rule("compatible", "compatible"),
        "attr_val": Rule("ad9363a|ad9364|ad9361", "ad9363a, ad9364 or ad9361"),
        "mode": Rule("1r1t|2r2t", "1r1t or 2r2t"),
        "refclk_source": Rule("internal|external", "internal or external"),
        "ad936x_ext_refclk": _REFERENCE_CLOCK,
        "ad936x_ext_refclk_override": _REFERENCE_CLOCK,
        "ad936x_skip_ext_refclk": Rule("1", "1"),
        "cs_gpio": Rule(r"(\d+)", "a pin from 0 to 117", 0, 117),
        "maxcpus": Rule("[12]", "1 or 2"),
        "iio_max_block_size": Rule(r"(\d+)", "bytes from 1 MiB to 256 MiB", 2**20, 2**28),
    }
)
_CONSEQUENCE: Final = MappingProxyType(
    {
        "compatible": "is not read any more: set attr_name = 'compatible' and attr_val",
        "ethaddr": "belongs to one board alone and is never written",
        "fit_size": "is written by a firmware update alone",
        "qspiboot": "decides whether the board boots and is never written",
    }
)


def check_variables(values: Mapping[str, str], revision: str) -> None:
    """Whether the boot script of a board of this revision keeps these variables as they are.

    Args:
        values: variable → value, of those in `RULES`.
        revision: of the board, "A" … "D".

    Raises:
        FirmwareError: naming variable, value and what is allowed.
    """
    for name, value in values.items():
        _check_variable(name, value)
    _check_together(values, revision)


def render_script(values: Mapping[str, str]) -> str:
    """One `name value` a line, as `fw_setenv -s` of U-Boot reads it; a name alone deletes the variable.

    Raises:
        FirmwareError: a name or value that a line cannot hold.
    """
    for name, value in values.items():
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
            raise FirmwareError(f"{name!r} cannot name a U-Boot variable: use letters, digits and _")
        if not re.fullmatch(r"(?:[!-~](?:[ -~]*[!-~])?)?", value):
            raise FirmwareError(f"{name} = {value!r} must be printable ASCII on one line, without outer spaces")
    return "".join(f"{name} {value}".rstrip() + "\n" for name, value in values.items())


def parse_script(text: str) -> dict[str, str]:
    """Variable → value of a script; comments and empty lines are skipped.

    Raises:
        FirmwareError: a variable given twice.
    """
    values: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, _, value = line.strip().partition(" ")
        if name in values:
            raise FirmwareError(f"{name} is given twice in the script")
        values[name] = value.strip()
    return values


def parse_environment(text: str) -> dict[str, str]:
    """Variable → value of what `fw_printenv` prints: one `name=value` a line."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name: value for name, _, value in pairs}


def _check_variable(name: str, value: str) -> None:
    if name in _CONSEQUENCE:
        raise FirmwareError(f"uboot.{name} {_CONSEQUENCE[name]}")
    if name in VARIABLES:
        raise FirmwareError(f"uboot.{name} follows from the tables network, wlan and system: set it there")
    if name not in RULES:
        raise FirmwareError(f"uboot.{name}: unknown variable; known are {', '.join(RULES)}")
    rule = RULES[name]
    match = re.fullmatch(rule.pattern, value, re.ASCII)
    if not match or (match.groups() and not rule.low <= int(match[1]) <= rule.high):
        raise FirmwareError(f"uboot.{name} = {value!r} must be {rule.words}")


def _check_together(values: Mapping[str, str], revision: str) -> None:
    chip = values.get("attr_val")
    if ("attr_name" in values) != (chip is not None):
        raise FirmwareError("uboot.attr_name and uboot.attr_val work together only: give both, or none")
    if chip == "ad9361" and revision != "C":
        raise FirmwareError(f"uboot.attr_val = 'ad9361' is reset to ad9363a on revision {revision}: only C keeps it")
    if values.get("mode") == "2r2t" and (revision not in "CD" or chip == "ad9364"):
        raise FirmwareError("uboot.mode = '2r2t' needs revision C or later, and a chip other than ad9364")
    if values.get("refclk_source") == "external" and revision not in "CD":
        raise FirmwareError(f"uboot.refclk_source = 'external' has no effect on revision {revision}: C or later has it")
