"""Typed values with arrays in them ↔ message frames.

Frame 0 is a msgpack header; each array is one raw frame after it, referred to as (frame, dtype, shape). The
types of the receiver decide what is accepted: nothing is unpickled, nothing is evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from testbed.errors import LinkError

Frame = bytes | bytearray | memoryview
T = TypeVar("T")

HEADER_BYTES = 1 << 20
FRAME_BYTES = 64 << 20
FRAMES = 64
DIMENSIONS = 4
DTYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in (
        "bool",
        "uint8",
        "int8",
        "int16",
        "int32",
        "int64",
        "float16",
        "float32",
        "float64",
        "complex64",
        "complex128",
    )
}
_NAMES = {d: name for name, dtype in DTYPES.items() for d in (dtype, dtype.newbyteorder("big"))}
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, TypeError, OverflowError)


class _Place(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where an array lies: its frame (1 is the first after the header), type and shape."""

    frame: int
    dtype: str
    shape: tuple[int, ...]


def pack(value: Any) -> list[bytes | memoryview]:  # noqa: ANN401 - any Struct or dataclass
    """Frames that `unpack` turns back into `value`, a msgspec Struct or dataclass.

    Arrays are not copied: leave them unchanged until the frames are on their way.

    Raises:
        LinkError: the value holds something that has no place in a message.
    """
    frames: list[bytes | memoryview] = [b""]
    try:
        frames[0] = msgspec.msgpack.encode(value, enc_hook=_shelve(frames))
    except _UNREADABLE as error:
        raise LinkError(f"{type(value).__name__} cannot be sent ({error}): use Structs, numbers and arrays") from error
    _measure(frames, "message cannot be sent")
    return frames


@overload
def unpack(frames: Sequence[Frame], types: type[T]) -> T: ...
@overload
def unpack(frames: Sequence[Frame], types: UnionType) -> Any: ...  # noqa: ANN401
def unpack(frames: Sequence[Frame], types: Any) -> Any:
    """The value of one of `types` that `frames` carry.

    Arrays are C-contiguous, aligned and writable, so that compiled code sees one type: views of the frame
    where it allows that, copies otherwise.

    Args:
        frames: header and array frames as `pack` made them, from anybody.
        types: a Struct or dataclass, or a union of tagged Structs; arrays annotated NDArray[dtype] must
            come as that dtype.

    Raises:
        LinkError: the only error, whatever the frames hold.
    """
    _measure(frames, "message not understood")
    used: set[int] = set()
    try:
        value = msgspec.msgpack.decode(frames[0], type=types, dec_hook=_fetch(frames, used))
    except _UNREADABLE as error:
        raise LinkError(f"message not understood: {error}") from error
    if len(used) != len(frames) - 1:
        raise LinkError(f"message not understood: {len(frames) - 1} array frames, {len(used)} referred to")
    return value


def _measure(frames: Sequence[Frame], what: str) -> None:
    """What the receiver would refuse, or the socket drop, is refused here."""
    if not 1 <= len(frames) <= FRAMES:
        raise LinkError(f"{what}: {len(frames)} frames, allowed are 1 to {FRAMES}")
    if len(frames[0]) > HEADER_BYTES:
        raise LinkError(f"{what}: header of {len(frames[0])} B, allowed are {HEADER_BYTES}")
    if (longest := max(len(frame) for frame in frames)) > FRAME_BYTES:
        raise LinkError(f"{what}: frame of {longest} B, allowed are {FRAME_BYTES}")


def _shelve(frames: list[bytes | memoryview]) -> Callable[[object], object]:
    """Encoder hook that appends arrays to `frames` and leaves their place in the header."""

    def hook(item: object) -> object:
        if isinstance(item, np.generic):
            return item.item()
        if not isinstance(item, np.ndarray):
            raise TypeError(f"no message type for {type(item).__name__}")
        name = _NAMES.get(item.dtype)
        if name is None or item.ndim > DIMENSIONS:
            raise ValueError(f"no arrays of {item.dtype} with {item.ndim} dimensions")
        frames.append(_raw(item, DTYPES[name]))
        return _Place(len(frames) - 1, name, item.shape)

    return hook


def _raw(array: NDArray[Any], dtype: np.dtype[Any]) -> bytes | memoryview:
    if array.size == 0:
        return b""
    return np.ascontiguousarray(array, dtype).reshape(-1).view(np.uint8).data


def _fetch(frames: Sequence[Frame], used: set[int]) -> Callable[[Any, Any], object]:
    """Decoder hook that turns a place in the header into the array of that frame, each frame once."""

    def hook(wanted: Any, item: Any) -> object:  # noqa: ANN401 - a type, and whatever was sent
        place = msgspec.convert(item, _Place)
        dtype = _dtype(place.dtype, wanted)
        if place.frame in used or not 0 < place.frame < len(frames):
            raise ValueError(f"array frame {place.frame} is missing or used twice")
        used.add(place.frame)
        return _array(frames[place.frame], place.shape, dtype)

    return hook


@lru_cache(maxsize=256)
def _dtype(name: str, wanted: Any) -> np.dtype[Any]:  # noqa: ANN401 - a type
    """The dtype of that name, if an annotation like NDArray[np.float32] or NDArray[np.floating] allows it."""
    if (get_origin(wanted) or wanted) is not np.ndarray:
        raise TypeError(f"{wanted} is not a message type")
    inner = get_args(get_args(wanted)[1]) if get_origin(wanted) else ()
    kind = inner[0] if inner and isinstance(inner[0], type) and issubclass(inner[0], np.generic) else np.generic
    if name not in DTYPES or not np.issubdtype(DTYPES[name], kind):
        raise ValueError(f"array of {name[:20]!r}, expected {kind.__name__}")
    return DTYPES[name]


def _array(frame: Frame, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    if len(shape) > DIMENSIONS or any(n < 0 for n in shape):
        raise ValueError(f"array shape {shape[:8]} is impossible")
    if math.prod(shape) * dtype.itemsize != len(frame):
        raise ValueError(f"array shape {shape} of {dtype} does not fit {len(frame)} B")
    flat: NDArray[Any] = np.frombuffer(frame, dtype) if len(frame) else np.empty(0, dtype)
    if dtype.kind == "b" and flat.size and flat.view(np.uint8).max() > 1:
        raise ValueError("array of bool with values other than 0 and 1")
    if not (flat.flags.aligned and flat.flags.writeable and dtype.isnative):
        flat = flat.astype(dtype.newbyteorder("="))
    return flat.reshape(shape)
