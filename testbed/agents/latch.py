"""The latch of a panic, and who is on duty: files in the folder of keys, which only its owner can read and write.

While the latch is set, no guard starts an agent and no run begins. It survives processes, and a restart of the machine.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from testbed.errors import KeyFileError, TransmitRefused

_LATCH, _DUTY = "panic", "on-duty"


class OnDuty(msgspec.Struct, frozen=True):
    """A guard that listens: its node, its process, and where."""

    index: int
    pid: int
    address: str


def is_latched(keys: Path) -> bool:
    """Whether nobody may transmit."""
    return (keys / _LATCH).exists()


def set_latch(keys: Path) -> None:
    """Nobody transmits until `clear_latch`.

    Raises:
        KeyFileError: the latch cannot be set there.
    """
    with _sentences(keys, "set"):
        os.close(os.open(keys / _LATCH, os.O_WRONLY | os.O_CREAT, 0o600))


def clear_latch(keys: Path) -> None:
    """Transmitting is allowed again.

    Raises:
        KeyFileError: the latch cannot be taken away.
    """
    with _sentences(keys, "taken away"):
        (keys / _LATCH).unlink(missing_ok=True)


@contextmanager
def _sentences(keys: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KeyFileError(
            f"the latch in key folder {keys} cannot be {what} ({error.strerror}): mend folder or TESTBED_KEYS, repeat"
        ) from error


def refuse_if_latched(keys: Path) -> None:
    """Return where transmitting is allowed.

    Raises:
        TransmitRefused: after a panic.
    """
    if is_latched(keys):
        raise TransmitRefused("a panic is on, nobody may transmit: look after the radios, then run: testbed arm")


@contextmanager
def on_duty(keys: Path, index: int, address: str) -> Iterator[None]:
    """Within the block the guard of node `index` can be found, at `address`."""
    folder = keys / _DUTY
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{os.getpid()}.json"
    path.write_bytes(msgspec.json.encode(OnDuty(index, os.getpid(), address)))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def all_on_duty(keys: Path) -> list[OnDuty]:
    """Guards on this machine that live; what dead ones left behind is removed."""
    found = []
    for path in sorted((keys / _DUTY).glob("*.json")):
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            one = msgspec.json.decode(path.read_bytes(), type=OnDuty)
            if Path(f"/proc/{one.pid}").exists():
                found.append(one)
            else:
                path.unlink()
    return found
