"""What any mixture of experts must be able to do, to be run in rounds by nodes that hold one expert each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from testbed.experts import layers
from testbed.experts.central import best_experts
from testbed.experts.layers import Bools, Cache, Doubles
from testbed.experts.model import Floats, Model

Tokens = NDArray[np.integer[Any]]


class Experts(Protocol):
    """A mixture of K experts in L layers of width d, or one node's part of it.

    The verbs are those of `layers.py`; x, h and u are (N, d), scores (N, K) with rows that sum to 1. Applying
    an expert that is not held is a ModelError.
    """

    @property
    def layers(self) -> int:
        """Number of layers L."""

    @property
    def experts(self) -> int:
        """Number of experts K, held or not."""

    @property
    def width(self) -> int:
        """Width d of a hidden state."""

    def embed(self, tokens: Tokens, first_position: int = 0) -> Floats:
        """Tokens (N,) → states before the first layer."""

    def attend(self, layer: int, x: Floats, cache: Cache | None = None) -> tuple[Floats, Cache]:
        """Causal attention with its residual, and the grown cache."""

    def expert_input(self, layer: int, h: Floats) -> Floats:
        """What gate and experts read, and what crosses the air."""

    def gate_scores(self, layer: int, u: Floats, temperature: float | None = None) -> Doubles:
        """Scores of all experts."""

    def apply_expert(self, layer: int, expert: int, u: Floats) -> Floats:
        """The FFN of one expert."""

    def aggregate(self, layer: int, h: Floats, outputs: Floats, scores: Doubles, delivered: Bools) -> Floats:
        """Residual, plus whatever every node adds, plus the weighted sum over the experts that answered."""

    def predict(self, x: Floats) -> Floats:
        """Logits of the next token."""


@dataclass(frozen=True, eq=False)
class ByteExperts:
    """The shipped kind of model as `Experts`."""

    model: Model

    @property
    def layers(self) -> int:
        """Number of layers L."""
        return self.model.layers

    @property
    def experts(self) -> int:
        """Number of experts K."""
        return self.model.experts

    @property
    def width(self) -> int:
        """Width d of a hidden state."""
        return self.model.width

    def embed(self, tokens: Tokens, first_position: int = 0) -> Floats:
        """`layers.embed`."""
        return layers.embed(self.model, np.asarray(tokens, np.uint8), first_position)

    def attend(self, layer: int, x: Floats, cache: Cache | None = None) -> tuple[Floats, Cache]:
        """`layers.attend`."""
        return layers.attend(self.model, layer, x, cache)

    def expert_input(self, layer: int, h: Floats) -> Floats:
        """`layers.expert_input`."""
        return layers.expert_input(self.model, layer, h)

    def gate_scores(self, layer: int, u: Floats, temperature: float | None = None) -> Doubles:
        """`layers.gate_scores`."""
        return layers.gate_scores(self.model, layer, u, temperature)

    def apply_expert(self, layer: int, expert: int, u: Floats) -> Floats:
        """`layers.apply_expert`."""
        return layers.apply_expert(self.model, layer, expert, u)

    def aggregate(self, layer: int, h: Floats, outputs: Floats, scores: Doubles, delivered: Bools) -> Floats:
        """`layers.aggregate`, renormalised."""
        return layers.aggregate(h, outputs, scores, delivered)

    def predict(self, x: Floats) -> Floats:
        """`layers.predict`."""
        return layers.predict(self.model, x)


def run_through(experts: Experts, tokens: Tokens, top_k: int) -> Floats:
    """Logits (N, V) of one passage (N,), every token on its `top_k` best experts, all in one place."""
    x = experts.embed(tokens)
    for layer in range(experts.layers):
        h, _ = experts.attend(layer, x)
        u = experts.expert_input(layer, h)
        scores = experts.gate_scores(layer, u)
        chosen = best_experts(scores, top_k)
        outputs = np.zeros((*chosen.shape, experts.width), np.float32)
        for expert in np.flatnonzero(chosen.any(axis=0)).tolist():
            rows = chosen[:, expert]
            outputs[rows, expert] = experts.apply_expert(layer, expert, u[rows])
        x = experts.aggregate(layer, h, outputs, scores, chosen)
    return experts.predict(x)
