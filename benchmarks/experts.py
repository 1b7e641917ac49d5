"""Tokens a second of the mixture of experts on one core, centrally and piece by piece as a node works.

    python benchmarks/experts.py [--model demo] [--repeat 7]

CPU time of this process, on one thread of the linear algebra; medians. As a yardstick for the same products,
the multiplications alone (no normalisation, softmax, gate or bookkeeping) are timed in the same run,
interleaved.
"""

from __future__ import annotations

import os

os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from testbed.experts import layers
from testbed.experts.central import run_centrally
from testbed.experts.evaluate import held_out_windows
from testbed.experts.model import Model, load_model
from testbed.experts.payload import KINDS, dequantise, quantise

PASSAGES = 8
"""Of every domain."""


def products(model: Model, tokens: int, top_k: int) -> None:
    """The matrix products of `tokens` tokens in passages of the model's context, and nothing else."""
    x = np.ones((tokens, model.width), np.float32)
    shape = (tokens // model.context, model.heads, model.context, model.width // model.heads)
    for layer in range(model.layers):
        query = (x @ model.attention_in[layer])[:, : model.width].reshape(shape)
        average = (query @ query.swapaxes(-1, -2)) @ query
        average.reshape(x.shape) @ model.attention_out[layer]
        for expert in range(top_k):
            x @ model.expert_up[layer, expert] @ model.expert_down[layer, expert]
    x @ model.head


def seconds(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Time everything in turn, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--repeat", type=int, default=7)
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    passages = held_out_windows(model, PASSAGES).reshape(-1, model.context)
    states = layers.normalise(np.random.default_rng(0).standard_normal((256, model.width)).astype(np.float32))
    works: dict[str, tuple[int, Callable[[], object]]] = {
        f"whole model, top-{k}": (passages.size, lambda k=k: run_centrally(model, passages, top_k=k))
        for k in (1, 2, model.experts)
    }
    works["products of top-2 alone"] = (passages.size, lambda: products(model, passages.size, 2))
    works["attention, one layer"] = (passages.size, lambda: layers.attend(model, 0, layers.embed(model, passages)))
    works["gate, one layer"] = (len(states), lambda: layers.gate_scores(model, 0, states))
    works["one expert, one layer"] = (len(states), lambda: layers.apply_expert(model, 0, 0, states))
    for kind in KINDS:
        works[f"payload there and back, {kind}"] = (
            len(states),
            lambda kind=kind: dequantise(quantise(states, kind), model.width, kind),
        )
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(arguments.repeat):
        for name, (_, work) in works.items():
            times[name].append(seconds(work))
    for name, (tokens, _) in works.items():
        print(f"{name:34s} {tokens / statistics.median(times[name]):12,.0f} tokens/s")


if __name__ == "__main__":
    main()
