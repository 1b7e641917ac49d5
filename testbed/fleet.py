"""The nodes of a run: who is alive, and asking several of them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from testbed.errors import NodeFailed, NodeLost
from testbed.protocol import Node

T = TypeVar("T")


class RunAll(Protocol):
    """Applies a function to each item: the built-in `map`, or the `map` of a thread pool."""

    def __call__(self, function: Callable[[int], Any], items: Iterable[int], /) -> Iterator[Any]:
        """Results in the order of items."""
        ...


class Fleet:
    """The nodes of a run; a node that fails to answer is not asked again.

    With `map` nodes are asked one after the other, with the `map` of a thread pool at the same time; the
    answers are the same. `on_lost` is told the number of a node when it is dropped.
    """

    def __init__(
        self, nodes: Sequence[Node], run_all: RunAll = map, on_lost: Callable[[int], None] = lambda node: None
    ) -> None:
        self._nodes = tuple(nodes)
        self._run_all = run_all
        self._on_lost = on_lost
        self._alive = [True] * len(self._nodes)
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
        answered = self.ask(range(len(self._nodes)), lambda node: node.begin(batch))
        self._events += [f"node {k} is back" for k in sorted(self._reported & answered.keys())]
        self._reported -= answered.keys()

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
            self._on_lost(k)
