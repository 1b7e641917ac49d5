"""One radio and one expert: does what a round asks, in this process.

A `LocalNode` holds its own tokens (source side), the states of others it was sent (expert side), and soft
bits of blocks that failed, to be combined when they come again. It knows nothing of other nodes' channels,
of energy or of decisions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from testbed.csi.sound import sound
from testbed.errors import NodeFailed
from testbed.experts import layers
from testbed.experts.layers import Cache
from testbed.experts.model import Model
from testbed.experts.payload import dequantise, payload_bytes, quantise
from testbed.ofdm.frame import Header, Link, Received, demodulate, frame_samples, link_symbols, modulate
from testbed.ofdm.grid import Grid
from testbed.ofdm.sounding import sounding_frame, sounding_samples
from testbed.protocol import Aggregated, Gated, Phase, Prediction, Reception, Sent, Share, Slot, Sounding
from testbed.radio.base import Capture, Radio

CONSTELLATION_POINTS = 400
SOUNDING, FORWARD, RETURN = 0, 1, 2
KIND: dict[Phase, int] = {"forward": FORWARD, "return": RETURN}

Floats = NDArray[np.float32]
Row = tuple[int, int]
"""A token of anybody: (node that owns it, row in that node's batch)."""
Block = tuple[Phase, int, int, Row]
"""A block on its way: phase, sender, coding scheme, token. Receptions of the same block can be combined."""


@dataclass(frozen=True)
class NodeSettings:
    """What all nodes of a run agree on.

    Attributes:
        grid: OFDM grid of soundings and frames.
        repetitions: sounding symbols averaged in one measurement.
        quantisation: "float16" or "int8", how hidden states cross the air.
        temperature: gate temperature.
        experts: K, how many of the model's experts nodes hold; the gate chooses among these alone.
    """

    grid: Grid
    repetitions: int
    quantisation: str
    temperature: float
    experts: int


@dataclass(eq=False)
class _Layer:
    """What a node holds while a layer is computed; N own tokens, K experts, width d.

    Attributes:
        hidden: (N, d) before the experts, for the residual; states: (N, d) what experts are asked.
        score: (N, K) gate scores.
        outputs: (N, K, d) results that came back; arrived: (N, K) which.
        asked: states that others sent; answers: this expert's results on them.
        soft: log-likelihood ratios of blocks that failed, by phase, sender, scheme and token.
    """

    hidden: Floats
    states: Floats
    score: NDArray[np.float64]
    outputs: Floats
    arrived: NDArray[np.bool_]
    asked: dict[Row, Floats] = field(default_factory=dict)
    answers: dict[Row, Floats] = field(default_factory=dict)
    soft: dict[Block, Floats] = field(default_factory=dict)


class LocalNode:
    """Implements `testbed.protocol.Node` on a radio and a part of the model.

    Args:
        index: number of this node and of its expert.
        radio: an open radio, tuned; the caller closes it.
        model: this node's expert, and attention, gate and head.
        settings: what all nodes agree on.
        passages: (passes, C + N + 1) bytes of this node's text: C bytes of context, read by the own expert
            without the air, then N tokens, each of which predicts the byte after it.
        context: C.
    """

    def __init__(
        self,
        index: int,
        radio: Radio,
        model: Model,
        settings: NodeSettings,
        passages: NDArray[np.uint8],
        context: int,
    ) -> None:
        self._index = index
        self._radio = radio
        self._model = model
        self._settings = settings
        self._passages = passages
        self._context = context
        self._target: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._x: Floats = np.zeros((0, model.width), np.float32)
        self._caches: list[Cache | None] = [None] * model.layers
        self._now: _Layer | None = None

    @property
    def index(self) -> int:
        """Number of this node and of its expert."""
        return self._index

    # The own tokens -----------------------------------------------------------------------------------

    def begin(self, batch: int) -> None:
        """Read the context of passage `batch` and embed its tokens."""
        passage = self._passages[batch]
        tokens, self._target = passage[self._context : -1], passage[self._context + 1 :]
        self._caches = self._read_context(passage[: self._context])
        self._x = layers.embed(self._model, tokens, self._context)
        self._now = None

    def _read_context(self, context: NDArray[np.uint8]) -> list[Cache | None]:
        if context.size == 0:
            return [None] * self._model.layers
        caches: list[Cache | None] = []
        x = layers.embed(self._model, context)
        for layer in range(self._model.layers):
            hidden, cache = layers.attend(self._model, layer, x)
            state = layers.expert_input(self._model, layer, hidden)
            x = hidden + layers.apply_expert(self._model, layer, self._index, state)
            caches.append(cache)
        return caches

    def gate(self, layer: int) -> Gated:
        """Attention and gate of `layer` on the own tokens."""
        hidden, _ = layers.attend(self._model, layer, self._x, self._caches[layer])
        states = layers.expert_input(self._model, layer, hidden)
        score = layers.gate_scores(self._model, layer, states, self._settings.temperature)
        score = score[:, : self._settings.experts]
        score = score / score.sum(axis=1, keepdims=True)  # the softmax over the experts that are there
        tokens, experts = score.shape
        outputs = np.zeros((tokens, experts, self._model.width), np.float32)
        self._now = _Layer(hidden, states, score, outputs, np.zeros((tokens, experts), np.bool_))
        return Gated(score)

    def aggregate(self, layer: int, selected: NDArray[np.bool_]) -> Aggregated:
        """Combine the results of `selected` (N, K) and end the layer.

        A token that all its experts failed is served by the own expert, which needs no radio.
        """
        now = self._current()
        arrived = now.arrived & selected
        fallback = np.logical_not(arrived.any(axis=1) | selected[:, self._index])
        local = selected[:, self._index] | fallback
        if local.any():
            own = layers.apply_expert(self._model, layer, self._index, now.states[local])
            now.outputs[local, self._index] = own
            arrived[local, self._index] = True
        lost = np.asarray((selected & ~arrived).any(axis=1))
        self._x = layers.aggregate(now.hidden, now.outputs, now.score, arrived)
        self._now = None
        return Aggregated(lost, np.asarray(fallback))

    def predict(self) -> Prediction:
        """The likeliest next byte of every token, and the byte that follows."""
        predicted = layers.predict(self._model, self._x).argmax(axis=-1).astype(np.uint8)
        return Prediction(predicted, self._target)

    # The own expert -----------------------------------------------------------------------------------

    def compute(self, layer: int) -> int:
        """Apply the own expert to every state that was received; how many there were."""
        now = self._current()
        if now.asked:
            rows, states = zip(*now.asked.items(), strict=True)
            results = layers.apply_expert(self._model, layer, self._index, np.stack(states))
            now.answers = dict(zip(rows, results, strict=True))
        return len(now.asked)

    # The radio ----------------------------------------------------------------------------------------

    def sound(self, number: int) -> float:
        """Put sounding frame `number` on the air; its length in seconds."""
        header = Header(source=self._index, kind=SOUNDING, number=number)
        wave = sounding_frame(self._settings.grid, header, self._settings.repetitions)
        self._radio.transmit(wave)
        return float(wave.size / self._settings.grid.sample_rate_hz)

    def measure(self, source: int, number: int) -> Sounding | None:
        """Hear sounding frame `number` of `source`; None when no such frame was found."""
        grid = self._settings.grid
        capture = self._capture(sounding_samples(grid, self._settings.repetitions))
        csi = sound(grid, capture.samples, number=number)
        if csi is None or capture.overflow or (csi.header.source, csi.header.number) != (source, number):
            return None
        return Sounding(
            source=source,
            destination=self._index,
            h=csi.h,
            noise=csi.noise,
            snr=csi.snr,
            cfo_hz=csi.cfo_hz,
            timing_samples=csi.timing_samples,
            clipped=csi.clipped,
        )

    def send(self, slot: Slot) -> Sent:
        """Put the frame of `slot` on the air."""
        grid = self._settings.grid
        links = [self._link(share) for share in slot.shares]
        header = Header(source=self._index, kind=KIND[slot.phase], number=slot.number)
        blocks = [quantise(self._outgoing(slot, share), self._settings.quantisation) for share in slot.shares]
        self._radio.transmit(modulate(grid, header, links, blocks))
        share_s = np.array([link_symbols(link) for link in links]) * grid.symbol_s
        air_time_s = frame_samples(grid, links) / grid.sample_rate_hz
        return Sent(air_time_s, share_s, overhead_s=air_time_s - float(share_s.max(initial=0.0)))

    def receive(self, slot: Slot) -> Reception:
        """Hear the frame of `slot`, keep the blocks that pass and the soft bits of those that do not."""
        grid = self._settings.grid
        share = next(share for share in slot.shares if share.destination == self._index)
        capture = self._capture(frame_samples(grid, [self._link(one) for one in slot.shares]))
        keys = [(slot.phase, slot.source, share.mcs, self._token(slot, int(row))) for row in share.rows]
        soft = self._soft_bits(keys)
        received = demodulate(grid, capture.samples, self._link(share), soft=soft, number=slot.number)
        if received is None or not is_fresh(received.header, slot):
            return Reception(False, np.zeros(share.rows.size, np.bool_), np.nan, np.nan, np.zeros(0, np.complex64))
        self._keep(slot, keys, received)
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

    def _capture(self, frame: int) -> Capture:
        """Long enough to hold a frame of `frame` samples wherever its repetitions begin."""
        return self._radio.receive(2 * frame)

    def _link(self, share: Share) -> Link:
        size = payload_bytes(self._model.width, self._settings.quantisation)
        return Link(share.subcarriers, share.mcs, share.rows.size, size)

    def _token(self, slot: Slot, row: int) -> Row:
        return (slot.source, row) if slot.phase == "forward" else (self._index, row)

    def _outgoing(self, slot: Slot, share: Share) -> Floats:
        now = self._current()
        if slot.phase == "forward":
            return now.states[share.rows]
        return np.stack([now.answers[share.destination, int(row)] for row in share.rows])

    def _soft_bits(self, keys: list[Block]) -> Floats | None:
        kept = [self._current().soft.get(key) for key in keys]
        known = next((bits for bits in kept if bits is not None), None)
        if known is None:
            return None
        return np.stack([np.zeros_like(known) if bits is None else bits for bits in kept])

    def _keep(self, slot: Slot, keys: list[Block], received: Received) -> None:
        now = self._current()
        states = dequantise(received.payloads, self._model.width, self._settings.quantisation)
        for place, key in enumerate(keys):
            token = key[-1]
            if not received.ok[place]:
                now.soft[key] = received.llr[place]
            elif slot.phase == "forward":
                now.asked[token] = states[place]
            else:
                now.outputs[token[1], slot.source] = states[place]
                now.arrived[token[1], slot.source] = True

    def _current(self) -> _Layer:
        if self._now is None:
            raise NodeFailed(f"node {self._index}: no layer has begun; gate comes first")
        return self._now


def is_fresh(header: Header, slot: Slot) -> bool:
    """The frame is the one of `slot`, not one that was still on the air or in a queue."""
    return (header.source, header.kind, header.number) == (slot.source, KIND[slot.phase], slot.number)
