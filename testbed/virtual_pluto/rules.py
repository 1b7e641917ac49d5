"""Rules for attributes: how a value is read as text, and what writing a text does."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from testbed.virtual_pluto.grammar import Refused
from testbed.virtual_pluto.unit import Unit

Reader = Callable[[Unit], str]
Writer = Callable[[Unit, str], None]
WHOLE: Final = re.compile(r"[+-]?\d+")
DECIMAL: Final = re.compile(r"([+-]?\d+(?:\.\d*)?|[+-]?\.\d+)(?: dB)?")


@dataclass(frozen=True)
class Rule:
    """One attribute; without a writer it is read-only, without a reader write-only."""

    read: Reader | None
    write: Writer | None = None


Rules = dict[tuple[str, str], Rule]
"""(device id, file) → rule."""


def read(unit: Unit, rule: Rule) -> str:
    """The value; EACCES where there is none to read."""
    if rule.read is None:
        raise Refused(errno.EACCES)
    return rule.read(unit)


def write(unit: Unit, rule: Rule, text: str) -> None:
    """Set the value; EACCES where it cannot be."""
    if rule.write is None:
        raise Refused(errno.EACCES)
    rule.write(unit, text)


def whole_number(text: str, low: int, high: int) -> int:
    """An integer within limits; EINVAL for anything else."""
    if not WHOLE.fullmatch(text) or len(text) > 20 or not low <= int(text) <= high:
        raise Refused(errno.EINVAL)
    return int(text)


def decimal(text: str, low: float, high: float) -> float:
    """A decimal number within limits, "dB" allowed behind it; EINVAL for anything else."""
    found = DECIMAL.fullmatch(text)
    if not found or len(text) > 24 or not low <= float(found.group(1)) <= high:
        raise Refused(errno.EINVAL)
    return float(found.group(1))


def flag(text: str) -> bool:
    """A switch, as the kernel reads one."""
    if text.lower() in ("1", "y", "yes", "on"):
        return True
    if text.lower() in ("0", "n", "no", "off"):
        return False
    raise Refused(errno.EINVAL)


def constant(text: str) -> Rule:
    """Always the same, and read-only."""
    return Rule(lambda unit: text)


def memory(key: tuple[str, str], initial: str, check: Callable[[str], object]) -> Rule:
    """A value that is kept and has no effect; `check` refuses what it may not be."""

    def store(unit: Unit, text: str) -> None:
        check(text)
        unit.state.plain[key] = text

    return Rule(lambda unit: unit.state.plain.get(key, initial), store)


def one_of(*choices: str) -> Callable[[str], str]:
    """A check for a choice."""

    def check(text: str) -> str:
        if text not in choices:
            raise Refused(errno.EINVAL)
        return text

    return check


def switch(text: str) -> str:
    """A check for a switch."""
    return str(int(flag(text)))


def setting(field: str, parse: Callable[[str], object]) -> Rule:
    """A field of the state that the air follows."""

    def store(unit: Unit, text: str) -> None:
        setattr(unit.state, field, parse(text))
        unit.settle()

    def show(unit: Unit) -> str:
        value = getattr(unit.state, field)
        return str(int(value)) if isinstance(value, bool) else str(value)

    return Rule(show, store)
