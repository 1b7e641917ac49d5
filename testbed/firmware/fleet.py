"""The folder of boards: read every TOML, and find what two boards must not share."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from testbed.errors import FirmwareError
from testbed.firmware.board import Board
from testbed.tables import sentence


def load_board(path: Path) -> Board:
    """The board that `path` describes.

    Raises:
        FirmwareError: naming file, key, value and what is allowed.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FirmwareError(f"{path}: no such board file") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FirmwareError(f"{path}: cannot be read as TOML: {error}") from error
    try:
        board = Board.model_validate(tree)
    except ValidationError as error:
        raise FirmwareError(f"{path}: {sentence(error, Board)}") from error
    if board.name != path.stem:
        raise FirmwareError(f"{path}: network.hostname = {board.name!r} must equal the name of the file")
    return board


def load_fleet(folder: Path) -> dict[Path, Board]:
    """File → board of every TOML in `folder`, in order of names.

    Raises:
        FirmwareError: no folder, no boards, or everything that is wrong with any of them, one line each.
    """
    paths = sorted(folder.glob("*.toml"))
    if not paths:
        raise FirmwareError(f"{folder}: no board files here: expected one TOML a board")
    boards: dict[Path, Board] = {}
    complaints: list[str] = []
    for path in paths:
        try:
            boards[path] = load_board(path)
        except FirmwareError as error:
            complaints.append(str(error))
    complaints += clashes(boards)
    if complaints:
        raise FirmwareError("\n".join(complaints))
    return boards


def clashes(boards: dict[Path, Board]) -> list[str]:
    """A sentence for each serial, name, address or subnet that two boards share, and for a second reference."""
    found = []
    for (one, first), (other, second) in combinations(boards.items(), 2):
        found += [
            f"{other}: {key} = {value} is taken by {one.name}: every board needs its own"
            for key, value in _shared(_belongings(first), _belongings(second))
        ]
        if first.network.subnet.overlaps(second.network.subnet):
            found.append(
                f"{other}: subnet {second.network.subnet} overlaps {first.network.subnet} of {one.name}: "
                "one computer cannot route to both"
            )
        if first.role == second.role == "reference":
            found.append(f"{other}: role = 'reference' is taken by {one.name}: a fleet has one reference")
    return found


def _belongings(board: Board) -> Iterator[tuple[str, Any]]:
    """(key, value) of what no second board may have; addresses of all kinds under one key."""
    network = board.network
    yield "serial", board.serial
    yield "network.hostname", network.hostname.lower()
    addresses = (network.address, network.host_address, network.ethernet_address, board.wlan.address)
    yield from (("address", address) for address in addresses if address is not None)


def _shared(one: Iterable[tuple[str, Any]], other: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    taken = set(one)
    return [pair for pair in other if pair in taken]
