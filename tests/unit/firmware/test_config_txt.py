"""config.txt: what is written is what the board's shell ends up with, and what would not survive is refused."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.errors import FirmwareError
from testbed.firmware.config_txt import ACTIONS, KEYS, SECTIONS, check_value, parse, read_values, render
from tests.reference.firmware_shell import evaluated

QUICK = settings(max_examples=50, deadline=None)
WORD = st.text("abcXYZ0189._:/+,@%-", min_size=1, max_size=12)
SAFE = st.lists(WORD, max_size=4).map(" ".join)
COMPLETE = st.fixed_dictionaries(dict.fromkeys(KEYS, SAFE))
PLAIN = dict.fromkeys(KEYS, "7")
SHELLS = [("bash", "--posix"), ("busybox", "sh")]  # busybox is what boards have


@QUICK
@given(COMPLETE)
def test_written_and_read_back_is_the_same(values: dict[str, str]) -> None:
    assert parse(render(values)) == values
    assert read_values(render(values, "a title = with [signs]")) == values


@QUICK
@given(COMPLETE)
def test_lines_end_in_cr_lf_and_sections_keep_their_order(values: dict[str, str]) -> None:
    lines = render(values).decode("ascii").split("\r\n")
    assert not any("\n" in line or "\r" in line for line in lines)
    assert [line[1:-1] for line in lines if line.startswith("[")] == list(SECTIONS)
    assert [line.split(" = ")[0] for line in lines if " = " in line] == list(KEYS)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@settings(max_examples=15, deadline=None)
@given(values=COMPLETE)
def test_the_shell_of_a_board_ends_up_with_the_values(shell: tuple[str, ...], values: dict[str, str]) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"{shell[0]} is not installed")
    with tempfile.TemporaryDirectory() as folder:
        assert evaluated(render(values, "title"), Path(folder), shell) == values


# Each of these either runs something or arrives changed: the shell that shows it is the reason to refuse it.
HOSTILE = [
    "$(touch ran)", "`touch ran`", "x;touch ran", "x#y", "$HOME", "${HOME}", "a\\$b", 'a"b', "a'b", "a\\",
    "two  spaces", "a = b", "x\ttab", '"; touch ran; "', "a;b", "x\r\nreset = 1", "x\nreset = 1", " outer", "outer ",
]  # fmt: skip
# These happen to arrive in the shells at hand; they are refused all the same.
ODD = ["a\\b", "é", "\x00", "a\x1bb", "*", "~", "a=b", "!1", "<x>", "(x)", "{a,b}", "a|b", "a&b", "[x]"]


@pytest.mark.parametrize("value", [*HOSTILE, *ODD])
def test_hostile_and_odd_values_are_refused(value: str) -> None:
    with pytest.raises(FirmwareError, match="ssid_wlan"):
        render(PLAIN | {"ssid_wlan": value})


@pytest.mark.parametrize("value", HOSTILE)
def test_the_shell_would_not_have_kept_a_hostile_value(value: str, tmp_path: Path) -> None:
    data = render(PLAIN).replace(b"ssid_wlan = 7", f"ssid_wlan = {value}".encode())
    changed = evaluated(data, tmp_path) != PLAIN | {"ssid_wlan": value}
    assert changed or (tmp_path / "ran").exists()


def test_the_shell_does_run_commands_in_values(tmp_path: Path) -> None:
    evaluated(render(PLAIN).replace(b"hostname = 7", b"hostname = $(touch ran)"), tmp_path)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_would_be_deleted_and_is_refused(key: str, tmp_path: Path) -> None:
    partial = render(PLAIN).replace(f"{key} = 7\r\n".encode(), b"")
    assert evaluated(partial, tmp_path)[key] == ""
    with pytest.raises(FirmwareError, match=rf"without {key} would delete"):
        parse(partial)
    with pytest.raises(FirmwareError, match=key):
        render({name: value for name, value in PLAIN.items() if name != key})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"[WLAN]", b"[LAN]", r"line \d+: '\[LAN\]' is no section"),
        (b"[WLAN]", b"[WLAN", r"line \d+: '\[WLAN' is no section"),
        (b"ipaddr = 7", b"ipaddr 7", r"line 3: 'ipaddr 7' is neither"),
        (b"ipaddr = 7", b"ipaddr = 7\r\nipaddr = 8", r"line 4: ipaddr is given twice"),
        (b"ipaddr = 7", b"gateway = 7", r"line 3: gateway does not belong"),
        (b"[NETWORK]\r\n", b"[NETWORK]\r\ndfu = 1\r\n", r"line 2: dfu does not belong into \[NETWORK\]"),
        (b"[NETWORK]\r\n", b"", r"line 1: hostname does not belong into \[\]"),
        (b"ipaddr = 7", b"ipaddr = \xff", r"byte \d+ is not ASCII"),
    ],
)
def test_malformed_files_are_refused_with_their_line(old: bytes, new: bytes, message: str) -> None:
    with pytest.raises(FirmwareError, match=message):
        parse(render(PLAIN).replace(old, new, 1))


@QUICK
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(FirmwareError):
        parse(data)


def test_unknown_keys_long_values_and_odd_titles_are_refused() -> None:
    with pytest.raises(FirmwareError, match="gateway is no key"):
        check_value("gateway", "1")
    with pytest.raises(FirmwareError, match="129 characters"):
        check_value("hostname", "a" * 129)
    with pytest.raises(FirmwareError, match="title"):
        render(PLAIN, "one\r\nreset = 1")


def test_what_a_newer_firmware_writes_is_read_past() -> None:
    own = b"# Device\r\n[NETWORK]\r\nhostname = pluto\r\nnew_key = 1\r\n[NEW]\r\nstray\r\nxo_correction =\r\n"
    assert read_values(own) == {"hostname": "pluto", "xo_correction": ""}


def test_actions_are_the_last_section() -> None:
    assert ACTIONS == ("diagnostic_report", "dfu", "reset", "calibrate")
