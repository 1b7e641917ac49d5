"""One phase of a round on the air: every transmitter in turn, failed blocks again, everything counted.

Transmitters take turns because their clocks are not aligned; the links of one transmitter share its frame,
each on its own subcarriers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from testbed.fleet import Fleet
from testbed.ofdm.coding import coded_length
from testbed.ofdm.frame_format import MAX_SYMBOLS
from testbed.ofdm.mcs import MCS, choose_mcs
from testbed.outcome import Traffic
from testbed.plan import Allocation, Plan, RoundSettings
from testbed.protocol import Phase, Reception, Sent, Share, Slot
from testbed.units import db, from_db

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
    fleet: Fleet,
    settings: RoundSettings,
    layer: int,
    phase: Phase,
    plan: Plan,
    wanted: Pairs,
    frames: FrameCounter,
    tally: Tally,
) -> None:
    """Carries the blocks of `wanted` over the air and enters what happened into `tally`.

    Args:
        fleet: the nodes; those that die are dropped from it.
        settings: attempts and powers.
        layer: layer of the round.
        phase: "forward" carries states to experts, "return" results to the tokens' owners.
        plan: who is served on which subcarriers.
        wanted: (N, K) token n and expert k whose block has to travel; own experts need no radio.
        frames: source of frame numbers.
        tally: account of the phase, added to.
    """
    remote = wanted & (np.arange(wanted.shape[1])[None, :] != plan.problem.source[:, None])
    for transmitter in range(wanted.shape[1]):
        for part in parts_of(settings, plan, phase, waiting_blocks(plan, phase, transmitter, remote)):
            pending = part
            for attempt in range(settings.attempts):
                if not pending:
                    break
                slot = make_slot(plan, phase, layer, transmitter, pending, frames.next(), attempt)
                pending = run_slot(fleet, settings, slot, pending, tally)
            for (sender, receiver), waiting in pending.items():
                tally.given_up[sender, receiver] += waiting.tokens.size


@dataclass(frozen=True, eq=False)
class Waiting:
    """Blocks of one link that have not arrived: (n,) tokens, and the scheme to send them with."""

    tokens: NDArray[np.int64]
    mcs: int


Pending = dict[tuple[int, int], Waiting]


def waiting_blocks(plan: Plan, phase: Phase, transmitter: int, remote: Pairs) -> Pending:
    """What `transmitter` has to send in this phase, by link (from, to)."""
    source, schemes = plan.problem.source, plan.allocation(phase).mcs
    pending: Pending = {}
    for other in range(remote.shape[1]):
        owner, expert = (transmitter, other) if phase == "forward" else (other, transmitter)
        tokens = np.flatnonzero((source == owner) & remote[:, expert])
        if tokens.size:
            pending[transmitter, other] = Waiting(tokens, int(schemes[transmitter, other]))
    return pending


def parts_of(settings: RoundSettings, plan: Plan, phase: Phase, pending: Pending) -> list[Pending]:
    """What fits into a frame each, in order: nearly always one part, more for many tokens on few subcarriers.

    A part would fit with the slowest scheme, so that sending again with a slower one never has to split it.
    """
    subcarriers = plan.allocation(phase).subcarriers
    cells = coded_length(settings.payload_bits // 8 - CHECKSUM_BYTES, MCS[0]) // MCS[0].bits_per_symbol
    parts: list[Pending] = []
    for link, waiting in pending.items():
        most = max(1, MAX_SYMBOLS * subcarriers[link].size // cells)
        for k, start in enumerate(range(0, waiting.tokens.size, most)):
            if k == len(parts):
                parts.append({})
            parts[k][link] = Waiting(waiting.tokens[start : start + most], waiting.mcs)
    return parts


def make_slot(
    plan: Plan, phase: Phase, layer: int, transmitter: int, pending: Pending, number: int, attempt: int
) -> Slot:
    """The frame that serves all pending links of `transmitter` at once."""
    allocation = plan.allocation(phase)
    shares = tuple(
        Share(
            destination=link[1],
            rows=plan.row[waiting.tokens],
            subcarriers=allocation.subcarriers[link],
            mcs=waiting.mcs,
        )
        for link, waiting in pending.items()
    )
    return Slot(number, layer, phase, transmitter, shares, attempt)


def run_slot(fleet: Fleet, settings: RoundSettings, slot: Slot, pending: Pending, tally: Tally) -> Pending:
    """One frame on the air; what is still pending afterwards. A link whose end died is given up."""
    on_air = fleet.ask([slot.source], lambda node: node.send(slot))
    if slot.source not in on_air:
        return {}
    heard = fleet.ask([link[1] for link in pending], lambda node: node.receive(slot))
    fleet.ask([slot.source], lambda node: node.silence())

    count_air_time(settings, slot, on_air[slot.source], tally)
    remaining: Pending = {}
    for link, waiting in pending.items():
        reception = heard.get(link[1])
        missing = count_link(slot, link, waiting.tokens, reception, tally)
        if missing.size and reception is not None:
            remaining[link] = Waiting(missing, retry_mcs(settings, waiting.mcs, reception, slot.attempt))
    return remaining


def retry_mcs(settings: RoundSettings, mcs: int, reception: Reception, attempt: int) -> int:
    """The same scheme while combining with what was received promises success, else what the channel bears now.

    Combining n receptions of equal quality gains 10·log10(n) dB over one (D. Chase, IEEE Trans. Commun. 33(5), 1985).
    """
    if not reception.heard:
        return mcs
    combined_db = reception.snr_db + float(db(attempt + 2))
    if combined_db >= MCS[mcs].snr_threshold_db + settings.margin_db:
        return mcs
    supported = choose_mcs(from_db([reception.snr_db]), settings.margin_db) or MCS[0]
    return min(mcs, supported.index)


def count_air_time(settings: RoundSettings, slot: Slot, sent: Sent, tally: Tally) -> None:
    """Real air time × power: each link's subcarriers while they carry blocks, the rest as overhead."""
    for share, share_s in zip(slot.shares, sent.share_s, strict=True):
        power_w = settings.tx_power_w * share.subcarriers.size
        tally.energy_j[slot.source, share.destination] += power_w * float(share_s)
    pilots_w = settings.tx_power_w * settings.grid.pilots.size
    payload_s = sent.air_time_s - sent.overhead_s
    tally.overhead_j += settings.full_band_power_w * sent.overhead_s + pilots_w * payload_s
    tally.air_time_s += sent.air_time_s


def count_link(
    slot: Slot, link: tuple[int, int], tokens: NDArray[np.int64], reception: Reception | None, tally: Tally
) -> NDArray[np.int64]:
    """Enters one link's blocks; the tokens whose block did not arrive."""
    arrived = np.zeros(tokens.size, np.bool_) if reception is None else reception.delivered
    expert = link[1] if slot.phase == "forward" else link[0]
    tally.delivered[tokens[arrived], expert] = True
    tally.sent[link] += tokens.size
    tally.failed[link] += int((~arrived).sum())
    if reception is not None and tally.constellation.size == 0 and reception.constellation.size:
        tally.constellation, tally.constellation_link = reception.constellation, link
    return tokens[~arrived]
