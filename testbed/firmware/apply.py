"""Bring a board's configuration onto the board, over its drive or over SSH, and prove afterwards that it is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from testbed.errors import FirmwareError
from testbed.firmware.board import Board
from testbed.firmware.drive import Drive
from testbed.firmware.ssh import Ssh

SECRETS: Final = ("pwd_wlan",)


class Target(Protocol):
    """A way to one board."""

    @property
    def name(self) -> str:
        """Where it leads."""
        ...

    @property
    def after(self) -> str:
        """What a person does next so that the board uses what was written."""
        ...

    def wanted(self, board: Board, passphrase: str) -> dict[str, str]:
        """Variable → value this way can bring about."""
        ...

    def notes(self, board: Board) -> tuple[str, ...]:
        """Sentences a person should read before."""
        ...

    def check_identity(self, serial: str) -> None:
        """FirmwareError unless this leads to the board with this serial number."""
        ...

    def read(self) -> dict[str, str]:
        """Variable → value on the board."""
        ...

    def write(self, values: Mapping[str, str]) -> None:
        """Set all of `values`."""
        ...


@dataclass(frozen=True)
class Change:
    """A variable whose value on the board is not the one in the board file; an empty value is no variable."""

    name: str
    old: str
    new: str

    def __str__(self) -> str:
        """Both values, secrets hidden."""
        old, new = (_shown(self.name, value) for value in (self.old, self.new))
        return f"{self.name}: {old} → {new}"


@dataclass(frozen=True)
class Outcome:
    """What `apply` found and did.

    Attributes:
        target: where.
        changes: what differed before.
        written: whether the board was written to, and verified.
        notes: sentences for a person; the last one says what to do next.
    """

    target: str
    changes: tuple[Change, ...]
    written: bool
    notes: tuple[str, ...]


def target_of(
    board: Board,
    *,
    drive: Path | None = None,
    host: str | None = None,
    port: int = 22,
    identity: Path | None = None,
    ask: bool = False,
) -> Target:
    """The drive mounted at `drive`, or else the board's shell at `host`, by default at the address in its file.

    `ask` lets ssh ask for a password on the terminal.
    """
    if drive is not None:
        return Drive(drive)
    return Ssh(host or str(board.network.address), port=port, identity=identity, ask=ask)


def diff(board: Board, target: Target, passphrase: str = "") -> tuple[Change, ...]:
    """What `apply` would change; a WLAN passphrase counts only when one is given.

    Raises:
        FirmwareError: the target cannot be read, or belongs to another board.
    """
    if not board.is_placeholder:
        target.check_identity(board.serial)
    wanted = target.wanted(board, passphrase)
    if not passphrase and board.wlan.name and not board.wlan.open:
        del wanted["pwd_wlan"]
    return _differences(wanted, target.read())


def apply(board: Board, target: Target, *, passphrase: str = "", dry_run: bool = False) -> Outcome:
    """Write what differs, read it back, compare.

    Nothing is written when nothing differs, so that the board's flash is spared. `dry_run` looks and writes nothing.

    Raises:
        FirmwareError: a placeholder for a serial, another board than the file's, no passphrase for a WLAN that wants
            one, a target that cannot be read or written, or one that holds something else afterwards.
    """
    _check_ready(board, passphrase)
    target.check_identity(board.serial)
    wanted = target.wanted(board, passphrase)
    changes = _differences(wanted, target.read())
    notes = target.notes(board)
    if not changes:
        return Outcome(target.name, changes, False, (*notes, "nothing to do: the board holds these values"))
    if dry_run:
        return Outcome(target.name, changes, False, (*notes, "dry run: nothing was written"))
    target.write(wanted)
    _verify(target, wanted)
    return Outcome(target.name, changes, True, (*notes, target.after))


def _check_ready(board: Board, passphrase: str) -> None:
    if board.is_placeholder:
        raise FirmwareError(f"serial = {board.serial!r} is a placeholder: put in the board's own, from `testbed scan`")
    if board.wlan.name and not board.wlan.open and not passphrase:
        raise FirmwareError(
            f"wlan.name = {board.wlan.name!r} wants a passphrase, and writing none would delete the board's: "
            "give one, or set wlan.open = true"
        )


def _verify(target: Target, wanted: Mapping[str, str]) -> None:
    left = _differences(wanted, target.read())
    if left:
        raise FirmwareError(
            f"{target.name} was written but holds something else: {'; '.join(map(str, left))}. Try again, and do not "
            "restart the board before it verifies"
        )


def _differences(wanted: Mapping[str, str], found: Mapping[str, str]) -> tuple[Change, ...]:
    pairs = ((name, found.get(name, ""), value) for name, value in wanted.items())
    return tuple(Change(name, old, new) for name, old, new in pairs if old != new)


def _shown(name: str, value: str) -> str:
    if not value:
        return "(none)"
    return "(hidden)" if name in SECRETS else value
