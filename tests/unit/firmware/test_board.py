"""Board files: what is accepted, what is refused and how, and what two boards must not share."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import FirmwareError
from testbed.firmware.config_txt import ACTIONS, KEYS, parse, render
from testbed.firmware.fleet import load_board, load_fleet
from tests.unit.firmware import boards


def test_an_ordinary_board_sets_every_key(tmp_path: Path) -> None:
    values = boards.board(tmp_path).config_values()
    assert set(values) == set(KEYS)
    assert values["hostname"] == "pluto-a"
    assert (values["ipaddr"], values["ipaddr_host"], values["netmask"]) == (
        "192.168.2.1",
        "192.168.2.10",
        "255.255.255.0",
    )
    assert all(values[key] == "0" for key in ACTIONS)
    assert values["pwd_wlan"] == values["xo_correction"] == values["ipaddr_eth"] == ""
    assert parse(render(values)) == values


def test_every_key_of_a_board_file_arrives(tmp_path: Path) -> None:
    board = boards.board(
        tmp_path,
        'netmask = "255.255.255.128"\nethernet_address = "10.0.0.7"\nethernet_netmask = "255.0.0.0"\n'
        '[wlan]\nname = "lab net"\naddress = "10.1.0.7"\n'
        '[system]\nxo_correction_hz = 40007999\nhandle_suspend = true\nusb_ethernet = "ecm"\n',
    )
    values = board.config_values("correct.horse")
    assert values == {
        "hostname": "pluto-a", "ipaddr": "192.168.2.1", "ipaddr_host": "192.168.2.10", "netmask": "255.255.255.128",
        "ssid_wlan": "lab net", "pwd_wlan": "correct.horse", "ipaddr_wlan": "10.1.0.7",
        "ipaddr_eth": "10.0.0.7", "netmask_eth": "255.0.0.0",
        "xo_correction": "40007999", "udc_handle_suspend": "1", "usb_ethernet_mode": "ecm",
        "diagnostic_report": "0", "dfu": "0", "reset": "0", "calibrate": "0",
    }  # fmt: skip


REFUSED = [
    ('gateway = "192.168.2.2"', r"network\.gateway: unknown key; known here are hostname"),
    ('netmask = "255.0.255.0"', r"network\.netmask = .*must be a netmask"),
    ('netmask = "0.0.0.255"', r"network\.netmask = .*must be a netmask"),
    ('netmask = "255.255.255.248"', r"host_address = 192\.168\.2\.10 is not in the subnet 192\.168\.2\.0/29"),
    ('ethernet_address = "8.8.8.8"', r"network\.ethernet_address = .*private"),
    ('ethernet_address = "127.0.0.1"', r"network\.ethernet_address = .*private"),
    ('[wlan]\npassword = "12345678"', r"wlan\.password: unknown key"),
    ('[wlan]\nname = "$(reboot)"', r"wlan\.name = .*root shell"),
    ('[wlan]\nname = "a/b"', r"wlan\.name = .*without /"),
    ("[actions]\nreset = 1", r"actions: unknown key"),
    ("[system]\nxo_correction_hz = 3", r"xo_correction_hz = 3 must be the clock itself.*39992000 to 40008000"),
    ("[system]\nxo_correction_hz = 40008001", r"xo_correction_hz = 40008001 must be"),
    ('[system]\nusb_ethernet = "0"', r"system\.usb_ethernet = '0'.*'rndis', 'ncm' or 'ecm'"),
    ('[uboot]\ncompatible = "ad9364"', r"uboot\.compatible is not read any more"),
    ('[uboot]\nmode = "3r3t"', r"uboot\.mode = '3r3t' must be"),
    ("[uboot]\nmaxcpus = 1", r"uboot\.maxcpus = 1: .*string"),
    ("[limits]\nbands_hz = []", r"limits\.bands_hz"),
    ("[limits]\nbands_hz = [[2.5e9, 2.4e9]]", r"limits\.bands_hz holds .*325000000"),
    ("[limits]\nbands_hz = [[100e6, 110e6]]", r"limits\.bands_hz holds .*where the transceiver tunes"),
    ("[limits]\nbands_hz = [[1e9, 2e9], [1.5e9, 3e9]]", r"overlap: join"),
    ("[limits]\nbands_hz = [[1e9, inf]]", r"limits\.bands_hz"),
    ("[limits]\nmin_attenuation_db = 0", None),
    ("[limits]\nmin_attenuation_db = -1", r"limits\.min_attenuation_db = -1"),
    ("[antenna]\ngain_dbi = 24", r"antenna\.gain_dbi = 24.* allows 21\.0 dBm EIRP, above"),
]


@pytest.mark.parametrize(("extra", "message"), REFUSED)
def test_what_cannot_work_is_refused_by_key_and_value(extra: str, message: str | None, tmp_path: Path) -> None:
    if message is None:
        boards.board(tmp_path, extra)
        return
    with pytest.raises(FirmwareError, match=rf"pluto-a\.toml: .*{message}"):
        boards.board(tmp_path, extra)


@pytest.mark.parametrize(
    "name", ["-pluto", "pluto-", "pluto_1", "plu to", "pluto.lab", "$(id)", "p" * 64, "plüto", "a;b"]
)
def test_hostnames_follow_rfc_1123(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(boards.text(name=name), encoding="utf-8")
    with pytest.raises(FirmwareError, match=r"network\.hostname = .*RFC 1123"):
        load_board(path)


@pytest.mark.parametrize("serial", ["", "xyz", "104473B6D5CC0011F2", "1" * 41, "0" * 15, "00000000000000000\n"])
def test_serials_are_hex(serial: str, tmp_path: Path) -> None:
    path = tmp_path / "pluto-a.toml"
    path.write_text(boards.text(serial="SERIAL").replace("SERIAL", repr(serial)[1:-1]), encoding="utf-8")
    with pytest.raises(FirmwareError, match=r"serial = .*hex digits"):
        load_board(path)


@pytest.mark.parametrize(
    ("address", "host", "message"),
    [
        ("192.168.2.1", "192.168.2.1", "are both 192.168.2.1"),
        ("192.168.2.1", "192.168.3.10", "is not in the subnet"),
        ("192.168.2.0", "192.168.2.10", "192.168.2.0 is the network or broadcast"),
        ("192.168.2.1", "192.168.2.255", "192.168.2.255 is the network or broadcast"),
        ("192.168.2.300", "192.168.2.10", r"network\.address = '192\.168\.2\.300'"),
        ("9.9.9.9", "9.9.9.8", "private address"),
    ],
)
def test_both_ends_of_the_link_are_in_one_subnet(address: str, host: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "pluto-a.toml"
    text = boards.text().replace("192.168.2.10", host).replace('"192.168.2.1"', f'"{address}"')
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FirmwareError, match=message):
        load_board(path)


def test_the_clock_window_follows_an_external_reference(tmp_path: Path) -> None:
    external = (
        '[uboot]\nrefclk_source = "external"\nad936x_ext_refclk_override = "<{}>"\n[system]\nxo_correction_hz = {}'
    )
    boards.board(tmp_path, external.format(20_000_000, 20_000_050))
    with pytest.raises(FirmwareError, match="from 19992000 to 20008000"):
        boards.board(tmp_path, external.format(20_000_000, 40_000_000))


def test_an_opened_chip_tunes_wider(tmp_path: Path) -> None:
    low = "[limits]\nbands_hz = [[144e6, 146e6]]"
    boards.board(tmp_path, low + '\n[uboot]\nattr_name = "compatible"\nattr_val = "ad9361"')
    with pytest.raises(FirmwareError, match="where the transceiver tunes"):
        boards.board(tmp_path, low)


@pytest.mark.parametrize("passphrase", ["short", "x" * 64, "with space", "pa$HOME#x", "q'uote123"])
def test_passphrases_that_the_board_would_change_are_refused(passphrase: str, tmp_path: Path) -> None:
    board = boards.board(tmp_path, '[wlan]\nname = "lab"')
    with pytest.raises(FirmwareError, match="8 to 63") as caught:
        board.config_values(passphrase)
    assert passphrase not in str(caught.value)


def test_a_passphrase_needs_a_network(tmp_path: Path) -> None:
    with pytest.raises(FirmwareError, match=r"wlan\.name is empty"):
        boards.board(tmp_path).config_values("longenough")


def test_files_that_are_no_board_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("serial = ", encoding="utf-8")
    (tmp_path / "empty.toml").write_text("", encoding="utf-8")
    (tmp_path / "other.toml").write_text(boards.text(), encoding="utf-8")
    for name, message in (
        ("none.toml", "no such board file"),
        ("bad.toml", "cannot be read as TOML"),
        ("empty.toml", "serial: is missing; network: is missing"),
        ("other.toml", "'pluto-a' must equal the name of the file"),
    ):
        with pytest.raises(FirmwareError, match=f"{name}: .*{message}"):
            load_board(tmp_path / name)


OTHER = "204473b6d5cc0011f2ff1d0025e47fd23b"


@pytest.mark.parametrize(
    ("fields", "extra", "message"),
    [
        ({"serial": boards.SERIAL}, "", f"serial = {boards.SERIAL} is taken by pluto-a.toml"),
        ({"name": "PLUTO-A"}, "", "network.hostname = pluto-a is taken by"),
        ({"subnet": "192.168.2"}, "", "address = 192.168.2.10 is taken by"),
        ({}, 'ethernet_address = "192.168.2.1"', "address = 192.168.2.1 is taken by"),
        ({}, '[wlan]\nname = "lab"\naddress = "192.168.2.10"', "address = 192.168.2.10 is taken by"),
        ({}, 'netmask = "255.255.0.0"', "subnet 192.168.0.0/16 overlaps 192.168.2.0/24"),
    ],
)
def test_boards_share_nothing(fields: dict[str, str], extra: str, message: str, tmp_path: Path) -> None:
    boards.write(tmp_path)
    boards.write(tmp_path, extra, **{"name": "pluto-b", "subnet": "192.168.3", "serial": OTHER} | fields)
    with pytest.raises(FirmwareError) as caught:
        load_fleet(tmp_path)
    assert message in str(caught.value)


def test_a_fleet_has_one_reference_and_complaints_come_together(tmp_path: Path) -> None:
    for name, subnet, serial in (("pluto-a", "192.168.2", boards.SERIAL), ("pluto-b", "192.168.3", OTHER)):
        path = boards.write(tmp_path, name=name, subnet=subnet, serial=serial)
        path.write_text('role = "reference"\n' + path.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "zz.toml").write_text("x = 1", encoding="utf-8")
    with pytest.raises(FirmwareError) as caught:
        load_fleet(tmp_path)
    first, second = str(caught.value).splitlines()
    assert "zz.toml" in first
    assert "a fleet has one reference" in second


def test_two_different_boards_are_a_fleet(tmp_path: Path) -> None:
    one = boards.write(tmp_path)
    other = boards.write(tmp_path, name="pluto-b", subnet="192.168.3", serial=OTHER)
    assert [board.name for board in load_fleet(tmp_path).values()] == ["pluto-a", "pluto-b"]
    assert list(load_fleet(tmp_path)) == [one, other]
    with pytest.raises(FirmwareError, match="no board files"):
        load_fleet(tmp_path / "nowhere")
