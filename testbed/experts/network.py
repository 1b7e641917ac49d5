"""The model of `layers.py` in torch, for training only: the same arithmetic with gradients.

Weights are a dict of tensors under the names of `model.SHAPES`, kept in float32; products are made in
`dtype`. An FFN is a function (layer, u (n, d)) → (n, d), so that one pass serves the seed (one FFN), the
branches (one per domain, side by side) and the mixture (gated).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

from testbed.experts.layers import ROTARY_BASE
from testbed.experts.model import VOCABULARY

Weights = dict[str, Tensor]
Ffn = Callable[[int, Tensor], Tensor]
Attend = Callable[[Weights, int, Tensor, int, torch.dtype], Tensor]

ROUND = 128
"""Parts of the experts are multiples of this: matrix routines are made anew for every size, and few sizes are soon
known (2.5 times faster in all)."""


def initial_weights(layers: int, width: int, hidden: int, generator: torch.Generator) -> Weights:
    """A dense model, K = 1: normal with variance 1 / fan-in, and zero where a block ends."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) / math.sqrt(shape[-2])

    return {
        "embedding": torch.randn((VOCABULARY, width), generator=generator),
        "attention_in": normal(layers, width, 3 * width),
        "attention_out": torch.zeros(layers, width, width),
        "gate_weight": torch.zeros(layers, width, 1),
        "gate_bias": torch.zeros(layers, 1),
        "expert_up": normal(layers, 1, width, hidden),
        "expert_down": torch.zeros(layers, 1, hidden, width),
        "head": normal(width, VOCABULARY),
    }


def attention(weights: Weights, layer: int, x: Tensor, heads: int, dtype: torch.dtype) -> Tensor:
    """Causal self-attention without its residual, (B, N, d) → (B, N, d)."""
    passages, length, width = x.shape
    mixed = normalise(x) @ weights["attention_in"][layer].to(dtype)
    query, key, value = mixed.view(passages, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    query, key = rotate(query) * math.sqrt(heads / width), rotate(key)
    future = torch.full((length, length), -1e9, dtype=dtype, device=x.device).triu(1)
    average = torch.softmax(query @ key.transpose(-1, -2) + future, dim=-1) @ value
    made: Tensor = average.transpose(1, 2).reshape(x.shape) @ weights["attention_out"][layer].to(dtype)
    return made


def logits(
    weights: Weights, tokens: Tensor, heads: int, ffn: Ffn, dtype: torch.dtype, attend: Attend = attention
) -> Tensor:
    """Logits (B, N, 256) after every byte of passages (B, N); `attend` is `attention` or the same compiled."""
    x = weights["embedding"][tokens].to(dtype)
    for layer in range(len(weights["gate_bias"])):
        h = x + attend(weights, layer, x, heads, dtype)
        x = h + ffn(layer, normalise(h).flatten(0, 1)).view_as(h)
    made: Tensor = normalise(x) @ weights["head"].to(dtype)
    return made


def rotate(values: Tensor) -> Tensor:
    """Rotary positions of heads (…, N, size), as `layers.rotate`."""
    length, size = values.shape[-2:]
    rates = ROTARY_BASE ** (-torch.arange(size // 2, device=values.device) / (size // 2))
    angles = torch.outer(torch.arange(length, device=values.device), rates)
    cosine, sine = angles.cos().to(values.dtype), angles.sin().to(values.dtype)
    first, second = values.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


def normalise(x: Tensor) -> Tensor:
    """Rows divided by their root mean square, the mean taken in float32."""
    power = x.float().square().mean(-1, keepdim=True)
    return x * torch.rsqrt(power + 1e-6).to(x.dtype)


def branch_ffn(weights: Weights, dtype: torch.dtype) -> Ffn:
    """Expert k on the k-th of K equal parts of the rows: each domain's passages pass its own expert."""
    ups, downs = (weights[name].to(dtype).unbind() for name in ("expert_up", "expert_down"))

    def ffn(layer: int, u: Tensor) -> Tensor:
        parts = u.view(len(ups[layer]), -1, u.shape[-1])
        return (functional.relu(parts @ ups[layer]).square() @ downs[layer]).flatten(0, 1)

    return ffn


def gate_logits(weights: Weights, layer: int, u: Tensor) -> Tensor:
    """Logits (n, K) of the gate, in float32."""
    return u.float() @ weights["gate_weight"][layer] + weights["gate_bias"][layer]


def mixture_ffn(weights: Weights, top_k: int, dtype: torch.dtype, seen: list[Tensor]) -> Ffn:
    """The `top_k` experts of each token, weighted by their renormalised scores.

    The gate's logits of every layer are appended to `seen`.
    """
    ups, downs = (weights[name].to(dtype) for name in ("expert_up", "expert_down"))

    def ffn(layer: int, u: Tensor) -> Tensor:
        raw = gate_logits(weights, layer, u)
        seen.append(raw)
        best, chosen = raw.topk(top_k, dim=-1)
        rows, sizes, place = by_expert(chosen, raw.shape[-1])
        parts = torch.split(u.index_select(0, rows), sizes)
        made = [
            functional.relu(part @ up).square() @ down
            for part, up, down in zip(parts, ups[layer].unbind(), downs[layer].unbind(), strict=True)
        ]
        share = torch.softmax(best, dim=-1).to(dtype)
        return (torch.cat(made).index_select(0, place).view(*chosen.shape, -1) * share[..., None]).sum(1)

    return ffn


def by_expert(chosen: Tensor, experts: int) -> tuple[Tensor, list[int], Tensor]:
    """Sort the choices (n, k) of n tokens by expert.

    Returns:
        The token of each row of all experts' parts; the length of each part, a multiple of `ROUND`, filled up
        with token 0; and for each choice, token by token, its row.
    """
    flat = chosen.flatten()
    order = flat.argsort(stable=True)
    count = torch.bincount(flat, minlength=experts)
    size = (count + ROUND - 1) // ROUND * ROUND
    filled = (size - count).cumsum(0) - (size - count)
    row = torch.arange(len(order)) + filled.repeat_interleave(count)
    tokens = torch.zeros(int(size.sum()), dtype=torch.long).index_copy(0, row, order // chosen.shape[1])
    return tokens, size.tolist(), torch.empty_like(order).index_copy(0, order, row)


class Muon:
    """Momentum whose step is made orthogonal (Jordan 2024), for stacks of matrices (…, rows, columns).

    The step of each matrix is its momentum with all singular values brought near 1 by five steps of a
    quintic Newton–Schulz iteration, times √max(1, rows / columns).
    """

    def __init__(self, tensors: list[Tensor], rate: float, momentum: float = 0.95) -> None:
        self._state = [(tensor, torch.zeros_like(tensor)) for tensor in tensors]
        self._rate, self._momentum = rate, momentum

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """Move every tensor by its gradient, at `scale` times the rate, and forget the gradient."""
        for tensor, average in self._state:
            if tensor.grad is not None:
                average.lerp_(tensor.grad, 1 - self._momentum)
                direction = orthogonal(tensor.grad.lerp(average, self._momentum))
                stretch = math.sqrt(max(1.0, tensor.shape[-2] / tensor.shape[-1]))
                tensor.sub_(direction, alpha=self._rate * scale * stretch)
                tensor.grad = None


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest half-orthogonal matrix, roughly: singular values end between 0.7 and 1.2."""
    x = matrix.bfloat16()
    x = x.transpose(-1, -2) if matrix.shape[-2] > matrix.shape[-1] else x
    x = x / (x.float().norm(dim=(-2, -1), keepdim=True) + 1e-7).bfloat16()
    for _ in range(5):
        gram = x @ x.transpose(-1, -2)
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    made: Tensor = x.transpose(-1, -2) if matrix.shape[-2] > matrix.shape[-1] else x
    return made.to(matrix.dtype)


def passages(texts: list[Tensor], each: int, length: int, generator: torch.Generator) -> Iterator[Tensor]:
    """For ever: `each` random passages of length + 1 bytes from every text, (len(texts)·each, length + 1)."""
    steps = torch.arange(length + 1)
    while True:
        rows = []
        for text in texts:
            starts = torch.randint(len(text) - length, (each, 1), generator=generator)
            rows.append(text[starts + steps])
        yield torch.cat(rows).long()
