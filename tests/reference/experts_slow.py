"""The mixture of experts by the textbook: one passage, one token, one head at a time, in float64."""

from __future__ import annotations

import cmath
import math

import numpy as np

from testbed.experts.layers import ROTARY_BASE
from testbed.experts.model import Model


def logits(model: Model, tokens: np.ndarray, top_k: int, temperature: float) -> np.ndarray:
    """(N, 256) after every byte of one passage (N,)."""
    x = [model.embedding[token].astype(float) for token in tokens]
    for layer in range(model.layers):
        h = attend(model, layer, x)
        x = [mix(model, layer, state, top_k, temperature) for state in h]
    return np.array([unit(state) @ model.head.astype(float) for state in x])


def attend(model: Model, layer: int, x: list[np.ndarray]) -> list[np.ndarray]:
    """Causal self-attention with its residual."""
    d, size = model.width, model.width // model.heads
    mixed = [unit(state) @ model.attention_in[layer].astype(float) for state in x]
    h = []
    for n, state in enumerate(x):
        joined = []
        for head in range(model.heads):
            here = slice(head * size, (head + 1) * size)
            query = turned(mixed[n][:d][here], n)
            marks = [query @ turned(mixed[m][d : 2 * d][here], m) / math.sqrt(size) for m in range(n + 1)]
            top = max(marks)
            powers = [math.exp(mark - top) for mark in marks]
            joined.append(sum(power * mixed[m][2 * d :][here] for m, power in enumerate(powers)) / sum(powers))
        h.append(state + np.concatenate(joined) @ model.attention_out[layer].astype(float))
    return h


def mix(model: Model, layer: int, h: np.ndarray, top_k: int, temperature: float) -> np.ndarray:
    """Residual plus the average of the `top_k` experts, weighted by their scores."""
    u = unit(h)
    marks = u @ model.gate_weight[layer].astype(float) + model.gate_bias[layer]
    powers = [math.exp(mark / temperature) for mark in marks]
    best = sorted(range(model.experts), key=lambda k: (-powers[k], k))[:top_k]
    return h + sum(powers[k] * expert(model, layer, k, u) for k in best) / sum(powers[k] for k in best)


def expert(model: Model, layer: int, k: int, u: np.ndarray) -> np.ndarray:
    hidden = [max(0.0, float(value)) ** 2 for value in u @ model.expert_up[layer, k].astype(float)]
    return np.array(hidden) @ model.expert_down[layer, k].astype(float)


def unit(x: np.ndarray) -> np.ndarray:
    x = x.astype(float)
    return x / math.sqrt(sum(value * value for value in x) / len(x) + 1e-6)


def turned(values: np.ndarray, position: int) -> np.ndarray:
    """Value i and value i + size/2 as one complex number, turned by position · base^(−2i/size)."""
    half = len(values) // 2
    pairs = [
        complex(values[i], values[i + half]) * cmath.exp(1j * position * ROTARY_BASE ** (-i / half))
        for i in range(half)
    ]
    return np.array([pair.real for pair in pairs] + [pair.imag for pair in pairs])
