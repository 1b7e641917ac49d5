"""Nodes without waveforms: the link abstraction that system-level simulations use.

A block arrives when the effective SNR of its link's subcarriers reaches the threshold of its scheme, the SNR at
which one block in a hundred is lost on the real modem; soft combining adds SNRs. Channels come from a `World`:
from a recording, or from drawn fading. Everything else (model, schedule, retransmissions, energy) is the same
code as over the air.

Left out: synchronisation and its failures, carrier and clock offset, clipping, estimation error inside a
frame, fading within a frame, the width of the waterfall around a threshold.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from testbed.node import not_heard, own_share, sent, slot_links
from testbed.ofdm.grid import Grid
from testbed.ofdm.mcs import MCS, effective_snr
from testbed.ofdm.sounding import sounding_samples
from testbed.protocol import Aggregated, Gated, Prediction, Reception, Sent, Share, Slot, Sounding
from testbed.units import db
from testbed.worker import Payload, Worker


class World(Protocol):
    """The channels between nodes, as they are now."""

    def sounding(self, source: int, destination: int) -> Sounding | None:
        """What a sounding of the link would measure; None when it could not be heard."""
        ...

    def snr(self, source: int, destination: int) -> NDArray[np.float32]:
        """(U,) linear SNR of the link on the used subcarriers."""
        ...

    def on_air(self, seconds: float) -> None:
        """Time in which somebody transmitted has passed."""
        ...


class Ledger:
    """What is under way between abstract nodes: payload by slot number and destination, SNR gathered by block."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.payload: dict[tuple[int, int], Payload] = {}
        self.gathered: dict[tuple[str, int, int, int, int], float] = {}


class AbstractNode:
    """Implements `testbed.protocol.Node` on a world instead of a radio."""

    def __init__(self, worker: Worker, ledger: Ledger, grid: Grid, repetitions: int) -> None:
        self._worker = worker
        self._ledger = ledger
        self._grid = grid
        self._sounding_s = sounding_samples(grid, repetitions) / grid.sample_rate_hz

    @property
    def index(self) -> int:
        """Number of this node and of its expert."""
        return self._worker.index

    def begin(self, batch: int) -> None:
        """Take up the tokens of `batch`."""
        self._worker.begin(batch)

    def sound(self, number: int) -> float:
        """Length of a sounding frame in seconds."""
        self._ledger.world.on_air(self._sounding_s)
        return self._sounding_s

    def measure(self, source: int, number: int) -> Sounding | None:
        """What the world says of the link from `source`."""
        return self._ledger.world.sounding(source, self.index)

    def silence(self) -> None:
        """What was sent is over."""
        self._ledger.payload.clear()

    def resume(self, batch: int, layer: int) -> None:
        """Take up the tokens of `batch` as they were when `layer` began."""
        self._worker.resume(batch, layer)

    def gate(self, layer: int, own: bool = True) -> Gated:
        """Begin `layer`, with the own tokens or for those of others alone."""
        self._ledger.gathered.clear()
        return self._worker.gate(layer, own)

    def send(self, slot: Slot) -> Sent:
        """Leave the payload of `slot` for its destinations."""
        for share in slot.shares:
            self._ledger.payload[slot.number, share.destination] = self._worker.outgoing(slot, share)
        cost = sent(self._grid, slot_links(slot, self._worker.payload_bytes))
        self._ledger.world.on_air(cost.air_time_s)
        return cost

    def receive(self, slot: Slot) -> Reception:
        """Take the blocks whose SNR, gathered over attempts, reaches the threshold of their scheme."""
        share = own_share(slot, self.index)
        payload = self._ledger.payload.get((slot.number, self.index))
        if payload is None:
            return not_heard(share)
        snr = self._effective_snr(slot, share)
        arrived = np.array([self._gather(slot, share, int(row), snr) for row in share.rows])
        self._worker.incoming(slot, share.rows[arrived], payload[arrived])
        return Reception(True, arrived, float(db(snr)), float(snr**-0.5), np.zeros(0, np.complex64))

    def compute(self, layer: int) -> int:
        """Apply the own expert to every state that was received; how many there were."""
        return self._worker.compute(layer)

    def aggregate(self, layer: int, selected: NDArray[np.bool_]) -> Aggregated:
        """Combine the results of `selected` (N, K) and end the layer."""
        return self._worker.aggregate(layer, selected)

    def predict(self) -> Prediction:
        """The likeliest next byte of every token, and the byte that follows."""
        return self._worker.predict()

    def _effective_snr(self, slot: Slot, share: Share) -> float:
        snr = self._ledger.world.snr(slot.source, self.index)[self._grid.data[share.subcarriers]]
        return max(effective_snr(snr, share.mcs), 1e-12)

    def _gather(self, slot: Slot, share: Share, row: int, snr: float) -> bool:
        key = (slot.phase, slot.source, self.index, share.mcs, row)
        total = self._ledger.gathered.get(key, 0.0) + snr
        self._ledger.gathered[key] = total
        return float(db(total)) >= MCS[share.mcs].snr_threshold_db
