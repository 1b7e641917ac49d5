"""What a node computes: its own tokens, and its expert on the states of others. No radio in here.

A `Worker` holds one layer at a time: `gate` begins it, `aggregate` ends it. States and results leave and come as
payload bytes, whoever carries them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from testbed.errors import NodeFailed
from testbed.experts import layers
from testbed.experts.layers import Cache
from testbed.experts.model import Model
from testbed.experts.payload import dequantise, payload_bytes, quantise
from testbed.protocol import Aggregated, Gated, Prediction, Share, Slot

Floats = NDArray[np.float32]
Payload = NDArray[np.uint8]
Row = tuple[int, int]
"""A token of anybody: (node that owns it, row in that node's batch)."""


class Shelf(Protocol):
    """Where a worker keeps its tokens between layers, so that another process can take them up."""

    def keep(self, batch: int, layer: int, x: Floats) -> None:
        """The tokens (N, d) of `batch` before `layer`; the layer before that is kept too, older ones need not be."""
        ...

    def recall(self, batch: int, layer: int) -> Floats | None:
        """What was kept, None where nothing was."""
        ...


class MemoryShelf:
    """Keeps tokens as long as the process lives."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int], Floats] = {}

    def keep(self, batch: int, layer: int, x: Floats) -> None:
        """The tokens (N, d) of `batch` before `layer`."""
        before = (batch, layer - 1)
        self._kept = {(batch, layer): x} | ({before: self._kept[before]} if before in self._kept else {})

    def recall(self, batch: int, layer: int) -> Floats | None:
        """What was kept, None where nothing was."""
        return self._kept.get((batch, layer))


@dataclass(frozen=True)
class WorkerSettings:
    """What all nodes of a run agree on, as to the model.

    Attributes:
        quantisation: "float16" or "int8", how hidden states travel.
        temperature: gate temperature.
        experts: K, how many of the model's experts nodes hold; the gate chooses among these alone.
    """

    quantisation: str
    temperature: float
    experts: int


@dataclass(eq=False)
class _Layer:
    """What is held while a layer is computed; N own tokens, K experts, width d.

    Attributes:
        hidden: (N, d) before the experts, for the residual; states: (N, d) what experts are asked.
        score: (N, K) gate scores.
        outputs: (N, K, d) results that came back; arrived: (N, K) which.
        own: the own tokens take part; else N is 0.
        asked: states that others sent; answers: this expert's results on them.
    """

    hidden: Floats
    states: Floats
    score: NDArray[np.float64]
    outputs: Floats
    arrived: NDArray[np.bool_]
    own: bool
    asked: dict[Row, Floats] = field(default_factory=dict)
    answers: dict[Row, Floats] = field(default_factory=dict)


class Worker:
    """The model's part of node `index`.

    Args:
        index: number of the node and of its expert.
        model: this node's expert, and attention, gate and head.
        settings: what all nodes agree on.
        passages: (passes, C + N + 1) bytes of this node's text: C bytes of context, read by the own expert
            without the air, then N tokens, each of which predicts the byte after it.
        context: C.
        shelf: where the tokens are kept between layers; in memory where None.
    """

    def __init__(
        self,
        index: int,
        model: Model,
        settings: WorkerSettings,
        passages: NDArray[np.uint8],
        context: int,
        shelf: Shelf | None = None,
    ) -> None:
        self.index = index
        self._model = model
        self._settings = settings
        self._passages = passages
        self._context = context
        self._shelf = shelf or MemoryShelf()
        self._batch = 0
        self._target: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._x: Floats = np.zeros((0, model.width), np.float32)
        self._caches: list[Cache | None] = [None] * model.layers
        self._now: _Layer | None = None

    @property
    def layers(self) -> int:
        """L."""
        return self._model.layers

    @property
    def payload_bytes(self) -> int:
        """Bytes of one state on its way."""
        return payload_bytes(self._model.width, self._settings.quantisation)

    def begin(self, batch: int) -> None:
        """Read the context of passage `batch` and embed its tokens."""
        self._batch, passage = batch, self._passages[batch]
        tokens, self._target = passage[self._context : -1], passage[self._context + 1 :]
        self._caches = self._read_context(passage[: self._context])
        self._x = layers.embed(self._model, tokens, self._context)
        self._now = None

    def resume(self, batch: int, layer: int) -> None:
        """Take up the tokens of `batch` as they were when `layer` began.

        Raises:
            NodeFailed: they were not kept.
        """
        self.begin(batch)
        if layer > 0:
            x = self._shelf.recall(batch, layer)
            if x is None or x.shape != self._x.shape:
                raise NodeFailed(f"node {self.index} kept no tokens of batch {batch} before layer {layer}")
            self._x = x

    def _read_context(self, context: NDArray[np.uint8]) -> list[Cache | None]:
        if context.size == 0:
            return [None] * self._model.layers
        caches: list[Cache | None] = []
        x = layers.embed(self._model, context)
        for layer in range(self._model.layers):
            hidden, cache = layers.attend(self._model, layer, x)
            state = layers.expert_input(self._model, layer, hidden)
            x = hidden + layers.apply_expert(self._model, layer, self.index, state)
            caches.append(cache)
        return caches

    def gate(self, layer: int, own: bool = True) -> Gated:
        """Begin `layer`: attention and gate on the own tokens, or without `own` the expert alone."""
        if own:
            hidden, states, score = self._gate(layer)
        else:
            hidden, states = self._x[:0], self._x[:0]
            score = np.zeros((0, self._settings.experts))
        tokens, experts = score.shape
        outputs = np.zeros((tokens, experts, self._model.width), np.float32)
        self._now = _Layer(hidden, states, score, outputs, np.zeros((tokens, experts), np.bool_), own)
        return Gated(score)

    def _gate(self, layer: int) -> tuple[Floats, Floats, NDArray[np.float64]]:
        hidden, _ = layers.attend(self._model, layer, self._x, self._caches[layer])
        states = layers.expert_input(self._model, layer, hidden)
        score = layers.gate_scores(self._model, layer, states, self._settings.temperature)
        score = score[:, : self._settings.experts]
        return hidden, states, score / score.sum(axis=1, keepdims=True)  # the softmax over the experts that are there

    def aggregate(self, layer: int, selected: NDArray[np.bool_]) -> Aggregated:
        """Combine the results of `selected` (N, K) and end the layer.

        A token that all its experts failed is served by the own expert, which needs no radio.
        """
        now = self._current()
        if not now.own:
            self._now = None
            return Aggregated(np.zeros(0, np.bool_), np.zeros(0, np.bool_))
        arrived = now.arrived & selected
        fallback = np.logical_not(arrived.any(axis=1) | selected[:, self.index])
        local = selected[:, self.index] | fallback
        if local.any():
            own = layers.apply_expert(self._model, layer, self.index, now.states[local])
            now.outputs[local, self.index] = own
            arrived[local, self.index] = True
        lost = np.asarray((selected & ~arrived).any(axis=1))
        self._x = layers.aggregate(now.hidden, now.outputs, now.score, arrived)
        self._shelf.keep(self._batch, layer + 1, self._x)
        self._now = None
        return Aggregated(lost, np.asarray(fallback))

    def predict(self) -> Prediction:
        """The likeliest next byte of every token, and the byte that follows."""
        predicted = layers.predict(self._model, self._x).argmax(axis=-1).astype(np.uint8)
        return Prediction(predicted, self._target)

    def compute(self, layer: int) -> int:
        """Apply the own expert to every state that was received; how many there were."""
        now = self._current()
        if now.asked:
            rows, states = zip(*now.asked.items(), strict=True)
            results = layers.apply_expert(self._model, layer, self.index, np.stack(states))
            now.answers = dict(zip(rows, results, strict=True))
        return len(now.asked)

    def outgoing(self, slot: Slot, share: Share) -> Payload:
        """(n, B) bytes that `slot` carries for `share`: own states forward, results back."""
        now = self._current()
        if slot.phase == "forward":
            states = now.states[share.rows]
        else:
            states = np.stack([now.answers[share.destination, int(row)] for row in share.rows])
        return quantise(states, self._settings.quantisation)

    def incoming(self, slot: Slot, rows: NDArray[np.int64], payload: Payload) -> None:
        """Take in (n, B) bytes that arrived for token `rows` (n,) in `slot`."""
        now = self._current()
        states = dequantise(payload, self._model.width, self._settings.quantisation)
        if slot.phase == "forward":
            now.asked.update(((slot.source, int(row)), state) for row, state in zip(rows, states, strict=True))
        else:
            now.outputs[rows, slot.source] = states
            now.arrived[rows, slot.source] = True

    def _current(self) -> _Layer:
        if self._now is None:
            raise NodeFailed(f"node {self.index}: no layer has begun; gate comes first")
        return self._now
