"""Silence everywhere, at once, whatever the controller does; and the way back.

Each guard listens for the holder of the controller's secret key, and for nobody else. What a guard is told it does
itself, over its own way to the radio: neither the agent nor the controller needs to be well.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from testbed.agents.latch import OnDuty, all_on_duty, clear_latch, set_latch
from testbed.errors import KeyFileError, LinkError
from testbed.link.codec import pack, unpack
from testbed.link.keys import CONTROLLER, client_keys
from testbed.link.service import Client

TIMEOUT_S = 2.0


class Panic(msgspec.Struct, frozen=True, tag=True):
    """Silence, until `Arm`."""


class Arm(msgspec.Struct, frozen=True, tag=True):
    """Transmitting is allowed again."""


class Obeyed(msgspec.Struct, frozen=True, tag=True):
    """Done; `silent` is what the guard knows of its radio."""

    silent: bool


Order = Panic | Arm


@dataclass(frozen=True)
class Outcome:
    """What came of an order at one guard.

    Attributes:
        index: its node.
        well: it obeyed, and its radio is silent.
        words: else why not.
        seconds: until its answer, from the beginning of the command.
    """

    index: int
    well: bool
    words: str
    seconds: float


def panic(keys: Path, others: Sequence[OnDuty] = ()) -> list[Outcome]:
    """Latch, and silence the node of every guard on this machine, and of `others`.

    Raises:
        KeyFileError: the latch cannot be set; the guards were told all the same.
    """
    start = time.monotonic()
    try:
        set_latch(keys)
    except KeyFileError as error:
        outcomes = _tell_all(keys, [*all_on_duty(keys), *others], Panic(), start)
        silent = sum(one.well for one in outcomes)
        raise KeyFileError(f"{silent} of {len(outcomes)} nodes are silent, but {error}") from error
    return _tell_all(keys, [*all_on_duty(keys), *others], Panic(), start)


def arm(keys: Path, others: Sequence[OnDuty] = ()) -> list[Outcome]:
    """Take the latch away, here and at every guard.

    Raises:
        KeyFileError: it cannot be taken away; nobody was told.
    """
    start = time.monotonic()
    clear_latch(keys)
    return _tell_all(keys, [*all_on_duty(keys), *others], Arm(), start)


def _tell_all(keys: Path, guards: Sequence[OnDuty], order: Order, start: float) -> list[Outcome]:
    with ThreadPoolExecutor(max(1, len(guards))) as pool:
        return list(pool.map(lambda one: _tell(keys, one, order, start), guards))


def _tell(keys: Path, guard: OnDuty, order: Order, start: float) -> Outcome:
    try:
        with Client(guard.address, client_keys(keys, CONTROLLER, f"node-{guard.index}")) as client:
            answer = unpack(client.request(pack(order), TIMEOUT_S), Obeyed)
    except LinkError as error:
        words = f"{error}; if it may be on the air, switch it off by hand"
        return Outcome(guard.index, False, words, time.monotonic() - start)
    words = "" if answer.silent else "its radio does not answer: switch it off by hand"
    return Outcome(guard.index, answer.silent, words, time.monotonic() - start)
