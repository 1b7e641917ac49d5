"""What nodes compute: their own tokens, and their experts on the states of others. No radio in here.

A `Worker` does so for the nodes of one process: one on a real radio, all of them without waveforms, where rows of the
same array stand for different nodes. Attention and gate are the same everywhere and take all rows at once; an expert
is applied by the node that holds it, to what that node was sent. States and results pass from one node to another as
payload bytes alone, whoever carries them. `gate` begins a layer, `aggregate` ends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from testbed.errors import NodeFailed
from testbed.experts import layers
from testbed.experts.layers import Cache
from testbed.experts.model import Model
from testbed.experts.payload import dequantise, payload_bytes, quantise
from testbed.protocol import Phase, Prediction

Floats = NDArray[np.float32]
Payload = NDArray[np.uint8]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Shelf(Protocol):
    """Where a worker keeps its tokens between layers, so that another process can take them up."""

    def keep(self, batch: int, layer: int, x: Floats) -> None:
        """Tokens (n, N, d) of `batch` before `layer`; the layer before that is kept too, older ones need not be."""
        ...

    def recall(self, batch: int, layer: int) -> Floats | None:
        """What was kept, None where nothing was."""
        ...


class MemoryShelf:
    """Keeps tokens as long as the process lives."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int], Floats] = {}

    def keep(self, batch: int, layer: int, x: Floats) -> None:
        """Tokens (n, N, d) of `batch` before `layer`."""
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


@dataclass(frozen=True, eq=False)
class Blocks:
    """States or results on their way, in arrays (B,).

    Attributes:
        phase: states forward, results on the way back.
        sender, receiver: nodes; row: the token, in the batch of its owner (sender forward, receiver back).
    """

    phase: Phase
    sender: Ints
    receiver: Ints
    row: Ints

    def take(self, which: Bools) -> Blocks:
        """Those of them."""
        return Blocks(self.phase, self.sender[which], self.receiver[which], self.row[which])


@dataclass(eq=False)
class _Layer:
    """What is held while a layer is computed; n nodes of N tokens, K experts, width d.

    Attributes:
        hidden: (n, N, d) before the experts, for the residual; states: (n, N, d) what experts are asked.
        score: (n, N, K) gate scores.
        outputs: (n, N, K, d) results that came back, 0 elsewhere; arrived: (n, N, K) which.
        own: the own tokens take part; else N is 0.
        asked: states that came, with the blocks they came in.
        answered: (A,) rising keys of the states that experts of these nodes were asked; answers: (A, d).
        rows: largest row number asked for, plus one.
    """

    hidden: Floats
    states: Floats
    score: NDArray[np.float64]
    outputs: Floats
    arrived: Bools
    own: bool
    asked: list[tuple[Blocks, Floats]]
    answered: Ints
    answers: Floats
    rows: int = 1


class Worker:
    """The model's part of `nodes`.

    Args:
        nodes: rising numbers of the nodes in this process, and of their experts.
        parts: what each of them holds: its expert, and attention, gate and head, which are everybody's.
        settings: what all nodes agree on.
        passages: (n, passes, C + N + 1) bytes of each node's text: C bytes of context, read by its own expert
            without the air, then N tokens, each of which predicts the byte after it.
        context: C.
        shelf: where the tokens are kept between layers; in memory where None.
    """

    def __init__(
        self,
        nodes: Sequence[int],
        parts: Sequence[Model],
        settings: WorkerSettings,
        passages: NDArray[np.uint8],
        context: int,
        shelf: Shelf | None = None,
    ) -> None:
        self.nodes = tuple(nodes)
        self._parts = tuple(parts)
        self._common = parts[0]
        self._settings = settings
        self._passages = passages
        self._context = context
        self._shelf = shelf or MemoryShelf()
        self._batch = 0
        self._place = np.full(settings.experts, -1)
        self._place[list(nodes)] = np.arange(len(self.nodes))
        self._target: NDArray[np.uint8] = np.zeros((len(self.nodes), 0), np.uint8)
        self._x: Floats = np.zeros((len(self.nodes), 0, self._common.width), np.float32)
        self._caches: list[Cache | None] = [None] * self._common.layers
        self._now: _Layer | None = None

    @property
    def layers(self) -> int:
        """L."""
        return self._common.layers

    @property
    def payload_bytes(self) -> int:
        """Bytes of one state on its way."""
        return payload_bytes(self._common.width, self._settings.quantisation)

    @property
    def tokens(self) -> int:
        """Tokens N of each node in a batch."""
        return int(self._passages.shape[2]) - 1 - self._context

    def begin(self, batch: int) -> None:
        """Read the context of passage `batch` and embed its tokens."""
        self._batch, passage = batch, self._passages[:, batch]
        tokens, self._target = passage[:, self._context : -1], passage[:, self._context + 1 :]
        self._caches = self._read_context(passage[:, : self._context])
        self._x = layers.embed(self._common, tokens, self._context)
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
                raise NodeFailed(f"node {list(self.nodes)} kept no tokens of batch {batch} before layer {layer}")
            self._x = x

    def _read_context(self, context: NDArray[np.uint8]) -> list[Cache | None]:
        if context.size == 0:
            return [None] * self._common.layers
        caches: list[Cache | None] = []
        x = layers.embed(self._common, context)
        for layer in range(self._common.layers):
            hidden, cache = layers.attend(self._common, layer, x)
            states = layers.expert_input(self._common, layer, hidden)
            own = [self._apply(layer, place, state) for place, state in enumerate(states)]
            x = hidden + np.stack(own)
            caches.append(cache)
        return caches

    def gate(self, layer: int, own: bool = True) -> NDArray[np.float64]:
        """Begin `layer`: attention and gate on the own tokens, or without `own` the experts alone.

        Returns:
            (n, N, K) scores, rows sum to 1; N is 0 without `own`.
        """
        n, K, width = len(self.nodes), self._settings.experts, self._common.width
        if own:
            hidden, states, score = self._gate(layer)
        else:
            hidden, states, score = self._x[:, :0], self._x[:, :0], np.zeros((n, 0, K))
        self._now = _Layer(
            hidden=hidden,
            states=states,
            score=score,
            outputs=np.zeros((*score.shape, width), np.float32),
            arrived=np.zeros(score.shape, np.bool_),
            own=own,
            asked=[],
            answered=np.zeros(0, np.int64),
            answers=np.zeros((0, width), np.float32),
        )
        return score

    def _gate(self, layer: int) -> tuple[Floats, Floats, NDArray[np.float64]]:
        hidden, _ = layers.attend(self._common, layer, self._x, self._caches[layer])
        states = layers.expert_input(self._common, layer, hidden)
        score = layers.gate_scores(self._common, layer, states, self._settings.temperature)
        score = score[..., : self._settings.experts]
        return hidden, states, score / score.sum(axis=-1, keepdims=True)  # the softmax over the experts that are there

    def compute(self, layer: int, mine: Bools | None = None) -> Ints:
        """Apply each node's expert to every state that it received; how many there were, (n,).

        In the same go to the own tokens `mine` (n, N), if given; `aggregate` does what is left.
        """
        now, (n, N, _) = self._current(), self._current().score.shape
        count, states = np.zeros(n, np.int64), np.zeros((0, self._common.width), np.float32)
        if now.asked:
            now.rows = 1 + max(int(blocks.row.max()) for blocks, _ in now.asked)
            keys = np.concatenate([self._key(b.receiver, b.sender, b.row) for b, _ in now.asked])
            now.answered, first = np.unique(keys, return_index=True)
            states = np.concatenate([state for _, state in now.asked])[first]
            count = np.bincount(self._place[self._holder(now.answered)], minlength=n)
        own = np.zeros((n, N), np.bool_) if mine is None else mine
        parts = np.split(states, np.cumsum(count)[:-1])
        now.answers = np.concatenate([self._answer(layer, k, part, own[k]) for k, part in enumerate(parts)])
        return count

    def _answer(self, layer: int, place: int, states: Floats, own: Bools) -> Floats:
        """What the expert at that place makes of states of others, and, kept here, of its own tokens (N,)."""
        now, k = self._current(), self.nodes[place]
        made = self._apply(layer, place, np.concatenate((states, now.states[place, own])))
        now.outputs[place, own, k], now.arrived[place, own, k] = made[len(states) :], True
        return made[: len(states)]

    def aggregate(self, layer: int, selected: Bools) -> tuple[Bools, Bools]:
        """Combine the results of `selected` (n, N, K) and end the layer: lost and fallback (n, N), see `Aggregated`.

        A token that all its experts failed is served by the own expert, which needs no radio.
        """
        now = self._current()
        if not now.own:
            self._now = None
            return np.zeros(selected.shape[:2], np.bool_), np.zeros(selected.shape[:2], np.bool_)
        arrived = now.arrived & selected
        chose_own = np.stack([mine[:, k] for k, mine in zip(self.nodes, selected, strict=True)])
        fallback = np.logical_not(arrived.any(axis=-1) | chose_own)
        for place, (k, local) in enumerate(zip(self.nodes, chose_own | fallback, strict=True)):
            left = local & ~now.arrived[place, :, k]
            if left.any():
                now.outputs[place, left, k] = self._apply(layer, place, now.states[place, left])
            arrived[place, local, k] = True
        lost = np.asarray((selected & ~arrived).any(axis=-1))
        self._x = layers.mix(now.hidden, now.outputs, layers.shares(now.score, arrived))
        self._shelf.keep(self._batch, layer + 1, self._x)
        self._now = None
        return lost, np.asarray(fallback)

    def predict(self) -> dict[int, Prediction]:
        """By node, the likeliest next byte of every token, and the byte that follows."""
        logits = layers.predict(self._common, self._x)
        predicted, nats = logits.argmax(axis=-1).astype(np.uint8), layers.surprise(logits, self._target)
        return {k: Prediction(*parts) for k, *parts in zip(self.nodes, predicted, self._target, nats, strict=True)}

    def outgoing(self, blocks: Blocks) -> Payload:
        """(B, bytes) of blocks that nodes in here send: own states forward, results of their experts back."""
        now = self._current()
        if blocks.phase == "forward":
            states = now.states[self._place[blocks.sender], blocks.row]
        else:
            keys = self._key(blocks.sender, blocks.receiver, blocks.row)
            found = np.minimum(np.searchsorted(now.answered, keys), now.answered.size - 1)
            if not now.answered.size or (now.answered[found] != keys).any() or (blocks.row >= now.rows).any():
                raise NodeFailed("a result is asked for whose state never came; the rounds are out of step")
            states = now.answers[found]
        return quantise(states, self._settings.quantisation)

    def incoming(self, blocks: Blocks, payload: Payload) -> None:
        """Take in (B, bytes) that arrived for nodes in here."""
        now = self._current()
        states = dequantise(payload, self._common.width, self._settings.quantisation)
        if blocks.phase == "return":
            at = self._place[blocks.receiver], blocks.row, blocks.sender
            now.outputs[at], now.arrived[at] = states, True
        elif blocks.row.size:
            now.asked.append((blocks, states))

    def _apply(self, layer: int, place: int, states: Floats) -> Floats:
        """The expert of the node at that place, on states that are there."""
        return layers.apply_expert(self._parts[place], layer, self.nodes[place], states)

    def _key(self, holder: Ints, owner: Ints, row: Ints) -> Ints:
        """One number for the state of token `row` of `owner` at the expert of `holder`; it rises with the place."""
        return (holder * self._settings.experts + owner) * self._current().rows + row

    def _holder(self, key: Ints) -> Ints:
        return key // (self._current().rows * self._settings.experts)

    def _current(self) -> _Layer:
        if self._now is None:
            raise NodeFailed(f"node {list(self.nodes)}: no layer has begun; gate comes first")
        return self._now
