"""Board files for tests: one that is in order, and changes to it."""

from __future__ import annotations

from pathlib import Path

from testbed.firmware.board import Board
from testbed.firmware.fleet import load_board

SERIAL = "104473b6d5cc0011f2ff1d0025e47fd23b"


def text(extra: str = "", *, name: str = "pluto-a", subnet: str = "192.168.2", serial: str = SERIAL) -> str:
    """A board file; lines of `extra` before its first table belong to `[network]`."""
    top, table, rest = extra.partition("[")
    return (
        f'serial = "{serial}"\nrevision = "C"\n[network]\nhostname = "{name}"\naddress = "{subnet}.1"\n'
        f'host_address = "{subnet}.10"\n{top}\n{table}{rest}'
    )


def write(folder: Path, extra: str = "", *, name: str = "pluto-a", **fields: str) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text(extra, name=name, **fields), encoding="utf-8")
    return path


def board(folder: Path, extra: str = "", **fields: str) -> Board:
    return load_board(write(folder, extra, **fields))
