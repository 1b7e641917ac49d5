"""The nodes of a run: who is alive, and asking several of them at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from testbed.errors import NodeFailed, NodeLost
from testbed.protocol import Node

T = TypeVar("T")

RETURNS = 10
"""How often a node may come back within one batch."""


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
        expected: whether it may still come back.
    """

    on_lost: Callable[[int], None] = lambda node: None
    back: Callable[[int], bool] = lambda node: False
    expected: Callable[[int], bool] = lambda node: False


class Fleet:
    """The nodes of a run; a node that fails to answer is not asked again until it is back.

    With `map` nodes are asked one after the other, with the `map` of a thread pool at the same time; the
    answers are the same.
    """

    def __init__(self, nodes: Sequence[Node], run_all: RunAll = map, care: Care | None = None) -> None:
        self._nodes = tuple(nodes)
        self._run_all = run_all
        self._care = care or Care()
        self._alive = [True] * len(self._nodes)
        self._returns: Counter[int] = Counter()
        self._reported: set[int] = set()
        self._events: list[str] = []

    def __len__(self) -> int:
        return len(self._nodes)

    def alive(self) -> list[int]:
        """Indices of the nodes that have answered so far."""
        return [k for k, living in enumerate(self._alive) if living]

    def alive_mask(self) -> NDArray[np.bool_]:
        """(K,) bool."""
        return np.array(self._alive)

    def note(self, event: str) -> None:
        """A sentence for the next record."""
        self._events.append(event)

    def take_events(self) -> tuple[str, ...]:
        """What went wrong since this was last asked."""
        events, self._events = tuple(self._events), []
        return events

    def ask(self, among: Iterable[int], verb: Callable[[Node], T]) -> dict[int, T]:
        """`verb(node)` for each live node of `among`; those that die meanwhile are missing from the answer."""
        asked = [k for k in among if self._alive[k]]
        answers = self._run_all(lambda k: self._try(k, verb), asked)
        heard: dict[int, T] = {}
        for k, (answer, error) in zip(asked, list(answers), strict=True):
            if error is None:
                heard[k] = answer
            else:
                self._drop(k, error)
        return heard

    def begin(self, batch: int) -> None:
        """All nodes take up `batch`, also those that were lost before: one that is back is alive again."""
        self._alive = [True] * len(self._nodes)
        self._returns.clear()
        answered = self.ask(range(len(self._nodes)), lambda node: node.begin(batch))
        self._welcome(answered.keys())

    def take_back(self, batch: int, layer: Sequence[int]) -> None:
        """Nodes that are there again take up their tokens of `batch` where `layer` (K,) says; then they are alive.

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

    def missing(self) -> list[int]:
        """Indices of the nodes that were dropped and may still come back with their tokens."""
        gone = [k for k, living in enumerate(self._alive) if not living and self._returns[k] < RETURNS]
        return [k for k in gone if self._care.back(k) or self._care.expected(k)]

    def _welcome(self, nodes: Set[int]) -> None:
        self._events += [f"node {k} is back" for k in sorted(self._reported & nodes)]
        self._reported -= nodes

    def _try(self, k: int, verb: Callable[[Node], T]) -> tuple[T, None] | tuple[None, Exception]:
        try:
            return verb(self._nodes[k]), None
        except (NodeLost, NodeFailed) as error:
            return None, error

    def _drop(self, k: int, error: Exception) -> None:
        self._alive[k] = False
        if k not in self._reported:
            self._reported.add(k)
            self._events.append(f"node {k} dropped: {error}")
        self._care.on_lost(k)
