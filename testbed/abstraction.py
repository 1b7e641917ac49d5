"""Nodes without waveforms: the link abstraction that system-level simulations use.

A block arrives when the effective SNR of its link's subcarriers reaches the threshold of its scheme, the SNR at
which one block in a hundred is lost on the real modem; soft combining adds SNRs. Channels come from a `World`:
from a recording, or from drawn fading. Everything else (model, schedule, retransmissions, energy) is the same
code as over the air.

Left out: synchronisation and its failures, carrier and clock offset, clipping, estimation error inside a
frame, fading within a frame, the width of the waterfall around a threshold.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from testbed.fleet import RollCall
from testbed.frames import Carried, Frames, cost
from testbed.ofdm.grid import Grid
from testbed.ofdm.mcs import MCS, THRESHOLD_DB, effective_snrs
from testbed.ofdm.sounding import sounding_samples
from testbed.outcome import Measured
from testbed.protocol import Aggregated, Gated, Prediction
from testbed.units import db
from testbed.worker import Blocks, Worker

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]

FAINTEST = 1e-12
"""Linear SNR below which nothing is told apart."""


class World(Protocol):
    """The channels between nodes, as time passes."""

    def sound(self, nodes: Ints, seconds: float) -> Measured:
        """What a sounding of `seconds` by each of `nodes` in turn would measure at the others of them."""
        ...

    def heard(self, frames: Frames, seconds: Doubles, used: Ints) -> Doubles:
        """(Q,) linear SNR of `frames`, which last `seconds` (F,) each, on used subcarriers `used` (Q,)."""
        ...


class AbstractFleet(RollCall):
    """The crew of a whole run on a world instead of radios; implements `testbed.fleet.Crew`.

    Args:
        worker: the model's part, for all K nodes 0…K−1.
        world: the channels.
        grid: OFDM grid.
        repetitions: sounding symbols averaged.
    """

    def __init__(self, worker: Worker, world: World, grid: Grid, repetitions: int) -> None:
        super().__init__(len(worker.nodes))
        self._worker = worker
        self._world = world
        self._grid = grid
        self._sounding_s = sounding_samples(grid, repetitions) / grid.sample_rate_hz
        K = len(worker.nodes)
        self._gathered = np.zeros((2, K, K, len(MCS), worker.tokens))
        """SNR of each block over all attempts: [phase, sender, receiver, scheme, row]."""

    def begin(self, batch: int) -> None:
        """All nodes take up the tokens of `batch`."""
        self._all_again()
        self._worker.begin(batch)
        self._welcome(set(self.alive()))

    def sound(self, numbers: Sequence[int], used: int) -> tuple[Measured, float]:
        """What the world says of the links between the living."""
        alive = np.array(self.alive(), np.int64)
        return self._world.sound(alive, self._sounding_s), alive.size * self._sounding_s

    def take_back(self, batch: int, layer: Sequence[int]) -> None:
        """Nobody who was lost comes back within a batch."""

    def missing(self) -> list[int]:
        """Nobody who was lost is waited for."""
        return []

    def why_missing(self, node: int) -> str:
        """Why a node that was dropped has not come back."""
        return "nobody comes back within a batch"

    def gate(self, layer: int, sources: Collection[int]) -> dict[int, Gated]:
        """Attention and gate of `layer`; `sources` are the living, who are all at the same layer."""
        self._gathered[:] = 0.0
        score = self._worker.gate(layer)
        return {k: Gated(score[k]) for k in self.alive()}

    def carry(self, frames: Frames) -> Carried:
        """Take the blocks whose SNR, gathered over attempts, reaches the threshold of their scheme."""
        alive = self.alive_mask()
        on_air, answered = alive[frames.source], alive[frames.destination]
        spent = cost(
            self._grid, self._worker.payload_bytes, frames.frame, frames.mcs, frames.blocks, frames.subcarriers
        )
        snr = self._effective_snr(frames, spent.air_time_s)
        arrived = self._gather(frames, snr) & answered[frames.share]
        blocks = Blocks(frames.phase, frames.sender[frames.share], frames.destination[frames.share], frames.row)
        blocks = blocks.take(arrived)
        self._worker.incoming(blocks, self._worker.outgoing(blocks))
        return Carried(
            on_air=on_air,
            cost=spent,
            answered=answered,
            heard=answered,
            snr_db=np.asarray(db(snr), np.float64),
            arrived=arrived,
            constellation=np.zeros(0, np.complex64),
            pictured=-1,
        )

    def compute(self, layer: int, selected: Mapping[int, NDArray[np.bool_]]) -> dict[int, int]:
        """Experts on the states they received, and on own tokens that chose them; how many of the former."""
        every = self._every(selected)
        count = self._worker.compute(layer, np.stack([every[k, :, k] for k in range(len(self))]))
        return {k: int(count[k]) for k in self.alive()}

    def aggregate(self, layer: int, selected: Mapping[int, NDArray[np.bool_]]) -> dict[int, Aggregated]:
        """Results combined; the end of the layer."""
        lost, fallback = self._worker.aggregate(layer, self._every(selected))
        return {k: Aggregated(lost[k], fallback[k]) for k in self.alive()}

    def predict(self, among: Collection[int]) -> dict[int, Prediction]:
        """The next byte of every token of `among`."""
        predictions = self._worker.predict()
        return {k: predictions[k] for k in self.alive() if k in among}

    def _every(self, selected: Mapping[int, NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """(K, N, K) experts chosen for the tokens of each node; none where it is missing."""
        every = np.zeros((len(self), self._worker.tokens, len(self)), np.bool_)
        for k, mine in selected.items():
            every[k] = mine
        return every

    def _effective_snr(self, frames: Frames, seconds: Doubles) -> Doubles:
        """(S,) linear SNR of each share, now."""
        snr = self._world.heard(frames, seconds, self._grid.data[frames.subcarrier])
        return np.maximum(effective_snrs(snr, frames.holder, frames.mcs), FAINTEST)

    def _gather(self, frames: Frames, snr: Doubles) -> NDArray[np.bool_]:
        """(B,) whether what was received of each block, by now, is enough."""
        share = frames.share
        phase = 0 if frames.phase == "forward" else 1
        at = (phase, frames.sender[share], frames.destination[share], frames.mcs[share], frames.row)
        gathered = self._gathered[at] + snr[share]
        self._gathered[at] = gathered
        return np.asarray(db(gathered) >= THRESHOLD_DB[frames.mcs[share]])
