"""How the AD936x driver reads a filter file: line by line with sscanf, forgiving where it should not.

Written anew from the behaviour of `ad9361_parse_fir`: any line that is no receive header, met while that one is still
missing, forgets the transmit header.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

NUMBER = r"\s*([+-]?\d+)"


@dataclass
class Loaded:
    """What ends up in the device; −1 = no header seen."""

    transmit: tuple[int, ...] = (-1,)
    receive: tuple[int, ...] = (-1,)
    rates: dict[str, tuple[int, ...]] = field(default_factory=dict)
    bandwidths: dict[str, int] = field(default_factory=dict)
    transmit_taps: list[int] = field(default_factory=list)
    receive_taps: list[int] = field(default_factory=list)


def scan(pattern: str, line: str) -> tuple[int, ...]:
    """Like sscanf: blanks in the pattern match any blanks, `%d` a number, and what follows is not looked at."""
    match = re.match(re.escape(pattern).replace(r"\ ", r"\s*").replace("%d", NUMBER), line, re.ASCII)
    return tuple(map(int, match.groups())) if match else ()


def load(text: str) -> Loaded:
    found = Loaded()
    for line in text.split("\n"):
        if not line.startswith("#"):
            take(found, line)
    return found


def take(found: Loaded, line: str) -> None:
    if found.transmit == (-1,) and (numbers := scan("TX %d GAIN %d INT %d", line)):
        found.transmit = numbers
        return
    if found.receive == (-1,):
        if numbers := scan("RX %d GAIN %d DEC %d", line):
            found.receive = numbers
            return
        found.transmit = (-1,)
    for kind in ("TX", "RX"):
        if numbers := scan(f"R{kind} %d %d %d %d %d %d", line):
            found.rates[kind] = numbers
            return
        if numbers := scan(f"BW{kind} %d", line):
            found.bandwidths[kind] = numbers[0]
            return
    pair = scan("%d,%d", line) or scan("%d", line) * 2
    if pair:
        found.transmit_taps.append(narrow(pair[0]))
        found.receive_taps.append(narrow(pair[1]))


def narrow(value: int) -> int:
    """A C cast to 16 bits."""
    return (value + 2**15) % 2**16 - 2**15
