"""A round as bytes, for the journal: a msgpack header that lists arrays, and behind it their raw bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


class Open(msgspec.Struct, tag=True, frozen=True):
    """First frame: what does not change in the run."""

    format_version: int
    nodes: int
    layers: int
    frequency_hz: list[float]
    data_frequency_hz: list[float]
    center_hz: float | None
    spacing_hz: float
    clock: str
    attributes: dict[str, str | int | float]


class Append(msgspec.Struct, tag=True, frozen=True):
    """One round; its rows follow, and their checksums as `crc32`."""

    timing: bytes


Message = Open | Append


class _Header(msgspec.Struct, frozen=True):
    message: Message
    arrays: list[tuple[str, str, tuple[int, ...]]]


_DECODER = msgspec.msgpack.Decoder(_Header)


@dataclass(frozen=True, eq=False)
class Frame:
    """A message and the bytes of its arrays, as they are kept."""

    header: bytes
    body: bytes

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


def pack(message: Message, arrays: Arrays) -> tuple[bytes, list[memoryview]]:
    """Header and body of a frame; the body in parts, which are the arrays themselves, not copies."""
    header = _Header(message, [(name, a.dtype.str, a.shape) for name, a in arrays.items()])
    return msgspec.msgpack.encode(header), [octets(a) for a in arrays.values()]


def octets(array: NDArray[Any]) -> memoryview:
    """The bytes of an array in C order; of a contiguous one without a copy."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _split(body: bytes, arrays: list[tuple[str, str, tuple[int, ...]]]) -> dict[str, NDArray[Any]]:
    found, begin = {}, 0
    for name, dtype, shape in arrays:
        count = int(np.prod(shape, dtype=np.int64))
        found[name] = np.frombuffer(body, dtype, count, begin).reshape(shape)
        begin += found[name].nbytes
    return found
