"""One layer of the mixture of experts, cut where a round cuts it: attention, gate, expert, aggregation.

    x ─ attend ─► h ─ expert_input ─► u ─ gate_scores ─► t (scores of the K experts)
                  │                   └── apply_expert ─► f_k(u), at the node of expert k
                  └───────────── aggregate(h, f, t) ────► x of the next layer

All are pure functions; leading axes of `x`, `h` and `u` (a batch of passages) pass through unchanged.
Pre-normalised residual blocks with root-mean-square normalisation, rotary positions (Su et al. 2021,
arXiv:2104.09864) and squared-ReLU experts (So et al. 2021, arXiv:2109.08668).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from testbed.errors import ModelError
from testbed.experts.model import Floats, Model, slot

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]

ROTARY_BASE = 10_000.0
_EPSILON = np.float32(1e-6)
_BLOCK = 64


@dataclass(frozen=True, eq=False)
class Cache:
    """Keys and values of one layer for the tokens seen so far: both (…, heads, T, d / heads) float32."""

    keys: Floats
    values: Floats

    @property
    def length(self) -> int:
        """Number of tokens T seen so far."""
        return int(self.keys.shape[-2])


def embed(model: Model, tokens: NDArray[np.uint8], first_position: int = 0) -> Floats:
    """Hidden states before the first layer, (…, N, d) for bytes (…, N).

    `first_position` is the position of the first token in its passage; positions act in `attend`, here
    they are only held against the model's context. ModelError if the passage grows past it, or if
    `tokens` are not bytes.
    """
    if tokens.dtype != np.uint8:
        raise ModelError(f"tokens: type {tokens.dtype} is not uint8; a token is a byte")
    end = first_position + tokens.shape[-1]
    if first_position < 0 or end > model.context:
        raise ModelError(
            f"tokens: positions {first_position}…{end - 1} leave 0…{model.context - 1}, the context that "
            f"{model.name} was trained on; use shorter passages"
        )
    return model.embedding[tokens]


def attend(model: Model, layer: int, x: Floats, cache: Cache | None = None) -> tuple[Floats, Cache]:
    """Causal self-attention of one layer with its residual: x (…, N, d) → h (…, N, d), and the grown cache.

    With a cache of T tokens, row n of `x` is token T + n and sees tokens 0 … T + n; so a passage may be
    fed whole or piece by piece, with the same result up to rounding.
    """
    seen = cache.length if cache else 0
    heads = _heads(model, layer, x)
    query, key = rotate(heads[:2], rotary(seen, x.shape[-2], model.width // model.heads))
    value = heads[2]
    if cache:
        key = np.concatenate((cache.keys, key), axis=-2)
        value = np.concatenate((cache.values, value), axis=-2)
    joined = softmax_average(query, key, value, seen)
    return x + product(joined, model.attention_out[layer]), Cache(key, value)


def expert_input(model: Model, layer: int, h: Floats) -> Floats:
    """Normed hidden state u (…, d) of h (…, d): what gate and experts read, and what crosses the air.

    Its root mean square is 1. It depends on `h` alone, for gains are folded into gate and experts.
    """
    del model, layer
    return normalise(h)


def gate_scores(model: Model, layer: int, u: Floats, temperature: float | None = None) -> Doubles:
    """Scores t (…, K) of the K experts: softmax((u·W + b) / temperature), each row ≥ 0 with sum 1.

    Without a temperature, the model's own. ModelError if it is not positive and finite.
    """
    divisor = model.temperature if temperature is None else temperature
    if not (np.isfinite(divisor) and divisor > 0):
        raise ModelError(f"temperature: {divisor} must be positive and finite")
    logits = (product(u, model.gate_weight[layer]) + model.gate_bias[layer]).astype(np.float64) / divisor
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    scores: Doubles = powers / powers.sum(axis=-1, keepdims=True)
    return scores


def apply_expert(model: Model, layer: int, expert: int, u: Floats) -> Floats:
    """FFN of one expert: max(u·W_up, 0)²·W_down, (…, d) → (…, d). ModelError if it is not held here."""
    place = slot(model, expert)
    hidden = u @ model.expert_up[layer, place]
    np.maximum(hidden, 0, out=hidden)
    np.multiply(hidden, hidden, out=hidden)
    output: Floats = hidden @ model.expert_down[layer, place]
    return output


def aggregate(h: Floats, outputs: Floats, scores: Doubles, delivered: Bools, renormalise: bool = True) -> Floats:
    """Residual plus the score-weighted sum over the experts whose outputs arrived, (…, N, d).

    x[n] = h[n] + Σ_k w[n, k]·outputs[n, k] with w the `shares`. `outputs` (…, N, K, d) counts only where `delivered`
    (…, N, K); a token that got nothing keeps its residual h.
    """
    arrived = np.where(delivered[..., None], outputs, np.float32(0))
    return mix(h, arrived, shares(scores, delivered, renormalise))


def shares(scores: Doubles, delivered: Bools, renormalise: bool = True) -> Floats:
    """Weights (…, N, K) of the experts: scores where `delivered`, divided by their sum where `renormalise`; else 0."""
    weights = np.where(delivered, scores, 0.0)
    if renormalise:
        total = weights.sum(axis=-1, keepdims=True)
        weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    return weights.astype(np.float32)


def mix(h: Floats, outputs: Floats, weights: Floats) -> Floats:
    """x[n] = h[n] + Σ_k weights[n, k]·outputs[n, k], (…, N, d); outputs (…, N, K, d) are finite."""
    return np.asarray(h + (weights[..., None, :] @ outputs)[..., 0, :])


def predict(model: Model, x: Floats) -> Floats:
    """Logits (…, 256) of the next byte after each token, from the states (…, d) after the last layer."""
    return product(normalise(x), model.head)


def product(x: Floats, weights: Floats) -> Floats:
    """x·W, (…, d) and (d, f) → (…, f): in one piece, where numpy would multiply passage by passage."""
    flat: Floats = x.reshape(-1, x.shape[-1]) @ weights
    return flat.reshape(*x.shape[:-1], weights.shape[1])


def surprise(logits: Floats, target: NDArray[np.uint8]) -> Floats:
    """(…,) −ln p of the bytes `target` (…,) under logits (…, 256)."""
    above = logits - logits.max(axis=-1, keepdims=True)
    taken = np.take_along_axis(above, target[..., None].astype(np.int64), axis=-1)[..., 0]
    return np.asarray(np.log(np.exp(above).sum(axis=-1)) - taken, np.float32)


def normalise(x: Floats) -> Floats:
    """Rows of x (…, d) divided by their root mean square."""
    power = np.einsum("...d,...d->...", x, x)[..., None] / np.float32(x.shape[-1])
    return np.asarray(x / np.sqrt(power + _EPSILON), dtype=np.float32)


@functools.lru_cache(maxsize=64)
def rotary(first: int, count: int, size: int, base: float = ROTARY_BASE) -> tuple[Floats, Floats]:
    """Cosines and sines (count, size / 2) that turn a head of `size` values from position `first` on."""
    rates = base ** (-np.arange(size // 2) / (size // 2))
    angles = np.outer(np.arange(first, first + count), rates)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def rotate(values: Floats, turn: tuple[Floats, Floats]) -> Floats:
    """Turn value i and value i + size/2 of each head, as a pair, by the angle of their position."""
    cosine, sine = turn
    half = values.shape[-1] // 2
    first, second = values[..., :half], values[..., half:]
    return np.concatenate((first * cosine - second * sine, second * cosine + first * sine), axis=-1)


def softmax_average(query: Floats, key: Floats, value: Floats, seen: int) -> Floats:
    """softmax(q·kᵀ / √size) · v over the tokens up to each one's own; heads joined, (…, N, d).

    In blocks of queries, so that most of a passage's future is never computed.
    """
    *batch, heads, count, size = query.shape
    joined = np.empty((*batch, count, heads, size), np.float32)
    averages = np.swapaxes(joined, -2, -3)
    for first in range(0, count, _BLOCK):
        last = min(first + _BLOCK, count)
        past = slice(0, seen + last)
        part = query[..., first:last, :]
        averages[..., first:last, :] = _block_average(part, key[..., past, :], value[..., past, :])
    return joined.reshape(*batch, count, heads * size)


def _heads(model: Model, layer: int, x: Floats) -> Floats:
    """Query, key and value of each head, (3, …, heads, N, d / heads)."""
    mixed = product(normalise(x), model.attention_in[layer])
    split = mixed.reshape(*x.shape[:-1], 3, model.heads, model.width // model.heads)
    return np.swapaxes(np.moveaxis(split, -3, 0), -2, -3)


def _block_average(query: Floats, key: Floats, value: Floats) -> Floats:
    """The same for n queries that are the last n of the tokens, (…, heads, n, size)."""
    count, size = query.shape[-2:]
    weights = (query * np.float32(size**-0.5)) @ np.swapaxes(key, -1, -2)
    weights[..., -count:] += _future(count)
    weights -= weights.max(axis=-1, keepdims=True)
    np.exp(weights, out=weights)
    total = weights.sum(axis=-1, keepdims=True)
    averages: Floats = (weights @ value) / total
    return averages


@functools.lru_cache(maxsize=_BLOCK)
def _future(count: int) -> Floats:
    """−∞ above the diagonal, where a token lies in the future of the row's, else 0, (count, count)."""
    return np.triu(np.full((count, count), -np.inf, np.float32), 1)
