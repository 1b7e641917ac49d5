"""`config.txt` of a Pluto: the file on its mass-storage drive that the board turns into U-Boot variables.

The board reads it with sed and hands what it finds to `eval` in a root shell: `hostname = $(reboot)` runs reboot.
A key that is missing or empty deletes its variable, so a partial file wipes the rest. Hence two rules here: a value
consists of characters that no shell and no sed treats specially, and a file always holds every key.

Source: `board/pluto/update.sh` and `S40network` of the PlutoSDR firmware.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from testbed.errors import FirmwareError

SECTIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "NETWORK": ("hostname", "ipaddr", "ipaddr_host", "netmask"),
        "WLAN": ("ssid_wlan", "pwd_wlan", "ipaddr_wlan"),
        "USB_ETHERNET": ("ipaddr_eth", "netmask_eth"),
        "SYSTEM": ("xo_correction", "udc_handle_suspend", "usb_ethernet_mode"),
        "ACTIONS": ("diagnostic_report", "dfu", "reset", "calibrate"),
    }
)
ACTIONS: Final = SECTIONS["ACTIONS"]
KEYS: Final = tuple(key for keys in SECTIONS.values() for key in keys)
VARIABLES: Final = tuple(key for key in KEYS if key not in ACTIONS)
LONGEST: Final = 128  # characters of a value; the longest legal one, a passphrase, has 63

# One space between words survives the word splitting around `eval`; two become one.
_SAFE: Final = re.compile(r"(?:[A-Za-z0-9._:/+,@%-]+(?: [A-Za-z0-9._:/+,@%-]+)*)?")


def check_value(key: str, value: str) -> None:
    """Whether `value` reaches the board's variable as it is.

    Raises:
        FirmwareError: unknown key, a character that a shell or sed would act on, outer or double spaces, too long.
    """
    if key not in KEYS:
        raise FirmwareError(f"{key} is no key of config.txt; known keys are {', '.join(KEYS)}")
    if not _SAFE.fullmatch(value):
        raise FirmwareError(
            f"{key} = {value!r} would be evaluated by a root shell on the board: use letters, digits, "
            "any of . _ : / + , @ % - and single spaces between words"
        )
    if len(value) > LONGEST:
        raise FirmwareError(f"{key} has {len(value)} characters; at most {LONGEST} are allowed")


def render(values: Mapping[str, str], title: str = "") -> bytes:
    """The file with every key of every section, lines ended by CR LF, as the board writes it itself.

    Args:
        values: one value for each of `KEYS`; an empty one deletes the variable.
        title: one line of comment.

    Raises:
        FirmwareError: a key missing, unknown, or with a value that would not survive.
    """
    _check_complete(values)
    lines = [f"# {title}", ""] if _is_title(title) else []
    for section, keys in SECTIONS.items():
        lines += [f"[{section}]", *(f"{key} = {values[key]}" for key in keys), ""]
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def parse(data: bytes) -> dict[str, str]:
    """Key → value of a complete, safe file; `render` and `parse` are inverses.

    Raises:
        FirmwareError: unknown, repeated, misplaced or missing key, malformed line, unsafe value; with its line.
    """
    values: dict[str, str] = {}
    section = ""
    for number, line in _meaningful_lines(data):
        if line.startswith("["):
            section = _section(number, line)
            continue
        key, value = _pair(number, line)
        if key not in SECTIONS.get(section, ()):
            raise FirmwareError(f"line {number}: {key} does not belong into [{section}] of config.txt")
        if key in values:
            raise FirmwareError(f"line {number}: {key} is given twice")
        values[key] = value
    _check_complete(values)
    return values


def read_values(data: bytes) -> dict[str, str]:
    """Key → value of the known keys in a board's own file, whatever else a firmware version wrote into it."""
    pairs = (line.partition("=") for _, line in _meaningful_lines(data) if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs if key.strip() in KEYS}


def _check_complete(values: Mapping[str, str]) -> None:
    for key, value in values.items():
        check_value(key, value)
    missing = [key for key in KEYS if key not in values]
    if missing:
        raise FirmwareError(f"config.txt without {', '.join(missing)} would delete these variables: give every key")


def _is_title(title: str) -> bool:
    if not re.fullmatch(r"[ -~]*", title):
        raise FirmwareError(f"title {title!r} must be one line of printable ASCII")
    return bool(title)


def _meaningful_lines(data: bytes) -> list[tuple[int, str]]:
    """(number from 1, stripped text) of the lines that are neither empty nor comments."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        raise FirmwareError(f"config.txt: byte {error.start} is not ASCII") from error
    lines = enumerate((line.strip(" \t\r") for line in text.split("\n")), start=1)
    return [(number, line) for number, line in lines if line and not line.startswith(("#", ";"))]


def _section(number: int, line: str) -> str:
    name = line[1:-1]
    if line != f"[{name}]" or name not in SECTIONS:
        raise FirmwareError(f"line {number}: {line!r} is no section; known are {', '.join(SECTIONS)}")
    return name


def _pair(number: int, line: str) -> tuple[str, str]:
    key, equals, value = (part.strip(" \t") for part in line.partition("="))
    if not equals:
        raise FirmwareError(f"line {number}: {line!r} is neither a section nor `key = value`")
    return key, value
