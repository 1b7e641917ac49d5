"""One phase of a round on the air: every transmitter in turn, failed blocks again, everything counted.

Transmitters take turns because their clocks are not aligned; the links of one transmitter share its frame,
each on its own subcarriers. When all have had their turn, what failed is sent again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from testbed.fleet import Crew
from testbed.frames import Carried, Frames, cells_per_block
from testbed.ofdm.frame_format import MAX_SYMBOLS
from testbed.ofdm.mcs import THRESHOLD_DB, choose_schemes
from testbed.outcome import Traffic
from testbed.plan import Allocation, Plan, RoundSettings
from testbed.protocol import Phase
from testbed.units import db, from_db

Ints = NDArray[np.int64]
Pairs = NDArray[np.bool_]

CHECKSUM_BYTES = 4


class FrameCounter:
    """Frame numbers of a run, each given once: a receiver tells a fresh frame from a stale one by them."""

    def __init__(self, first: int = 1) -> None:
        self._upcoming = first

    def next(self) -> int:
        """The next number."""
        number, self._upcoming = self._upcoming, self._upcoming + 1
        return number


@dataclass(eq=False)
class Tally:
    """Running account of a phase; K nodes, N tokens, links indexed [from, to].

    Attributes:
        delivered: (N, K) blocks of token n that reached (forward) or came back from (return) expert k.
        energy_j: (K, K) transmit energy of each link's own subcarriers.
        overhead_j: preambles, headers, training and pilots.
        sent, failed, given_up: (K, K) block counts as in `Traffic`.
        air_time_s: time with a carrier on the air.
        constellation, constellation_link: symbols of the first link that was heard.
    """

    delivered: Pairs
    energy_j: NDArray[np.float64]
    sent: NDArray[np.int64]
    failed: NDArray[np.int64]
    given_up: NDArray[np.int64]
    constellation: NDArray[np.complex64]
    constellation_link: tuple[int, int] = (-1, -1)
    overhead_j: float = 0.0
    air_time_s: float = 0.0

    @classmethod
    def empty(cls, tokens: int, nodes: int) -> Tally:
        """Nothing sent yet."""
        link = (nodes, nodes)
        return cls(
            delivered=np.zeros((tokens, nodes), np.bool_),
            energy_j=np.zeros(link),
            sent=np.zeros(link, np.int64),
            failed=np.zeros(link, np.int64),
            given_up=np.zeros(link, np.int64),
            constellation=np.zeros(0, np.complex64),
        )

    def traffic(self, allocation: Allocation) -> Traffic:
        """The counts, beside the allocation they were made on."""
        return Traffic(
            sent=self.sent,
            failed=self.failed,
            given_up=self.given_up,
            mcs=allocation.mcs,
            subcarrier_link=allocation.subcarrier_link,
            air_time_s=self.air_time_s,
        )


def exchange(
    crew: Crew,
    settings: RoundSettings,
    layer: int,
    phase: Phase,
    plan: Plan,
    wanted: Pairs,
    numbers: FrameCounter,
    tally: Tally,
) -> None:
    """Carries the blocks of `wanted` over the air and enters what happened into `tally`.

    Args:
        crew: the nodes; those that die are dropped from it.
        settings: attempts and powers.
        layer: layer of the round.
        phase: "forward" carries states to experts, "return" results to the tokens' owners.
        plan: who is served on which subcarriers.
        wanted: (N, K) token n and expert k whose block has to travel; own experts need no radio.
        numbers: source of frame numbers.
        tally: account of the phase, added to.
    """
    blocks = waiting_blocks(settings, plan, phase, wanted)
    for attempt in range(settings.attempts):
        if not blocks.token.size:
            break
        frames = make_frames(plan, phase, layer, blocks, numbers, attempt)
        carried = crew.carry(frames)
        count_air_time(settings, frames, carried, tally)
        count_blocks(blocks, frames, carried, tally)
        blocks = blocks_again(settings, blocks, frames, carried)
    np.add.at(tally.given_up, (blocks.sender, blocks.receiver), 1)


@dataclass(frozen=True, eq=False)
class Pending:
    """Blocks that have not arrived, (B,) each, in the order of the air.

    Attributes:
        token: whose state or result it is; expert: who computes or has computed it.
        sender, receiver: its link.
        part: which of its sender's frames carries it.
        mcs: the scheme to send it with.
    """

    token: Ints
    expert: Ints
    sender: Ints
    receiver: Ints
    part: Ints
    mcs: Ints

    def take(self, order: NDArray[np.bool_] | Ints) -> Pending:
        """Some of them, or all in another order."""
        return Pending(*(column[order] for column in vars(self).values()))


def waiting_blocks(settings: RoundSettings, plan: Plan, phase: Phase, wanted: Pairs) -> Pending:
    """What has to be sent in this phase, split into frames: nearly always one a sender."""
    token, expert = np.nonzero(wanted)
    owner = plan.problem.source[token]
    sender, receiver = (owner, expert) if phase == "forward" else (expert, owner)
    allocation = plan.allocation(phase)
    blocks = Pending(token, expert, sender, receiver, token, allocation.mcs[sender, receiver])
    blocks = blocks.take(sender != receiver)
    link = blocks.sender * wanted.shape[1] + blocks.receiver
    order = np.lexsort((blocks.token, link))
    blocks, link = blocks.take(order), link[order]
    rank = np.arange(link.size) - np.searchsorted(link, link)
    blocks = replace(blocks, part=rank // blocks_a_frame(settings, allocation)[link])
    return blocks.take(np.lexsort((link, blocks.part, blocks.sender))) if blocks.part.any() else blocks


def blocks_a_frame(settings: RoundSettings, allocation: Allocation) -> Ints:
    """(K·K,) blocks of each link that fit into a frame with the slowest scheme.

    So sending again with a slower one never has to split a frame.
    """
    cells = cells_per_block(settings.payload_bits // 8 - CHECKSUM_BYTES)[0]
    return np.asarray(np.maximum(1, MAX_SYMBOLS * allocation.count // cells))


def make_frames(plan: Plan, phase: Phase, layer: int, blocks: Pending, numbers: FrameCounter, attempt: int) -> Frames:
    """The frames that serve all pending blocks, each sender's links at once."""
    allocation = plan.allocation(phase)
    begins_frame = begins(blocks.sender, blocks.part)
    frame = np.cumsum(begins_frame) - 1
    begins_share = begins(frame, blocks.receiver)
    first = np.flatnonzero(begins_share)
    sender, receiver = blocks.sender[first], blocks.receiver[first]
    holder, subcarrier = allocation.subcarriers_of(sender * plan.problem.nodes + receiver)
    source = blocks.sender[begins_frame]
    return Frames(
        layer=layer,
        phase=phase,
        attempt=attempt,
        number=np.array([numbers.next() for _ in source]),
        source=source,
        frame=frame[first],
        destination=receiver,
        mcs=blocks.mcs[first],
        share=np.cumsum(begins_share) - 1,
        row=plan.row[blocks.token],
        holder=holder,
        subcarrier=subcarrier,
    )


def begins(first: Ints, second: Ints) -> NDArray[np.bool_]:
    """(B,) where a run of equal pairs begins."""
    changes = np.ones(first.size, np.bool_)
    np.logical_or(first[1:] != first[:-1], second[1:] != second[:-1], out=changes[1:])
    return changes


def count_air_time(settings: RoundSettings, frames: Frames, carried: Carried, tally: Tally) -> None:
    """Real air time × power: each link's subcarriers while they carry blocks, the rest as overhead."""
    spent = carried.cost
    power_w = settings.tx_power_w * frames.subcarriers
    np.add.at(tally.energy_j, (frames.sender, frames.destination), power_w * spent.share_s)
    pilots_w = settings.tx_power_w * settings.grid.pilots.size
    overhead_j = settings.full_band_power_w * spent.overhead_s + pilots_w * (spent.air_time_s - spent.overhead_s)
    tally.overhead_j += float(overhead_j.sum())
    tally.air_time_s += float(spent.air_time_s.sum())


def count_blocks(blocks: Pending, frames: Frames, carried: Carried, tally: Tally) -> None:
    """Which blocks arrived; those of a frame that nobody sent count for nothing."""
    sent, failed = carried.on_air[frames.frame][frames.share], ~carried.arrived
    tally.delivered[blocks.token[carried.arrived], blocks.expert[carried.arrived]] = True
    np.add.at(tally.sent, (blocks.sender, blocks.receiver), sent)
    np.add.at(tally.failed, (blocks.sender, blocks.receiver), sent & failed)
    if tally.constellation.size == 0 and carried.pictured >= 0:
        tally.constellation = carried.constellation
        share = carried.pictured
        tally.constellation_link = int(frames.sender[share]), int(frames.destination[share])


def blocks_again(settings: RoundSettings, blocks: Pending, frames: Frames, carried: Carried) -> Pending:
    """What is still pending, with the schemes to send it with. A link whose end died is given up."""
    pending = np.flatnonzero(~carried.arrived & carried.answered[frames.share])
    if not pending.size:
        return blocks.take(pending)
    mcs = retry_mcs(settings, frames.mcs, carried.snr_db, frames.attempt)
    return replace(blocks.take(pending), mcs=mcs[frames.share[pending]])


def retry_mcs(settings: RoundSettings, mcs: Ints, snr_db: NDArray[np.float64], attempt: int) -> Ints:
    """The same scheme while combining with what was received promises success, else what the channel bears now.

    Combining n receptions of equal quality gains 10·log10(n) dB over one (D. Chase, IEEE Trans. Commun. 33(5), 1985).

    Args:
        settings: margin kept in hand.
        mcs: (S,) schemes of shares with blocks that failed.
        snr_db: (S,) what was received; NaN where no frame was heard, which says nothing about the scheme.
        attempt: 0 after the first transmission.
    """
    heard = ~np.isnan(snr_db)
    promising = snr_db + float(db(attempt + 2)) >= THRESHOLD_DB[mcs] + settings.margin_db
    power = from_db(np.where(heard, snr_db, 0.0))
    supported = choose_schemes(power, np.arange(mcs.size), mcs.size, settings.margin_db)
    lower = np.minimum(mcs, np.maximum(supported, 0))
    return np.asarray(np.where(heard & ~promising, lower, mcs))
