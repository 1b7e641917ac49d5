"""What a binary format has to say about itself: five small functions and a few facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from testbed.record.foreign.clock import Clock
from testbed.record.foreign.grid import Layout
from testbed.record.foreign.peek import Bytes, Rows

START, LENGTH, KEY = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Walk:
    """Frames found in a block.

    Attributes:
        rows: (frames, ≥ 3) start, length, layout key, and what else the format notes.
        consumed: bytes that need not be looked at again.
        skipped: damaged stretches met.
        lost: the walk ended inside a damaged stretch.
    """

    rows: Rows
    consumed: int
    skipped: int
    lost: bool


@dataclass(frozen=True, eq=False)
class Headers:
    """What the headers of (frames,) say; unknown numbers are NaN, unknown addresses 0.

    Attributes:
        ticks: counter value.
        rssi_dbm: (frames, receive antennas).
        noise_dbm: (frames,) noise power in the channel.
        agc_db: (frames,).
        address: (frames,) transmitter.
        good: (frames,) the receiver itself calls the frame sound.
        joins: (frames,) belongs to the same packet as the frame before it.
    """

    ticks: NDArray[np.int64]
    rssi_dbm: NDArray[np.float32]
    noise_dbm: NDArray[np.float32]
    agc_db: NDArray[np.float32]
    address: NDArray[np.uint64]
    good: NDArray[np.bool_]
    joins: NDArray[np.bool_]

    def take(self, index: slice | NDArray[np.int64]) -> Headers:
        """The chosen frames."""
        return Headers(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


Scale = Callable[[NDArray[np.complex64], Headers, Layout], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Dialect:
    """A binary format.

    Attributes:
        name: short name.
        hardware: receiver and tool, in words.
        begin: offset of the first frame.
        walk: (bytes, file ends, began inside damage) → frames.
        layout: layout key → what such a frame holds.
        headers: (bytes, rows) → header values.
        decode: (bytes, rows of one layout, layout) → (frames, links, tones) numbers in the file.
        scale: (frames, links) factors to the amplitude reference; None = the numbers as they are.
        absolute: scaled amplitudes of different packets can be compared.
        clock: its time stamp.
        reference: what scaled amplitudes are relative to.
        noise: noise variance per tone for scaled h, from headers: (frames,); None = unknown.
        remarks: what a user of the numbers must know.
    """

    name: str
    hardware: str
    begin: int
    walk: Callable[[Bytes, bool, bool], Walk]
    layout: Callable[[int], Layout]
    headers: Callable[[Bytes, Rows], Headers]
    decode: Callable[[Bytes, Rows, Layout], NDArray[np.complex64]]
    scale: Scale | None
    clock: Clock
    reference: str
    noise: Callable[[Headers], NDArray[np.float32]]
    absolute: bool = True
    transmitters_known: bool = True
    remarks: tuple[str, ...] = ()
