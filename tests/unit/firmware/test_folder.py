"""firmware_configs/ as committed, and what happens when something in it is spoilt."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from testbed.errors import FirmwareError
from testbed.firmware import config_txt, uboot
from testbed.firmware.folder import check, filter_path, load_filter, render
from testbed.ofdm.grid import PRESETS

CONFIGS = Path(__file__).parents[3] / "firmware_configs"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(CONFIGS, tmp_path / "configs"))


def test_the_committed_folder_is_in_order() -> None:
    lines = check(CONFIGS)
    assert len(lines) == len(list(CONFIGS.glob("*.toml"))) + len(PRESETS)
    assert all("taps, ripple 0.00" in line for line in lines[-len(PRESETS) :])


def test_rendered_files_are_complete_and_mean_the_board(copy: Path, tmp_path: Path) -> None:
    written = render(copy, tmp_path / "out")
    assert {path.relative_to(tmp_path / "out").as_posix() for path in written} == {
        *(f"{path.stem}/{name}" for path in copy.glob("*.toml") for name in ("config.txt", "uboot.txt")),
        *(f"fir/{name}.ftr" for name in PRESETS),
    }
    values = config_txt.parse((tmp_path / "out/pluto-node-1/config.txt").read_bytes())
    assert (values["ipaddr"], values["xo_correction"]) == ("192.168.3.1", "40000120")
    script = uboot.parse_script((tmp_path / "out/pluto-node-2/uboot.txt").read_text(encoding="ascii"))
    assert (script["attr_val"], script["hostname"], script["ssid_wlan"]) == ("ad9361", "pluto-node-2", "")
    assert "pwd_wlan" not in script


def test_rendered_filters_are_the_committed_ones(copy: Path, tmp_path: Path) -> None:
    render(copy, tmp_path / "out")
    for name in PRESETS:
        fresh, stored = (load_filter(filter_path(folder, name)) for folder in (tmp_path / "out", CONFIGS))
        assert fresh.receive.rates_hz == stored.receive.rates_hz
        assert max(abs(a - b) for a, b in zip(fresh.receive.taps, stored.receive.taps, strict=True)) <= 1


def test_every_complaint_comes_at_once(copy: Path) -> None:
    board = copy / "pluto-node-1.toml"
    board.write_text(board.read_text(encoding="utf-8").replace("192.168.3.10", "192.168.2.10"), encoding="utf-8")
    (copy / "fir/lte.ftr").unlink()
    demo = copy / "fir/demo.ftr"
    lines = demo.read_text(encoding="ascii").splitlines()
    lines[70] = "9,9"
    demo.write_text("\n".join(lines), encoding="ascii")
    (copy / "fir/fine.ftr").write_bytes(b"\xff")
    (copy / "fir/small.ftr").write_text("TX 3 GAIN 0 INT 4\n\nRX 3 GAIN 0 DEC 4\n", encoding="ascii")
    with pytest.raises(FirmwareError) as caught:
        check(copy)
    text = str(caught.value)
    for part in (
        "pluto-node-1.toml: network.host_address = 192.168.2.10 is not in the subnet",
        "lte.ftr: cannot be read",
        "demo.ftr: is not the filter designed",
        "fine.ftr: byte 0 is not ASCII",
        "small.ftr: line 2: ''",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"reset = 0", b"reset = 1", "reset must be 0"),
        (b"pwd_wlan = ", b"pwd_wlan = verysecret", "pwd_wlan must be empty"),
        (b"dfu = 0\r\n", b"", "without dfu would delete"),
    ],
)
def test_a_config_with_an_action_or_a_passphrase_is_not_for_a_repository(
    old: bytes, new: bytes, message: str, copy: Path
) -> None:
    data = config_txt.render(dict.fromkeys(config_txt.KEYS, "") | dict.fromkeys(config_txt.ACTIONS, "0"))
    path = copy / "config.txt"
    path.write_bytes(data)
    assert check(copy)[-1] == f"{path}: complete and safe"
    path.write_bytes(data.replace(old, new))
    with pytest.raises(FirmwareError, match=message) as caught:
        check(copy)
    assert "verysecret" not in str(caught.value)


def test_a_place_that_cannot_be_written_is_named(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way", encoding="utf-8")
    with pytest.raises(FirmwareError, match=r"out/pluto-node-0/config\.txt: cannot be written"):
        render(copy, tmp_path / "out")
