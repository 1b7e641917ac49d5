"""Questions with one right continuation among four: which one the nodes find likeliest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from testbed.experts.text import CHOICES
from testbed.protocol import Prediction


@dataclass
class Answers:
    """Counts of K nodes. Batches come in fours: the right continuation, of `continuation` bytes, then three wrong ones.

    A question counts for a node that ended all four batches.
    """

    nodes: int
    continuation: int
    asked: NDArray[np.int64] = field(init=False)
    right: NDArray[np.int64] = field(init=False)
    _nats: list[dict[int, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.asked, self.right = np.zeros((2, self.nodes), np.int64)

    def add(self, predictions: Mapping[int, Prediction]) -> None:
        """One more batch, by node; nothing is asked where continuations have no length."""
        if not self.continuation:
            return
        self._nats.append({k: float(one.nats[-self.continuation :].sum()) for k, one in predictions.items()})
        if len(self._nats) == CHOICES:
            for node in set.intersection(*(set(batch) for batch in self._nats)):
                right, *wrong = (batch[node] for batch in self._nats)
                self.asked[node] += 1
                self.right[node] += right < min(wrong)
            self._nats.clear()

    def figures(self) -> dict[str, object]:
        """`asked` and `answered` (K,), plain numbers."""
        return {"asked": self.asked.tolist(), "answered": self.right.tolist()}
