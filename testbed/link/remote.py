"""A node behind a hub, and its mirror image in the agent."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from testbed.errors import NodeFailed, NodeLost
from testbed.link import messages as m
from testbed.link.hub import Hub
from testbed.protocol import Aggregated, Gated, Node, Prediction, Reception, Sent, Slot, Sounding

R = TypeVar("R", bound=m.Message)

FIRST_S, SHORTEST_S, FACTOR = 30.0, 0.9, 10.0


class Patience:
    """How long nodes may take for a verb before they count as hanging; one for all nodes of a run.

    With `limit_s` always that long. Else 30 s until a verb was answered for the first time, for compiled code may have
    to be built; after that ten times the longest answer so far, at least 0.9 s.
    """

    def __init__(self, limit_s: float | None = None) -> None:
        self._limit_s = limit_s
        self._longest: dict[type[m.Message], float] = {}

    def of(self, verb: type[m.Message]) -> float:
        """Seconds."""
        if self._limit_s is not None:
            return self._limit_s
        longest = self._longest.get(verb)
        return FIRST_S if longest is None else min(FIRST_S, max(SHORTEST_S, FACTOR * longest))

    def note(self, verb: type[m.Message], seconds: float) -> None:
        """An answer took so long."""
        self._longest[verb] = max(seconds, self._longest.get(verb, 0.0))


class RemoteNode:
    """Node `index` of `hub` as a `testbed.protocol.Node`.

    `begin` and `resume` bind to the process that is there; when that one is lost, every verb that needs what it
    held raises `NodeLost` until the next of these two, even if another process has joined in its place.
    """

    def __init__(self, hub: Hub, index: int, patience: Patience | None = None) -> None:
        self._hub, self._index, self._patience = hub, index, patience or Patience()
        self._bound = 0

    @property
    def index(self) -> int:
        """Number of this node."""
        return self._index

    def begin(self, batch: int) -> None:
        """Take up the tokens of `batch`."""
        self._bound = self._hub.incarnation(self._index)
        self._ask(m.Begin(batch), m.Done)

    def resume(self, batch: int, layer: int) -> None:
        """Take up the tokens of `batch` as they were when `layer` began."""
        self._bound = self._hub.incarnation(self._index)
        self._ask(m.Resume(batch, layer), m.Done)

    def sound(self, number: int) -> float:
        """Put sounding frame `number` on the air; its length in seconds."""
        return self._ask(m.Sound(number), m.OnAir).seconds

    def measure(self, source: int, number: int) -> Sounding | None:
        """Hear sounding frame `number` of `source`."""
        return self._ask(m.Measure(source, number), m.Measured).sounding

    def silence(self) -> None:
        """Take whatever is on the air off."""
        self._ask(m.Silence(), m.Done)

    def gate(self, layer: int, own: bool = True) -> Gated:
        """Begin `layer`, with the node's own tokens or for those of others alone."""
        return self._ask_bound(m.Gate(layer, own), m.Scores).gated

    def send(self, slot: Slot) -> Sent:
        """Put the frame of `slot` on the air."""
        return self._ask_bound(m.Send(slot), m.Transmitted).sent

    def receive(self, slot: Slot) -> Reception:
        """Hear the frame of `slot`."""
        return self._ask_bound(m.Receive(slot), m.Heard).reception

    def compute(self, layer: int) -> int:
        """Apply the node's expert."""
        return self._ask_bound(m.Compute(layer), m.Computed).count

    def aggregate(self, layer: int, selected: NDArray[np.bool_]) -> Aggregated:
        """Combine the results of `selected` (N, K)."""
        return self._ask_bound(m.Aggregate(layer, selected), m.LayerEnded).aggregated

    def predict(self) -> Prediction:
        """Score the next byte of every token."""
        return self._ask_bound(m.Predict(), m.Predicted).prediction

    def _ask_bound(self, request: m.Request, answer: type[R]) -> R:
        if not self._bound:
            raise NodeLost(f"node {self._index} was not there at the last begin: begin again")
        return self._ask(request, answer, self._bound)

    def _ask(self, request: m.Request, answer: type[R], incarnation: int = 0) -> R:
        verb, start = type(request), time.monotonic()
        reply = self._hub.ask(self._index, request, self._patience.of(verb), incarnation=incarnation)
        self._patience.note(verb, time.monotonic() - start)
        if not isinstance(reply, answer):
            asked, got = type(request).__name__, type(reply).__name__
            raise NodeFailed(f"node {self._index} answered {asked} with {got}: install the same version")
        return reply


def serve_node(node: Node) -> Callable[[m.Request], m.Reply]:
    """Handler that lets `node` do what is asked."""

    def handle(request: m.Request) -> m.Reply:
        match request:
            case m.Begin(batch):
                node.begin(batch)
                return m.Done()
            case m.Resume(batch, layer):
                node.resume(batch, layer)
                return m.Done()
            case m.Sound(number):
                return m.OnAir(node.sound(number))
            case m.Measure(source, number):
                return m.Measured(node.measure(source, number))
            case m.Silence():
                node.silence()
                return m.Done()
            case m.Gate(layer, own):
                return m.Scores(node.gate(layer, own))
            case m.Send(slot):
                return m.Transmitted(node.send(slot))
            case m.Receive(slot):
                return m.Heard(node.receive(slot))
            case m.Compute(layer):
                return m.Computed(node.compute(layer))
            case m.Aggregate(layer, selected):
                return m.LayerEnded(node.aggregate(layer, selected))
            case m.Predict():
                return m.Predicted(node.predict())

    return handle
