"""One radio and one worker: does what a round asks, in this process.

A `LocalNode` turns slots into frames and captures into what its worker is given. It keeps the soft bits of
blocks that failed, to be combined when they come again. It knows nothing of other nodes' channels, of energy
or of decisions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from testbed.csi.sound import sound
from testbed.frames import cost
from testbed.ofdm.frame import Header, Link, Received, demodulate, frame_samples, modulate
from testbed.ofdm.grid import Grid
from testbed.ofdm.sounding import sounding_frame, sounding_samples
from testbed.protocol import Aggregated, Gated, Phase, Prediction, Reception, Sent, Share, Slot, Sounding
from testbed.radio.base import Capture, Radio
from testbed.radio.tape import Occasion, nobody
from testbed.worker import Blocks, Worker

CONSTELLATION_POINTS = 400
SOUNDING, FORWARD, RETURN = 0, 1, 2
KIND: dict[Phase, int] = {"forward": FORWARD, "return": RETURN}

Floats = NDArray[np.float32]
Block = tuple[Phase, int, int, int]
"""A block on its way: phase, sender, coding scheme, token row. Receptions of the same block can be combined."""


class LocalNode:
    """Implements `testbed.protocol.Node` on a radio.

    Args:
        worker: the model's part, for one node.
        radio: an open radio, tuned; the caller closes it.
        grid: OFDM grid of soundings and frames.
        repetitions: sounding symbols averaged in one measurement.
        about: told what each transmission and capture is for, before it happens.
    """

    def __init__(
        self,
        worker: Worker,
        radio: Radio,
        grid: Grid,
        repetitions: int,
        about: Callable[[Occasion], None] = nobody,
    ) -> None:
        self._worker = worker
        self._radio = radio
        self._grid = grid
        self._repetitions = repetitions
        self._about = about
        self._rounds_before = 0
        self._layer = 0
        self._soft: dict[Block, Floats] = {}

    @property
    def index(self) -> int:
        """Number of this node and of its expert."""
        return self._worker.nodes[0]

    # What the worker does -----------------------------------------------------------------------------

    def begin(self, batch: int) -> None:
        """Take up the tokens of `batch`."""
        self._rounds_before, self._layer = batch * self._worker.layers, 0
        self._worker.begin(batch)

    def resume(self, batch: int, layer: int) -> None:
        """Take up the tokens of `batch` as they were when `layer` began."""
        self._rounds_before, self._layer = batch * self._worker.layers, layer
        self._worker.resume(batch, layer)

    def gate(self, layer: int, own: bool = True) -> Gated:
        """Begin `layer`, with the own tokens or for those of others alone."""
        self._soft.clear()
        return Gated(self._worker.gate(layer, own)[0])

    def compute(self, layer: int) -> int:
        """Apply the own expert to every state that was received; how many there were."""
        return int(self._worker.compute(layer)[0])

    def aggregate(self, layer: int, selected: NDArray[np.bool_]) -> Aggregated:
        """Combine the results of `selected` (N, K) and end the layer."""
        self._layer = layer + 1
        lost, fallback = self._worker.aggregate(layer, selected[None])
        return Aggregated(lost[0], fallback[0])

    def predict(self) -> Prediction:
        """The likeliest next byte of every token, and the byte that follows."""
        return self._worker.predict()[self.index]

    # What the radio does ------------------------------------------------------------------------------

    def sound(self, number: int) -> float:
        """Put sounding frame `number` on the air; its length in seconds."""
        header = Header(source=self.index, kind=SOUNDING, number=number)
        wave = sounding_frame(self._grid, header, self._repetitions)
        self._about(self._sounding(self.index, number))
        self._radio.transmit(wave)
        return float(wave.size / self._grid.sample_rate_hz)

    def measure(self, source: int, number: int) -> Sounding | None:
        """Hear sounding frame `number` of `source`; None when no such frame was found."""
        self._about(self._sounding(source, number))
        capture = self._capture(sounding_samples(self._grid, self._repetitions))
        csi = sound(self._grid, capture.samples, number=number)
        if csi is None or capture.overflow or (csi.header.source, csi.header.number) != (source, number):
            return None
        return Sounding(
            source=source,
            destination=self.index,
            h=csi.h,
            noise=csi.noise,
            snr=csi.snr,
            cfo_hz=csi.cfo_hz,
            timing_samples=csi.timing_samples,
            clipped=csi.clipped,
        )

    def send(self, slot: Slot) -> Sent:
        """Put the frame of `slot` on the air."""
        links = slot_links(slot, self._worker.payload_bytes)
        header = Header(source=self.index, kind=KIND[slot.phase], number=slot.number)
        payloads = [self._worker.outgoing(blocks_of(slot, share)) for share in slot.shares]
        self._about(self._exchange(slot))
        self._radio.transmit(modulate(self._grid, header, links, payloads))
        return sent(self._grid, links)

    def receive(self, slot: Slot) -> Reception:
        """Hear the frame of `slot`, keep the blocks that pass and the soft bits of those that do not."""
        share = own_share(slot, self.index)
        links = slot_links(slot, self._worker.payload_bytes)
        self._about(self._exchange(slot))
        capture = self._capture(frame_samples(self._grid, links))
        blocks: list[Block] = [(slot.phase, slot.source, share.mcs, int(row)) for row in share.rows]
        link, soft = links[slot.shares.index(share)], self._soft_bits(blocks)
        received = demodulate(self._grid, capture.samples, link, soft=soft, number=slot.number)
        if received is None or not is_fresh(received.header, slot):
            return not_heard(share)
        self._keep(slot, share, blocks, received)
        return Reception(
            heard=True,
            delivered=received.ok,
            snr_db=received.snr_db,
            evm=received.evm,
            constellation=received.symbols[:CONSTELLATION_POINTS],
        )

    def silence(self) -> None:
        """Take whatever is on the air off."""
        self._radio.silence()

    def _sounding(self, source: int, number: int) -> Occasion:
        return Occasion("sounding", source, number, self._rounds_before + self._layer, self._layer)

    def _exchange(self, slot: Slot) -> Occasion:
        number = self._rounds_before + slot.layer
        return Occasion(slot.phase, slot.source, slot.number, number, slot.layer, slot.attempt, slot_sum(slot))

    def _capture(self, frame: int) -> Capture:
        """Long enough to hold a frame of `frame` samples wherever its repetitions begin."""
        return self._radio.receive(2 * frame)

    def _soft_bits(self, blocks: Sequence[Block]) -> Floats | None:
        kept = [self._soft.get(block) for block in blocks]
        known = next((bits for bits in kept if bits is not None), None)
        if known is None:
            return None
        return np.stack([np.zeros_like(known) if bits is None else bits for bits in kept])

    def _keep(self, slot: Slot, share: Share, blocks: Sequence[Block], received: Received) -> None:
        for block, bits, arrived in zip(blocks, received.llr, received.ok, strict=True):
            if not arrived:
                self._soft[block] = bits
        self._worker.incoming(blocks_of(slot, share).take(received.ok), received.payloads[received.ok])


def slot_links(slot: Slot, block_bytes: int) -> list[Link]:
    """What each share of a slot is to the modem."""
    return [Link(share.subcarriers, share.mcs, share.rows.size, block_bytes) for share in slot.shares]


def slot_sum(slot: Slot) -> str:
    """BLAKE2b of all that a slot says, in hexadecimal: equal for equal slots alone."""
    total = blake2b(f"{slot.phase} {slot.layer} {slot.attempt} {slot.source} {slot.number}".encode(), digest_size=8)
    for share in slot.shares:
        total.update(f" {share.destination} {share.mcs} {share.rows.size} {share.subcarriers.size} ".encode())
        total.update(share.rows.astype("<i8").tobytes() + share.subcarriers.astype("<i8").tobytes())
    return total.hexdigest()


def blocks_of(slot: Slot, share: Share) -> Blocks:
    """What a share of a slot is to a worker."""
    sender, receiver = (np.full(share.rows.size, node) for node in (slot.source, share.destination))
    return Blocks(slot.phase, sender, receiver, share.rows)


def own_share(slot: Slot, node: int) -> Share:
    """The share of a slot that is for `node`."""
    return next(share for share in slot.shares if share.destination == node)


def sent(grid: Grid, links: Sequence[Link]) -> Sent:
    """What the frame of `links` costs in time."""
    mcs, blocks, subcarriers = np.array([(link.mcs, link.blocks, link.subcarriers.size) for link in links]).T
    spent = cost(grid, links[0].block_bytes, np.zeros(len(links), np.int64), mcs, blocks, subcarriers)
    return Sent(float(spent.air_time_s[0]), spent.share_s, float(spent.overhead_s[0]))


def not_heard(share: Share) -> Reception:
    """Nothing of a share arrived."""
    none = np.zeros(share.rows.size, np.bool_)
    return Reception(False, none, float("nan"), float("nan"), np.zeros(0, np.complex64))


def is_fresh(header: Header, slot: Slot) -> bool:
    """The frame is the one of `slot`, not one that was still on the air or in a queue."""
    return (header.source, header.kind, header.number) == (slot.source, KIND[slot.phase], slot.number)
