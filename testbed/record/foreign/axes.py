"""Which axis of an array is what: by its names, by the array `dims`, or by lengths that allow one answer only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from testbed.errors import RecordError
from testbed.record.foreign.content import MATLAB, Content, Lazy

TIME, LINK, RX, TX, TONE, ONE = "time", "link", "rx", "tx", "tone", "one"
ORDER = (TIME, LINK, RX, TX, TONE)
_NAMES = {
    TIME: ("time", "times", "packet", "packets"),
    TONE: ("subcarrier", "subcarriers", "frequency", "frequencies", "frequency_hz", "tone", "tones"),
    LINK: ("link", "links"),
    RX: ("rx", "receive_antenna", "link_to"),
    TX: ("tx", "transmit_antenna", "link_from"),
}
_MEANING = {name: axis for axis, names in _NAMES.items() for name in names}

Axes = tuple[str, ...]


def named(names: tuple[str, ...]) -> Axes:
    """What axes of these names are; "?" for a name that says nothing."""
    return tuple(_MEANING.get(name.lower(), "?") for name in names)


def arranged(content: Content, h: Lazy, times: int, tones: int) -> tuple[Lazy, Axes]:
    """The CSI, and what each of its axes is.

    Raises:
        RecordError: it cannot be told, or contradicts the number of times and frequencies.
    """
    names = h.dims or _dims_array(content)
    if names and content.format == MATLAB:
        h = h.with_ones(len(names))  # MATLAB drops axes of length 1 at the end
    axes = _by_name(content, h, names) if names else _by_length(content, h, times, tones)
    for axis, expected in ((TIME, times), (TONE, tones)):
        if h.shape[axes.index(axis)] != expected:
            raise RecordError(f"{content.path}: h has {h.shape[axes.index(axis)]} entries along {axis}, not {expected}")
    if not times or not h.size:
        raise RecordError(f"{content.path}: no packet in it; nothing can be imported")
    if h.size // times > 1 << 20:
        raise RecordError(f"{content.path}: {h.shape} has more than a million numbers a packet; this is not CSI")
    return h, axes


def _dims_array(content: Content) -> tuple[str, ...]:
    told = content.attributes.get("dims")
    if told is None and "dims" in content.arrays:
        told = ",".join(str(name) for name in content.arrays["dims"].all().reshape(-1))
    return tuple(name.strip() for name in str(told).split(",")) if told else ()


def _by_name(content: Content, h: Lazy, names: tuple[str, ...]) -> Axes:
    axes = named(names)
    if "?" in axes or not len(set(axes)) == len(axes) == len(h.shape) or not {TIME, TONE} <= set(axes):
        raise RecordError(
            f"{content.path}: dimensions {', '.join(names)} of an array of shape {h.shape}; they must be time, "
            f"subcarrier, and link or rx and tx"
        )
    return axes


def _by_length(content: Content, h: Lazy, times: int, tones: int) -> Axes:
    fits_time = [n for n, size in enumerate(h.shape) if size == times]
    fits_tone = [n for n, size in enumerate(h.shape) if size == tones]
    if not 2 <= len(h.shape) <= 3 or len(fits_time) != 1 or len(fits_tone) != 1 or fits_time == fits_tone:
        raise RecordError(
            f"{content.path}: shape {h.shape} with {times} times and {tones} frequencies does not tell which axis is "
            "which; add an array dims, e.g. ['time', 'link', 'subcarrier']"
        )
    return tuple(TIME if [n] == fits_time else TONE if [n] == fits_tone else LINK for n in range(len(h.shape)))


def links(h: Lazy, axes: Axes) -> tuple[tuple[int, int], ...]:
    """(receive, transmit) of each link in the order of `in_order`; numbers of a link axis count as receivers."""
    size = dict(zip(axes, h.shape, strict=True))
    if LINK in size:
        return tuple((n, 0) for n in range(size[LINK]))
    return tuple((rx, tx) for rx in range(size.get(RX, 1)) for tx in range(size.get(TX, 1)))


def part_of(shape: tuple[int, ...], axes: Axes, span: slice) -> tuple[slice, ...]:
    """Slices of a span of times."""
    return tuple(span if axis == TIME else slice(0, size) for axis, size in zip(axes, shape, strict=True))


def in_order(part: NDArray[Any], axes: Axes) -> NDArray[Any]:
    """(times, links, tones) from axes in any order."""
    moved = np.transpose(part, [axes.index(axis) for axis in ORDER if axis in axes])
    return np.ascontiguousarray(moved).reshape(moved.shape[0], -1, moved.shape[-1])


def vector(array: Lazy, times: int) -> Axes | None:
    """The axes of so many numbers in one row or column; None for any other shape."""
    if array.size != times or times not in array.shape or len(array.shape) > 2:
        return None
    at = array.shape.index(times)
    return tuple(TIME if n == at else ONE for n in range(len(array.shape)))


def beside(array: Lazy, h: Lazy, axes: Axes) -> Axes | None:
    """What the axes of an array beside the CSI are, if it has one number a packet, or a packet and link (or antenna).

    None where its axes are others, or do not tell what they are; `ONE` is an axis to be dropped.
    """
    size = dict(zip(axes, h.shape, strict=True))
    del size[TONE]
    if array.dims:
        told = named(array.dims)
        fits = len(set(told)) == len(told) and TIME in told and all(a in size for a in told)
        return told if fits and all(size[a] == n for a, n in zip(told, array.shape, strict=True)) else None
    whole = tuple(axis for axis in ORDER if axis in size)
    if array.shape == tuple(size[axis] for axis in whole):
        return whole
    return vector(array, size[TIME])


def each_link(part: NDArray[Any], own: Axes, h: Lazy, axes: Axes) -> NDArray[Any]:
    """(times, links) numbers from those whose axes are of `beside`; one a packet counts for all of its links."""
    size = dict(zip(axes, h.shape, strict=True))
    kept = [axis for axis in ORDER if axis in own]
    moved = np.transpose(part, [own.index(axis) for axis in kept] + [n for n, a in enumerate(own) if a == ONE])
    whole = [axis for axis in ORDER if axis in size and axis != TONE]
    spread = moved.reshape([part.shape[own.index(a)] if a in own else 1 for a in whole])
    times = part.shape[own.index(TIME)]
    return np.broadcast_to(spread, (times, *(size[a] for a in whole[1:]))).reshape(times, -1)
