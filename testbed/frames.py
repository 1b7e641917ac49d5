"""Frames on the air one after the other, as arrays: what an exchange hands to the nodes, and what they make of it.

F frames, S shares (the links that a frame serves), B blocks, Q pairs of a share and a subcarrier that serves it.
Shares rise with their frame, blocks and subcarriers with their share.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from testbed.ofdm.coding import coded_length
from testbed.ofdm.frame_format import samples_of
from testbed.ofdm.grid import Grid
from testbed.ofdm.mcs import BITS_PER_SYMBOL, MCS
from testbed.protocol import Phase, Share, Slot

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Frames:
    """What goes on the air in one attempt.

    Attributes:
        layer, phase, attempt: as in `Slot`.
        number: (F,) frame numbers; source: (F,) transmitting nodes.
        frame: (S,) frame of each share; destination: (S,) node that its blocks are for; mcs: (S,) its scheme.
        share: (B,) share of each block; row: (B,) its token, as in `Share`.
        holder: (Q,) share that holds each subcarrier; subcarrier: (Q,) data subcarriers.
    """

    layer: int
    phase: Phase
    attempt: int
    number: Ints
    source: Ints
    frame: Ints
    destination: Ints
    mcs: Ints
    share: Ints
    row: Ints
    holder: Ints
    subcarrier: Ints

    @property
    def sender(self) -> Ints:
        """(S,) transmitting node of each share."""
        return self.source[self.frame]

    @property
    def blocks(self) -> Ints:
        """(S,) blocks of each share."""
        return np.bincount(self.share, minlength=self.frame.size)

    @property
    def subcarriers(self) -> Ints:
        """(S,) number of subcarriers of each share."""
        return np.bincount(self.holder, minlength=self.frame.size)

    def slots(self) -> list[Slot]:
        """The same, frame by frame, as single nodes are asked."""
        rows = np.split(self.row, np.cumsum(self.blocks)[:-1])
        places = np.split(self.subcarrier, np.cumsum(self.subcarriers)[:-1])
        shares: list[list[Share]] = [[] for _ in self.number]
        for s, (f, to, mcs) in enumerate(zip(self.frame, self.destination, self.mcs, strict=True)):
            shares[f].append(Share(int(to), rows[s], places[s], int(mcs)))
        heads = zip(self.number, self.source, shares, strict=True)
        return [Slot(int(n), self.layer, self.phase, int(i), tuple(own), self.attempt) for n, i, own in heads]


@dataclass(frozen=True, eq=False)
class Cost:
    """What frames cost in time, as in `Sent`: air_time_s (F,), share_s (S,), overhead_s (F,)."""

    air_time_s: Doubles
    share_s: Doubles
    overhead_s: Doubles


@dataclass(frozen=True, eq=False)
class Carried:
    """What became of frames.

    Attributes:
        on_air: (F,) their source was there to send them.
        cost: of the frames on the air; 0 for the others.
        answered: (S,) the destination was there to say what it heard.
        heard: (S,) it found the frame; snr_db: (S,) mean SNR there, NaN when not heard.
        arrived: (B,) blocks that passed their checksum.
        constellation: (c,) symbols of the first share that has some, `pictured`; −1 = none has.
    """

    on_air: Bools
    cost: Cost
    answered: Bools
    heard: Bools
    snr_db: Doubles
    arrived: Bools
    constellation: NDArray[np.complex64]
    pictured: int


@cache
def cells_per_block(block_bytes: int) -> Ints:
    """(schemes,) constellation symbols of a block of that many bytes, by scheme."""
    return np.asarray([coded_length(block_bytes, scheme) for scheme in MCS] // BITS_PER_SYMBOL)


def cost(grid: Grid, block_bytes: int, frame: Ints, mcs: Ints, blocks: Ints, subcarriers: Ints) -> Cost:
    """What frames with these shares (S,) cost; `frame` rises from 0 without a gap.

    A share is silent once its blocks are sent; the frame lasts as long as its longest share.
    """
    symbols = -(-cells_per_block(block_bytes)[mcs] * blocks // subcarriers)
    first = np.searchsorted(frame, np.arange(frame[-1] + 1 if frame.size else 0))
    longest = np.maximum.reduceat(symbols, first) if frame.size else symbols
    rows = longest + -(-longest // grid.training_period)
    air_time_s = (samples_of(grid, 0) + rows * grid.symbol_samples) / grid.sample_rate_hz
    share_s = np.asarray(symbols * grid.symbol_s, np.float64)
    return Cost(air_time_s, share_s, air_time_s - longest * grid.symbol_s)
