"""Commands that configure boards from firmware_configs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbed.cli.common import errors_as_sentences, group

if TYPE_CHECKING:
    from testbed.firmware.apply import Target
    from testbed.firmware.board import Board

app = group("Configure boards from firmware_configs.")

FIRMWARE = Path("firmware_configs")
BoardFolder = Annotated[Path, typer.Option("--configs", help="Folder of board files.")]
BoardName = Annotated[str, typer.Argument(help="Name of a board in firmware_configs, or a TOML file.")]
Drive = Annotated[Path | None, typer.Option(help="Mounted mass-storage drive of the board.", show_default=False)]
Host = Annotated[str | None, typer.Option(help="SSH host, instead of the board's address.", show_default=False)]


@app.command("check")
def firmware_check(folder: BoardFolder = FIRMWARE) -> None:
    """Validate every board file and filter, and what must be unique over the fleet."""
    with errors_as_sentences():
        from testbed.firmware.folder import check

        for line in check(folder):
            print(line)


@app.command("render")
def firmware_render(
    out: Annotated[Path, typer.Option(help="Folder for the rendered files.")], folder: BoardFolder = FIRMWARE
) -> None:
    """Write config.txt and U-Boot variables of every board, and the filter of every grid preset."""
    with errors_as_sentences():
        from testbed.firmware.folder import render

        for path in render(folder, out):
            print(path)


@app.command("diff")
def firmware_diff(board: BoardName, drive: Drive = None, host: Host = None, folder: BoardFolder = FIRMWARE) -> None:
    """Show what `apply` would change on a board; touches nothing."""
    with errors_as_sentences():
        from testbed.firmware.apply import diff

        for change in diff(*_board_and_target(board, folder, drive, host), passphrase=_passphrase()):
            print(change)


@app.command("apply")
def firmware_apply(
    board: BoardName,
    drive: Drive = None,
    host: Host = None,
    folder: BoardFolder = FIRMWARE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written.")] = False,
) -> None:
    """Write a board's configuration to its drive or over SSH, and read it back."""
    with errors_as_sentences():
        from testbed.firmware.apply import apply

        chosen, target = _board_and_target(board, folder, drive, host)
        outcome = apply(chosen, target, passphrase=_passphrase(), dry_run=dry_run)
        for change in outcome.changes:
            print(change)
        for note in outcome.notes:
            print(note)


def _board_and_target(board: str, folder: Path, drive: Path | None, host: str | None) -> tuple[Board, Target]:
    from testbed.firmware.apply import target_of
    from testbed.firmware.fleet import load_board

    path = Path(board) if board.endswith(".toml") else folder / f"{board}.toml"
    chosen = load_board(path)
    return chosen, target_of(chosen, drive=drive, host=host, ask=sys.stdin.isatty())


def _passphrase() -> str:
    return os.environ.get("TESTBED_WLAN_PASSPHRASE", "")
