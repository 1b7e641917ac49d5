"""`firmware_configs/` as a whole: check everything in it, and render what boards take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from testbed.errors import FirmwareError
from testbed.firmware import config_txt, uboot
from testbed.firmware.board import Board
from testbed.firmware.fir import design, measure
from testbed.firmware.fleet import load_fleet
from testbed.firmware.ftr import Filter, Side, parse_filter, render_filter
from testbed.ofdm.grid import PRESETS, Grid

FILTERS: Final = "fir"  # the folder of filters, one for each preset of the grid
# Another version of scipy or of a mathematics library may round a tap the other way.
TAP_TOLERANCE: Final = 1


def check(folder: Path) -> list[str]:
    """A line of findings for each file that is in order.

    Raises:
        FirmwareError: everything that is wrong, one line each: boards, what two of them share, filters that are
            missing, malformed or not the designed ones, and any `config.txt` with an action or a passphrase.
    """
    lines: list[str] = []
    complaints: list[str] = []
    for inspect in _inspections(folder):
        try:
            lines += inspect()
        except FirmwareError as error:
            complaints.append(str(error))
    if complaints:
        raise FirmwareError("\n".join(complaints))
    return lines


def render(folder: Path, out: Path) -> list[Path]:
    """Write `config.txt` and `uboot.txt` of every board into `out`/<board>, and every filter into `out`/fir.

    Returns the files written. A WLAN passphrase stays empty.

    Raises:
        FirmwareError: as `load_fleet`, or `out` cannot be written.
    """
    written = []
    for path, board in load_fleet(folder).items():
        config = config_txt.render(board.config_values(), _title(path, board))
        script = uboot.render_script(uboot_values(board)).encode("ascii")
        written += [
            _write(out / board.name / "config.txt", config),
            _write(out / board.name / "uboot.txt", script),
        ]
    return written + render_filters(out)


def render_filters(out: Path) -> list[Path]:
    """Write the filter of every preset into `out`/fir; the files written."""
    return [
        _write(filter_path(out, name), render_filter(preset_filter(name, grid)).encode("ascii"))
        for name, grid in PRESETS.items()
    ]


def uboot_values(board: Board) -> dict[str, str]:
    """Every U-Boot variable that a board file sets, without a passphrase."""
    values = board.config_values()
    return {key: values[key] for key in config_txt.VARIABLES if key != "pwd_wlan"} | board.uboot


def preset_filter(name: str, grid: Grid) -> Filter:
    """The designed filter of a preset, with comments that say what it is."""
    plain = design(grid)
    quality = measure(plain.receive, grid)
    rate, taps = plain.receive.rates_hz, len(plain.receive.taps)
    comments = (
        f"grid preset {name}: {rate[5] if rate else 0} samples a second, {taps} taps, designed by testbed.firmware.fir",
        f"pass band ripple {quality.ripple_db:.4f} dB, stop band {quality.stop_db:.0f} dB, from these integers",
    )
    return Filter(plain.transmit, plain.receive, comments)


def filter_path(folder: Path, preset: str) -> Path:
    """Where the filter of a preset lies."""
    return folder / FILTERS / f"{preset}.ftr"


def load_filter(path: Path) -> Filter:
    """The filter in a file.

    Raises:
        FirmwareError: naming file, line and what is expected.
    """
    try:
        return parse_filter(path.read_bytes().decode("ascii"))
    except OSError as error:
        raise FirmwareError(f"{path}: cannot be read: {error.strerror}; `testbed firmware render` writes it") from error
    except UnicodeDecodeError as error:
        raise FirmwareError(f"{path}: byte {error.start} is not ASCII") from error
    except FirmwareError as error:
        raise FirmwareError(f"{path}: {error}") from error


def _title(path: Path, board: Board) -> str:
    secret = (
        " - without pwd_wlan, which `testbed firmware apply` adds" if board.wlan.name and not board.wlan.open else ""
    )
    return f"{board.name}, from {path.name}{secret}"


def _inspections(folder: Path) -> Iterator[Callable[[], list[str]]]:
    yield partial(_check_boards, folder)
    for name, grid in PRESETS.items():
        yield partial(_check_filter, filter_path(folder, name), grid)
    for path in sorted(folder.rglob("config*.txt")):
        yield partial(_check_config, path)


def _check_boards(folder: Path) -> list[str]:
    return [_board_line(path, board) for path, board in load_fleet(folder).items()]


def _board_line(path: Path, board: Board) -> str:
    state = "placeholder serial" if board.is_placeholder else f"serial {board.serial}"
    return f"{path}: {board.role}, {board.network.address} seen from {board.network.host_address}, {state}"


def _check_filter(path: Path, grid: Grid) -> list[str]:
    stored, fresh = load_filter(path), design(grid)
    if not (_same(stored.transmit, fresh.transmit) and _same(stored.receive, fresh.receive)):
        raise FirmwareError(f"{path}: is not the filter designed for this preset: render it again")
    quality = measure(stored.receive, grid)
    return [
        f"{path}: {len(stored.receive.taps)} taps, ripple {quality.ripple_db:.4f} dB, "
        f"stop band {quality.stop_db:.0f} dB"
    ]


def _same(one: Side, other: Side) -> bool:
    """Equal, but for a rounding of taps."""
    if replace(one, taps=()) != replace(other, taps=()) or len(one.taps) != len(other.taps):
        return False
    return bool(np.abs(np.subtract(one.taps, other.taps)).max() <= TAP_TOLERANCE)


def _check_config(path: Path) -> list[str]:
    try:
        values = config_txt.parse(path.read_bytes())
    except FirmwareError as error:
        raise FirmwareError(f"{path}: {error}") from error
    acting = [key for key in config_txt.ACTIONS if values[key] != "0"]
    if acting:
        raise FirmwareError(f"{path}: {', '.join(acting)} must be 0: an action runs each time the file is read")
    if values["pwd_wlan"]:
        raise FirmwareError(f"{path}: pwd_wlan must be empty: a passphrase does not belong into a repository")
    return [f"{path}: complete and safe"]


def _write(path: Path, data: bytes) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise FirmwareError(f"{path}: cannot be written: {error.strerror}") from error
    return path
