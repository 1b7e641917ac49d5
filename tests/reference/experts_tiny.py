"""A mixture of experts with random weights, small enough to be worked through by hand."""

from __future__ import annotations

import numpy as np

from testbed.experts.model import Model


def tiny_model(
    seed: int = 7,
    *,
    layers: int = 2,
    experts: int = 3,
    width: int = 16,
    hidden: int = 24,
    heads: int = 2,
    context: int = 64,
) -> Model:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(shape[-2])).astype(np.float16).astype(np.float32)

    return Model(
        name="tiny",
        domains=tuple(f"domain-{k}" for k in range(experts)),
        heads=heads,
        context=context,
        temperature=1.0,
        held=tuple(range(experts)),
        embedding=normal(256, width) * 4,
        attention_in=normal(layers, width, 3 * width),
        attention_out=normal(layers, width, width),
        gate_weight=normal(layers, width, experts),
        gate_bias=normal(layers, experts),
        expert_up=normal(layers, experts, width, hidden),
        expert_down=normal(layers, experts, hidden, width),
        head=normal(width, 256),
    )
