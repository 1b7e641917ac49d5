"""The mass-storage drive that a Pluto shows: a folder with `config.txt`, read by the board once it is ejected."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import FirmwareError
from testbed.firmware.board import Board
from testbed.firmware.config_txt import ACTIONS, VARIABLES, read_values, render

FILE = "config.txt"
PAGE = "info.html"  # the board writes its serial number into it
REFUSED = "FAILED_INVALID_UBOOT_ENV"


@dataclass(frozen=True)
class Drive:
    """The drive of one board, mounted at `folder`.

    U-Boot variables beyond `config.txt` cannot be reached this way.
    """

    folder: Path

    @property
    def name(self) -> str:
        """The file that is written."""
        return str(self.folder / FILE)

    @property
    def after(self) -> str:
        """What makes the board read the file."""
        return "eject the drive, wait until it is back, and run `testbed firmware diff` to see that the board took it"

    def wanted(self, board: Board, passphrase: str) -> dict[str, str]:
        """Variable → value that `write` is to bring about."""
        values = board.config_values(passphrase)
        return {key: values[key] for key in VARIABLES}

    def notes(self, board: Board) -> tuple[str, ...]:
        """What a person should know before: an earlier refusal, and what the drive cannot carry."""
        refused = (
            f"{self.folder / REFUSED} is there: the board refused an earlier file, its U-Boot environment is invalid"
        )
        beyond = f"U-Boot variables {', '.join(board.uboot)} are not written: they need SSH"
        checks = ((refused, (self.folder / REFUSED).exists()), (beyond, bool(board.uboot)))
        return tuple(text for text, holds in checks if holds)

    def check_identity(self, serial: str) -> None:
        """Whether this is the drive of the board with this serial number.

        Raises:
            FirmwareError: no drive of a Pluto, or of another one.
        """
        self._content()
        page = self.folder / PAGE
        if not page.is_file():
            raise FirmwareError(
                f"{page} is missing: cannot tell whose drive this is; mount the whole drive of the board"
            )
        if serial.encode() not in _read(page).lower():
            raise FirmwareError(f"{page} does not name serial {serial}: this is the drive of another board")

    def read(self) -> dict[str, str]:
        """Variable → value now in the file, of those that a board file sets.

        Raises:
            FirmwareError: no such file, or not ASCII.
        """
        values = read_values(self._content())
        return {key: values[key] for key in VARIABLES if key in values}

    def write(self, values: Mapping[str, str]) -> None:
        """Replace the file by a complete one, all actions 0, in one step.

        Raises:
            FirmwareError: the drive is full, read-only or gone; the old file is then still there.
        """
        data = render(dict(values) | dict.fromkeys(ACTIONS, "0"), "written by testbed firmware apply")
        fresh = self.folder / "config.new"
        try:
            with fresh.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.folder / FILE)
            _sync_folder(self.folder)
        except OSError as error:
            raise FirmwareError(
                f"{self.name} cannot be written: {error.strerror}; the old file is unchanged"
            ) from error
        finally:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)

    def _content(self) -> bytes:
        path = self.folder / FILE
        if path.is_symlink() or not path.is_file():
            raise FirmwareError(
                f"{path} is no file: {self.folder} is not the drive of a Pluto; give where it is mounted"
            )
        return _read(path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FirmwareError(f"{path} cannot be read: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
