"""Frames between controller and writer process: a msgpack header and the raw bytes of arrays.

Both ends carry deadlines: nothing here waits for ever. Lengths are little-endian: 4 bytes header, 8 bytes
body.
"""

from __future__ import annotations

import os
import select
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

_LENGTHS = struct.Struct("<IQ")
MAX_HEADER = 1 << 20
MAX_BODY = 1 << 34


class Open(msgspec.Struct, tag=True, frozen=True):
    """First frame: make the record."""

    path: str
    format_version: int
    nodes: int
    layers: int
    frequency_hz: list[float]
    data_frequency_hz: list[float]
    center_hz: float | None
    spacing_hz: float
    clock: str
    attributes: dict[str, str | int | float]
    floor_bytes: int


class Append(msgspec.Struct, tag=True, frozen=True):
    """One round; its rows follow, and their checksums as `crc32`."""

    timing: bytes


class Close(msgspec.Struct, tag=True, frozen=True):
    """Last frame: finish the file."""


class Done(msgspec.Struct, tag=True, frozen=True):
    """What was asked is done; so many rounds can be read back."""

    committed: int


class Full(msgspec.Struct, tag=True, frozen=True):
    """Too little space, nothing was written; the same round may be sent again."""

    free: int
    needed: int


class Broken(msgspec.Struct, tag=True, frozen=True):
    """The writer gives up and ends."""

    reason: str


Message = Open | Append | Close | Done | Full | Broken


class _Header(msgspec.Struct, frozen=True):
    message: Message
    arrays: list[tuple[str, str, tuple[int, ...]]]


_DECODER = msgspec.msgpack.Decoder(_Header)


@dataclass(frozen=True, eq=False)
class Frame:
    """A message and the raw bytes of its arrays, as they travel."""

    header: bytes | bytearray
    body: bytes | bytearray

    def open(self) -> tuple[Message, dict[str, NDArray[Any]]]:
        """The message, and its arrays as views of the body.

        Raises:
            ValueError: the bytes are no frame.
        """
        try:
            header = _DECODER.decode(self.header)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"no frame: {error}") from error
        return header.message, _split(self.body, header.arrays)


def pack(message: Message, arrays: Mapping[str, NDArray[Any]]) -> Frame:
    """A frame to send or to keep."""
    header = _Header(message, [(name, a.dtype.str, a.shape) for name, a in arrays.items()])
    return Frame(msgspec.msgpack.encode(header), b"".join(a.tobytes() for a in arrays.values()))


def send(fd: int, frame: Frame, deadline_s: float | None) -> None:
    """Write one frame to a pipe.

    Raises:
        TimeoutError: the reader took nothing for `deadline_s`.
        OSError: the reader is gone.
    """
    lengths = _LENGTHS.pack(len(frame.header), len(frame.body))
    _write_all(fd, memoryview(b"".join((lengths, frame.header, frame.body))), deadline_s)


def receive(fd: int, deadline_s: float | None) -> Frame | None:
    """Next frame; None when the other end closed the pipe between two frames.

    Raises:
        TimeoutError: it did not come within `deadline_s`.
        EOFError: the other end closed the pipe inside a frame.
        ValueError: the bytes are no frame.
    """
    start = _read_exactly(fd, _LENGTHS.size, deadline_s)
    if start is None:
        return None
    header_bytes, body_bytes = _LENGTHS.unpack(start)
    if header_bytes > MAX_HEADER or body_bytes > MAX_BODY:
        raise ValueError(f"frame of {header_bytes} + {body_bytes} bytes")
    header = _read_exactly(fd, header_bytes, deadline_s)
    body = _read_exactly(fd, body_bytes, deadline_s) if body_bytes else bytearray()
    if header is None or body is None:
        raise EOFError("pipe closed inside a frame")
    return Frame(header, body)


def _split(body: bytes | bytearray, arrays: list[tuple[str, str, tuple[int, ...]]]) -> dict[str, NDArray[Any]]:
    found, begin = {}, 0
    for name, dtype, shape in arrays:
        count = int(np.prod(shape, dtype=np.int64))
        found[name] = np.frombuffer(body, dtype, count, begin).reshape(shape)
        begin += found[name].nbytes
    return found


def _write_all(fd: int, part: memoryview, deadline_s: float | None) -> None:
    while part:
        _wait(fd, select.POLLOUT, deadline_s)
        try:
            part = part[os.write(fd, part) :]
        except BlockingIOError:
            continue


def _read_exactly(fd: int, size: int, deadline_s: float | None) -> bytearray | None:
    """`size` bytes; None when the pipe ends before the first of them."""
    buffer = bytearray(size)
    view, have = memoryview(buffer), 0
    while have < size:
        _wait(fd, select.POLLIN, deadline_s)
        got = os.readv(fd, [view[have:]])
        if not got:
            if have:
                raise EOFError("pipe closed inside a frame")
            return None
        have += got
    return buffer


def _wait(fd: int, event: int, deadline_s: float | None) -> None:
    poll = select.poll()
    poll.register(fd, event)
    end = None if deadline_s is None else time.monotonic() + deadline_s
    left = None if end is None else 1000 * max(0.0, end - time.monotonic())
    if not poll.poll(left):
        raise TimeoutError(f"no answer within {deadline_s:g} s")
