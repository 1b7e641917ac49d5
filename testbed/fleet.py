"""The nodes of a run as one: who is alive, and asking all of them for the next step of a round.

`Crew` is what a round knows. `Fleet` is the crew of `Node`s, asked one by one or several at once; nodes without
waveforms (`testbed.abstraction`) are another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from testbed.errors import NodeFailed, NodeLost
from testbed.frames import Bools, Carried, Cost, Frames
from testbed.outcome import Measured
from testbed.protocol import Aggregated, Gated, Node, Prediction, Reception, Sent, Slot, Sounding

T = TypeVar("T")

RETURNS = 4
"""How often a node may come back within one batch."""


class Crew(Protocol):
    """What a round asks of all its nodes. Answers are by node; those that die meanwhile are missing from them."""

    def __len__(self) -> int:
        """K, dead ones included."""
        ...

    def alive(self) -> list[int]:
        """Indices of the nodes that have answered so far."""
        ...

    def alive_mask(self) -> Bools:
        """(K,) bool."""
        ...

    def take_events(self) -> tuple[str, ...]:
        """What went wrong since this was last asked."""
        ...

    def note(self, event: str) -> None:
        """A sentence for the next record."""
        ...

    def begin(self, batch: int) -> None:
        """All nodes take up `batch`, also those that were lost before: one that is back is alive again."""
        ...

    def take_back(self, batch: int, layer: Sequence[int]) -> None:
        """Nodes that are there again take up their tokens of `batch` where `layer` (K,) says; then they are alive."""
        ...

    def missing(self) -> list[int]:
        """Indices of the nodes that were dropped and may still come back with their tokens."""
        ...

    def why_missing(self, node: int) -> str:
        """Why a node that was dropped has not come back."""
        ...

    def sound(self, numbers: Sequence[int], used: int) -> tuple[Measured, float]:
        """Each in turn sounds its radio by a frame of its number (K,), all others listen; with the air time.

        `used` is U, how many subcarriers a sounding measures.
        """
        ...

    def gate(self, layer: int, sources: Collection[int]) -> dict[int, Gated]:
        """Begin `layer`: attention and gate of `sources`, the experts alone of the others."""
        ...

    def carry(self, frames: Frames) -> Carried:
        """Every frame on the air, one after the other, and what its destinations heard."""
        ...

    def compute(self, layer: int, selected: Mapping[int, Bools]) -> dict[int, int]:
        """Experts on the states they received; how many. `selected` is what `aggregate` will be asked for."""
        ...

    def aggregate(self, layer: int, selected: Mapping[int, Bools]) -> dict[int, Aggregated]:
        """Results of `selected`, (N_k, K) for each node k, combined; the end of the layer."""
        ...

    def predict(self, among: Collection[int]) -> dict[int, Prediction]:
        """The next byte of every token of `among`."""
        ...


class RollCall:
    """Who is alive of K nodes, and what went wrong."""

    def __init__(self, nodes: int) -> None:
        self._alive = [True] * nodes
        self._reported: set[int] = set()
        self._events: list[str] = []

    def __len__(self) -> int:
        return len(self._alive)

    def alive(self) -> list[int]:
        """Indices of the nodes that have answered so far."""
        return [k for k, living in enumerate(self._alive) if living]

    def alive_mask(self) -> Bools:
        """(K,) bool."""
        return np.array(self._alive)

    def note(self, event: str) -> None:
        """A sentence for the next record."""
        self._events.append(event)

    def take_events(self) -> tuple[str, ...]:
        """What went wrong since this was last asked."""
        events, self._events = tuple(self._events), []
        return events

    def drop(self, k: int, error: Exception) -> None:
        """Node k is gone, until the next batch unless it comes back before."""
        self._alive[k] = False
        if k not in self._reported:
            self._reported.add(k)
            self.note(f"node {k} dropped: {error}")

    def _all_again(self) -> None:
        """Everybody is asked once more."""
        self._alive = [True] * len(self._alive)

    def _welcome(self, nodes: Set[int]) -> None:
        """These took up the batch; some had been lost."""
        self._events += [f"node {k} is back" for k in sorted(self._reported & nodes)]
        self._reported -= nodes


class RunAll(Protocol):
    """Applies a function to each item: the built-in `map`, or the `map` of a thread pool."""

    def __call__(self, function: Callable[[int], Any], items: Iterable[int], /) -> Iterator[Any]:
        """Results in the order of items."""
        ...


@dataclass(frozen=True)
class Care:
    """Who looks after nodes that were lost.

    Attributes:
        on_lost: told the number of a node when it is dropped.
        back: whether a node that was dropped is there again.
        given_up: why it will not come back, empty while it may.
        quiet: takes every radio off the air at once, for good; callable from signal handlers.
    """

    on_lost: Callable[[int], None] = lambda node: None
    back: Callable[[int], bool] = lambda node: False
    given_up: Callable[[int], str] = lambda node: "nobody starts it again"
    quiet: Callable[[], None] = lambda: None


class Fleet(RollCall):
    """The crew of single nodes; one that fails to answer is not asked again until it is back.

    With `map` nodes are asked one after the other, with the `map` of a thread pool at the same time; the
    answers are the same.
    """

    def __init__(self, nodes: Sequence[Node], run_all: RunAll = map, care: Care | None = None) -> None:
        super().__init__(len(nodes))
        self._nodes = tuple(nodes)
        self._run_all = run_all
        self._care = care or Care()
        self._returns: Counter[int] = Counter()
        self._errors: dict[int, Exception] = {}

    def ask(self, among: Iterable[int], verb: Callable[[Node], T]) -> dict[int, T]:
        """`verb(node)` for each live node of `among`; those that die meanwhile are missing from the answer."""
        asked = [k for k in among if self._alive[k]]
        answers = self._run_all(lambda k: self._try(k, verb), asked)
        heard: dict[int, T] = {}
        for k, (answer, error) in zip(asked, list(answers), strict=True):
            if error is None:
                heard[k] = answer
            else:
                self.drop(k, error)
        return heard

    def drop(self, k: int, error: Exception) -> None:
        """Node k is gone; who looks after it is told."""
        super().drop(k, error)
        self._errors[k] = error
        self._care.on_lost(k)

    def begin(self, batch: int) -> None:
        """All nodes take up `batch`."""
        self._all_again()
        self._returns.clear()
        self._welcome(self.ask(range(len(self)), lambda node: node.begin(batch)).keys())

    def take_back(self, batch: int, layer: Sequence[int]) -> None:
        """Nodes that are there again take up their tokens.

        One that has lost its tokens, or failed `RETURNS` times, stays out until the next batch.
        """
        returning = [k for k in self.missing() if self._care.back(k)]
        answers = self._run_all(lambda k: self._try(k, lambda node: node.resume(batch, layer[k])), returning)
        for k, (_, error) in zip(returning, list(answers), strict=True):
            if error is None:
                self._alive[k] = True
                self._returns[k] += 1
                self._welcome({k})
            elif isinstance(error, NodeFailed):
                self._returns[k] = RETURNS
                self.note(f"node {k} is back without its tokens: {error}")

    def quiet(self) -> None:
        """Every radio off the air at once, for good; callable from signal handlers."""
        self._care.quiet()

    def missing(self) -> list[int]:
        """Indices of the nodes that were dropped and may still come back with their tokens."""
        gone = [k for k, living in enumerate(self._alive) if not living and self._returns[k] < RETURNS]
        return [k for k in gone if self._care.back(k) or not self._care.given_up(k)]

    def why_missing(self, node: int) -> str:
        """Why a node that was dropped has not come back."""
        if self._returns[node] >= RETURNS:
            return f"it failed too often, at last: {self._errors[node]}"
        return self._care.given_up(node) or "it was waited for in vain"

    def sound(self, numbers: Sequence[int], used: int) -> tuple[Measured, float]:
        """Each live node in turn sounds its radio, all others listen."""
        heard: list[Sounding] = []
        air_time_s = 0.0
        for source in self.alive():
            air_time_s += sum(self.ask([source], lambda node: node.sound(numbers[node.index])).values())
            listeners = [k for k in self.alive() if k != source]
            answers = self.ask(listeners, lambda node, i=source: node.measure(i, numbers[i]))  # type: ignore[misc]
            self.ask([source], lambda node: node.silence())
            heard += [sounding for sounding in answers.values() if sounding is not None]
        return gather_soundings(heard, len(self), used), air_time_s

    def gate(self, layer: int, sources: Collection[int]) -> dict[int, Gated]:
        """Begin `layer`: attention and gate of `sources`, the experts alone of the others."""
        return self.ask(self.alive(), lambda node: node.gate(layer, node.index in sources))

    def carry(self, frames: Frames) -> Carried:
        """Every frame on the air, until all its destinations have heard it or not."""
        answers = [self._carry(slot) for slot in frames.slots()]
        return gather_receptions(frames, answers)

    def compute(self, layer: int, selected: Mapping[int, Bools]) -> dict[int, int]:
        """Experts on the states they received; how many. Each node works on its own tokens when it aggregates."""
        return self.ask(self.alive(), lambda node: node.compute(layer))

    def aggregate(self, layer: int, selected: Mapping[int, Bools]) -> dict[int, Aggregated]:
        """Results combined; the end of the layer."""
        return self.ask(self.alive(), lambda node: node.aggregate(layer, selected[node.index]))

    def predict(self, among: Collection[int]) -> dict[int, Prediction]:
        """The next byte of every token of `among`."""
        return self.ask(among, lambda node: node.predict())

    def _carry(self, slot: Slot) -> tuple[Sent | None, dict[int, Reception]]:
        sent = self.ask([slot.source], lambda node: node.send(slot))
        if slot.source not in sent:
            return None, {}
        heard = self.ask([share.destination for share in slot.shares], lambda node: node.receive(slot))
        self.ask([slot.source], lambda node: node.silence())
        return sent[slot.source], heard

    def _try(self, k: int, verb: Callable[[Node], T]) -> tuple[T, None] | tuple[None, Exception]:
        try:
            return verb(self._nodes[k]), None
        except (NodeLost, NodeFailed) as error:
            return None, error


def gather_soundings(heard: Sequence[Sounding], K: int, U: int) -> Measured:
    """Single links → arrays over all directed links; what nobody heard stays zero and invalid."""
    link = (K, K)
    measured = Measured(
        h=np.zeros((*link, U), np.complex64),
        noise=np.zeros((*link, U), np.float32),
        snr=np.zeros((*link, U), np.float32),
        valid=np.zeros(link, np.bool_),
        cfo_hz=np.zeros(link),
        timing_samples=np.zeros(link),
        clipped=np.zeros(link, np.bool_),
    )
    for one in heard:
        at = one.source, one.destination
        measured.h[at], measured.noise[at], measured.snr[at] = one.h, one.noise, one.snr
        measured.cfo_hz[at], measured.timing_samples[at] = one.cfo_hz, one.timing_samples
        measured.clipped[at], measured.valid[at] = one.clipped, True
    return measured


def gather_receptions(frames: Frames, answers: Sequence[tuple[Sent | None, dict[int, Reception]]]) -> Carried:
    """Answers frame by frame → arrays over all shares and blocks."""
    F, S = frames.number.size, frames.frame.size
    cost = Cost(np.zeros(F), np.zeros(S), np.zeros(F))
    answered, heard, snr_db = np.zeros(S, np.bool_), np.zeros(S, np.bool_), np.full(S, np.nan)
    arrived = np.zeros(frames.share.size, np.bool_)
    constellation: NDArray[np.complex64] = np.zeros(0, np.complex64)
    pictured = -1
    for f, (sent, receptions) in enumerate(answers):
        if sent is None:
            continue
        own = np.flatnonzero(frames.frame == f)
        cost.air_time_s[f], cost.overhead_s[f], cost.share_s[own] = sent.air_time_s, sent.overhead_s, sent.share_s
        for s in own.tolist():
            reception = receptions.get(int(frames.destination[s]))
            if reception is None:
                continue
            answered[s], heard[s], snr_db[s] = True, reception.heard, reception.snr_db
            arrived[frames.share == s] = reception.delivered
            if pictured < 0 and reception.constellation.size:
                constellation, pictured = reception.constellation, s
    on_air = np.array([sent is not None for sent, _ in answers], np.bool_)
    return Carried(on_air, cost, answered, heard, snr_db, arrived, constellation, pictured)
