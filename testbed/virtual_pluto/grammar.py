"""The text protocol of libiio 0.23 … 0.26: one line → one command, as values. No I/O.

A command is one line of words between blanks, its verb all in capitals or all in small letters. Numbers are read
as C does: leading digits count, the rest is ignored. What the genuine server refuses is refused with its code;
`tests/system/test_virtual_pluto_conformance.py` compares the two byte by byte.
"""

from __future__ import annotations

import errno
import functools
import re
from dataclasses import dataclass
from typing import Final, Literal

Place = Literal["device", "debug", "buffer", "input", "output"]

LONGEST_LINE: Final = 8192
"""Bytes; a line that does not end by then is cut there, as a word that fits no grammar."""
LARGEST_VALUE: Final = 1 << 20
"""Bytes a client may announce for one attribute."""

WORD: Final = re.compile(rb"(?:[A-Za-z]+,|iio:)?[-_.A-Za-z0-9]+")
"""What the genuine lexer takes for a word."""
NUMBER: Final = re.compile(rb"[+-]?\d+")
MASK: Final = re.compile(rb"(?:0[xX])?[0-9A-Fa-f]+")


class Refused(Exception):
    """The answer is this error code."""

    def __init__(self, code: int) -> None:
        super().__init__(errno.errorcode.get(code, str(code)))
        self.code = code


@dataclass(frozen=True)
class Plain:
    """A verb without arguments: HELP, EXIT, PRINT, VERSION."""

    verb: Literal["HELP", "EXIT", "PRINT", "VERSION"]


@dataclass(frozen=True)
class Timeout:
    """TIMEOUT ms."""

    ms: int


@dataclass(frozen=True)
class Attribute:
    """Where an attribute lives; an empty name means all of them."""

    device: str
    place: Place
    channel: str
    name: str


@dataclass(frozen=True)
class Read:
    """READ of one attribute or of all."""

    attribute: Attribute


@dataclass(frozen=True)
class Write:
    """WRITE: `count` bytes follow the line."""

    attribute: Attribute
    count: int


@dataclass(frozen=True)
class Open:
    """OPEN: `mask` has one bit a scan index; `digits` of it came."""

    device: str
    samples: int
    mask: int
    digits: int
    cyclic: bool


@dataclass(frozen=True)
class Close:
    """CLOSE."""

    device: str


@dataclass(frozen=True)
class Transfer:
    """READBUF or WRITEBUF of `count` bytes."""

    verb: Literal["READBUF", "WRITEBUF"]
    device: str
    count: int


@dataclass(frozen=True)
class GetTrigger:
    """GETTRIG."""

    device: str


@dataclass(frozen=True)
class SetTrigger:
    """SETTRIG; an empty trigger takes it away."""

    device: str
    trigger: str


@dataclass(frozen=True)
class SetBuffers:
    """SET dev BUFFERS_COUNT."""

    device: str
    count: int


Command = Plain | Timeout | Read | Write | Open | Close | Transfer | GetTrigger | SetTrigger | SetBuffers

SIZES: Final = {
    b"HELP": (0,),
    b"EXIT": (0,),
    b"PRINT": (0,),
    b"VERSION": (0,),
    b"TIMEOUT": (1,),
    b"READ": (1, 2, 3, 4),
    b"WRITE": (2, 3, 4, 5),
    b"OPEN": (3, 4),
    b"CLOSE": (1,),
    b"READBUF": (2,),
    b"WRITEBUF": (2,),
    b"GETTRIG": (1,),
    b"SETTRIG": (1, 2),
    b"SET": (3,),
}
"""How many words may follow each verb."""


@functools.lru_cache(maxsize=1024)  # clients repeat themselves
def parse(line: bytes) -> Command | None:
    """The command on one line, or None for an empty one.

    Args:
        line: with or without its end; what follows a NUL is not part of it.

    Raises:
        Refused: EINVAL, for anything that is not a command.
    """
    text = line.rstrip(b"\r\n")
    head, nul, _ = text.partition(b"\0")
    if not head:
        return None
    words = head.split()
    if nul or head[:1].isspace() or not words or not all(WORD.fullmatch(word) for word in words):
        raise Refused(errno.EINVAL)
    verb = _keyword(words[0])
    if len(words) - 1 not in SIZES.get(verb, ()):
        raise Refused(errno.EINVAL)
    return _command(verb, words[1:])


def _command(verb: bytes, words: list[bytes]) -> Command:
    text = [word.decode("ascii") for word in words]
    match verb:
        case b"TIMEOUT":
            return Timeout(number(words[0]))
        case b"READ":
            return Read(_attribute(words))
        case b"WRITE":
            return Write(_attribute(words[:-1]), _size(words[-1]))
        case b"OPEN":
            return _open(words)
        case b"CLOSE":
            return Close(text[0])
        case b"READBUF":
            return Transfer("READBUF", text[0], number(words[1]))
        case b"WRITEBUF":
            return Transfer("WRITEBUF", text[0], number(words[1]))
        case b"GETTRIG":
            return GetTrigger(text[0])
        case b"SETTRIG":
            return SetTrigger(text[0], text[1] if len(text) > 1 else "")
        case b"SET":
            return _set_buffers(words)
    return Plain(verb.decode("ascii"))  # type: ignore[arg-type]


def number(word: bytes) -> int:
    """The leading integer of a word, 0 where there is none."""
    found = NUMBER.match(word)
    return int(found.group()) if found and len(found.group()) < 20 else (1 << 63) - 1 if found else 0


def _keyword(word: bytes) -> bytes:
    """`word` in capitals when it is all capitals or all small, and nothing otherwise."""
    return word.upper() if word in (word.upper(), word.lower()) else b""


def _size(word: bytes) -> int:
    count = number(word)
    if not 0 <= count <= LARGEST_VALUE:
        raise Refused(errno.ENOMEM)
    return count


def _attribute(words: list[bytes]) -> Attribute:
    device, *rest = (word.decode("ascii") for word in words)
    place = _keyword(words[1]).decode("ascii").lower() if len(words) > 1 else ""
    if place in ("input", "output") and 2 <= len(rest) <= 3:
        return Attribute(device, place, rest[1], rest[2] if len(rest) > 2 else "")  # type: ignore[arg-type]
    if place in ("debug", "buffer") and len(rest) <= 2:
        return Attribute(device, place, "", rest[1] if len(rest) > 1 else "")  # type: ignore[arg-type]
    if len(rest) > 1 or place in ("input", "output"):
        raise Refused(errno.EINVAL)
    return Attribute(device, "device", "", rest[0] if rest else "")


def _open(words: list[bytes]) -> Open:
    if len(words) == 4 and _keyword(words[3]) != b"CYCLIC":
        raise Refused(errno.EINVAL)
    if not MASK.fullmatch(words[2]):
        raise Refused(errno.EINVAL)
    return Open(words[0].decode("ascii"), number(words[1]), int(words[2], 16), len(words[2]), cyclic=len(words) == 4)


def _set_buffers(words: list[bytes]) -> SetBuffers:
    if _keyword(words[1]) != b"BUFFERS_COUNT":
        raise Refused(errno.EINVAL)
    return SetBuffers(words[0].decode("ascii"), number(words[2]))
