"""The whole model in one place: the yardstick that a distributed run is held against."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from testbed.errors import ModelError
from testbed.experts.layers import (
    Bools,
    Doubles,
    apply_expert,
    attend,
    embed,
    expert_input,
    gate_scores,
    predict,
)
from testbed.experts.model import Floats, Model

Choice = Callable[[int, Doubles], Bools]
"""(layer, scores (n, K)) → experts that each token uses, (n, K)."""


def run_centrally(
    model: Model,
    tokens: NDArray[np.uint8],
    *,
    top_k: int | None = 2,
    temperature: float | None = None,
    batch: int = 8,
) -> Floats:
    """Logits (…, N, 256) after every byte of one passage (N,) or of several (B, N).

    Each token uses the `top_k` experts of the highest scores, all of them if None; scores are renormalised
    over those used. `batch` passages are run at a time. ModelError if `top_k` is not in 1 … K.
    """
    used = model.experts if top_k is None else top_k
    if not 1 <= used <= model.experts:
        raise ModelError(f"top_k: {top_k} is not in 1…{model.experts}, the experts of {model.name}")
    return run_choosing(model, tokens, lambda _, scores: best_experts(scores, used), temperature, batch)


def run_choosing(
    model: Model, tokens: NDArray[np.uint8], choose: Choice, temperature: float | None = None, batch: int = 8
) -> Floats:
    """As `run_centrally`, with the experts of each token chosen by `choose`, layer by layer.

    A token for which nothing is chosen goes on with its residual.
    """
    passages = np.atleast_2d(tokens)
    parts = [
        _run(model, passages[start : start + batch], choose, temperature) for start in range(0, len(passages), batch)
    ]
    return np.concatenate(parts).reshape(*tokens.shape, -1)


def best_experts(scores: Doubles, count: int) -> Bools:
    """The `count` experts of the highest scores, (n, K); of equal scores the lower index is taken."""
    order = np.argsort(-scores, axis=-1, kind="stable")[..., :count]
    chosen = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(chosen, order, True, axis=-1)
    return chosen


def _run(model: Model, passages: NDArray[np.uint8], choose: Choice, temperature: float | None) -> Floats:
    x = embed(model, passages)
    for layer in range(model.layers):
        h, _ = attend(model, layer, x)
        states = h.reshape(-1, model.width)
        u = expert_input(model, layer, states)
        scores = gate_scores(model, layer, u, temperature)
        x = _mix(model, layer, states, u, scores, choose(layer, scores)).reshape(h.shape)
    return predict(model, x)


def _mix(model: Model, layer: int, h: Floats, u: Floats, scores: Doubles, chosen: Bools) -> Floats:
    """`aggregate` of the chosen experts, each applied to its own tokens only; all (n, d) or (n, K)."""
    weights = np.where(chosen, scores, 0.0)
    total = weights.sum(axis=-1, keepdims=True)
    weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0).astype(np.float32)
    x = h.copy()
    for expert in range(model.experts):
        rows = np.flatnonzero(chosen[:, expert])
        if rows.size:
            x[rows] += weights[rows, expert, None] * apply_expert(model, layer, expert, u[rows])
    return x
