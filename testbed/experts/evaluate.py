"""How well a mixture of experts predicts held-out text, and what its gate is worth.

    python -m testbed.experts.evaluate MODEL REPORT.md [--each 160]

Passages are consecutive windows of a domain's held-out text, evenly spread over it; every scheme sees the
same ones. A byte is right if it has the highest logit. Standard errors are those of the mean over passages,
so that bytes of one passage need not be independent.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from testbed.errors import ModelError
from testbed.experts.central import Choice, best_experts, run_choosing
from testbed.experts.layers import Bools, Doubles
from testbed.experts.model import Model, load_model
from testbed.experts.text import SEAM, held_out

Tokens = NDArray[np.uint8]
TEMPERATURES = (1.0, 1.5, 2.0, 3.0, 4.0)
LEVELS = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
TOLERANCE = 0.002
"""Loss of top-2 accuracy that a higher gate temperature may cost, on validation text."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one scheme did on K domains.

    `accuracy` and its standard `error` (K,); `experts` used, and states `sent` to another node, both per
    token and layer; `counts` (L, K domains, K experts) of the tokens' best expert.
    """

    accuracy: Doubles
    error: Doubles
    experts: float
    sent: float
    counts: NDArray[np.int64]


def windows(slices: list[bytes], length: int, count: int) -> Tokens:
    """`count` passages (count, length) evenly spread over all consecutive windows of the slices.

    ModelError if there are not so many.
    """
    cut = [piece[at : at + length] for piece in slices for at in range(0, len(piece) - length + 1, length)]
    if len(cut) < count:
        raise ModelError(f"passages: the text holds {len(cut)} windows of {length} bytes, {count} asked for")
    chosen = [cut[index * len(cut) // count] for index in range(count)]
    return np.frombuffer(b"".join(chosen), dtype=np.uint8).reshape(count, length)


def held_out_windows(model: Model, each: int) -> Tokens:
    """`each` windows of every domain of the model, (K, each, context)."""
    texts = [held_out(domain).split(bytes([SEAM])) for domain in model.domains]
    return np.stack([windows(slices, model.context, each) for slices in texts])


def outcome(model: Model, passages: Tokens, choose: Choice, temperature: float | None = None, away: int = 0) -> Outcome:
    """Run one scheme over passages (K, n, N); those of domain k start at the node of expert k + away.

    `choose` sees the scores with that node's own expert first, then the others in their order.
    """
    domains, each, length = passages.shape
    counts = np.zeros((model.layers, domains, model.experts), np.int64)
    used = np.zeros((2, domains))
    right = np.zeros((domains, each))
    for domain, mine in enumerate(passages):

        def noting(layer: int, scores: Doubles, domain: int = domain) -> Bools:
            chosen = choose(layer, np.roll(scores, -domain - away, axis=1))
            used[:, domain] += chosen.sum(), chosen[:, 1:].sum()
            counts[layer, domain] += np.bincount(scores.argmax(axis=1), minlength=model.experts)
            return np.roll(chosen, domain + away, axis=1)

        guess = run_choosing(model, mine, noting, temperature).argmax(axis=-1)
        right[domain] = (guess[:, :-1] == mine[:, 1:]).mean(axis=1)
    per_token = used.sum(axis=1) / (domains * each * length * model.layers)
    error = right.std(axis=1, ddof=1) / np.sqrt(each)
    return Outcome(right.mean(axis=1), error, float(per_token[0]), float(per_token[1]), counts)


def top(count: int) -> Choice:
    """The `count` experts of the highest scores."""
    return lambda _, scores: best_experts(scores, count)


def lowest(count: int) -> Choice:
    """The `count` experts of the lowest scores."""
    return lambda _, scores: best_experts(-scores, count)


def at_random(count: int, rng: np.random.Generator) -> Choice:
    """`count` different experts, whatever their scores."""
    return lambda _, scores: best_experts(rng.random(scores.shape), count)


def without_own(count: int) -> Choice:
    """The best `count` experts but for that of the text's own domain, which is gone."""
    return lambda _, scores: best_experts(np.where(np.arange(scores.shape[1]) == 0, -1.0, scores), count)


def fewest_sent(level: float, most: int) -> Choice:
    """Fewest states sent with score sum ≥ `level` and at most `most` experts; the own expert costs nothing.

    It is the selection problem with unit prices. Of equally cheap sets that with the highest sum is taken; a
    token that no set satisfies takes its `most` best experts.
    """

    def choose(_: int, scores: Doubles) -> Bools:
        sets = _subsets(scores.shape[1], most)
        sums = scores @ sets.T
        price = np.where(sums >= level, sets[:, 1:].sum(axis=1) - sums / (1 + len(sets)), np.inf)
        chosen = sets[price.argmin(axis=1)] > 0
        met = np.isfinite(price.min(axis=1))
        return np.where(met[:, None], chosen, best_experts(scores, most))

    return choose


def information(counts: NDArray[np.int64]) -> Doubles:
    """Mutual information (bits) of domain and best expert in each layer, from counts (L, domains, experts)."""
    joint = counts / counts.sum(axis=(1, 2), keepdims=True)
    product = joint.sum(axis=2, keepdims=True) * joint.sum(axis=1, keepdims=True)
    ratio = np.divide(joint, product, out=np.ones_like(joint), where=joint > 0)
    bits: Doubles = (joint * np.log2(ratio)).sum(axis=(1, 2))
    return bits


def with_temperature(model: Model, validation: Tokens) -> Model:
    """The model with the highest of `TEMPERATURES` that keeps top-2 accuracy within `TOLERANCE` of the best.

    A flatter gate leaves the quality level more room to trade; `validation` is (K, n, N).
    """
    means = [outcome(model, validation, top(2), value).accuracy.mean() for value in TEMPERATURES]
    kept = [value for value, mean in zip(TEMPERATURES, means, strict=True) if mean >= max(means) - TOLERANCE]
    return replace(model, temperature=max(kept))


def report(model: Model, passages: Tokens, seed: int = 0) -> str:
    """Everything measured, as Markdown tables."""
    return "\n\n".join((_schemes(model, passages, seed), _trade_off(model, passages)))


def _schemes(model: Model, passages: Tokens, seed: int) -> str:
    schemes: dict[str, Choice] = {
        "top-2": top(2),
        "top-1": top(1),
        "all": top(model.experts),
        "own expert gone, top-2 of the rest": without_own(2),
        "random two": at_random(2, np.random.default_rng(seed)),
        "lowest two": lowest(2),
    }
    results = {name: outcome(model, passages, choose) for name, choose in schemes.items()}
    rows = [("next-byte accuracy", *model.domains, "mean", "experts used")]
    rows += [(name, *_cells(result), f"{result.experts:.2f}") for name, result in results.items()]
    bits = ", ".join(f"{value:.2f}" for value in information(results["top-2"].counts))
    most = np.log2(model.experts)
    return f"{_table(rows)}\n\nMutual information of domain and best expert, by layer: {bits} of {most:g} bits."


def _cells(result: Outcome) -> Iterator[str]:
    pairs = zip(result.accuracy, result.error, strict=True)
    yield from (f"{100 * value:.1f} ± {100 * error:.1f}" for value, error in pairs)
    whole = np.sqrt(np.sum(result.error**2)) / len(result.error)
    yield f"{100 * result.accuracy.mean():.1f} ± {100 * whole:.1f}"


def _trade_off(model: Model, passages: Tokens) -> str:
    rows = [("states sent / accuracy", "top-2", *(f"level {level:g}" for level in LEVELS))]
    for away, temperature in (*((0, value) for value in TEMPERATURES), (1, model.temperature)):
        choices = [top(2), *(fewest_sent(level, 2) for level in LEVELS)]
        results = [outcome(model, passages, choose, temperature, away) for choose in choices]
        cells = (f"{result.sent:.2f} / {100 * result.accuracy.mean():.1f}" for result in results)
        place = "text of another domain" if away else "own text"
        rows.append((f"{place}, temperature {temperature:g}", *cells))
    return _table(rows)


def _table(rows: list[tuple[str, ...]]) -> str:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join((head, "|---" * len(rows[0]) + "|", *body))


def _subsets(experts: int, most: int) -> Doubles:
    """Every set of 1 … `most` experts as a row of zeros and ones."""
    rows = itertools.product((0.0, 1.0), repeat=experts)
    return np.array([row for row in rows if 1 <= sum(row) <= most])


def main() -> None:
    """Measure one model and write the report."""
    parser = argparse.ArgumentParser(description="Measure a mixture of experts on held-out text.")
    parser.add_argument("model", help="name of a shipped model, or a safetensors file")
    parser.add_argument("report", type=Path)
    parser.add_argument("--each", type=int, default=160, help="passages of every domain")
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    arguments.report.write_text(report(model, held_out_windows(model, arguments.each)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
