"""The figures behind the pictures: sums, shares and rates over the rounds of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from testbed.outcome import Energy, RoundRecord
from testbed.record.read import Run
from testbed.record.rows import Predictions
from testbed.record.sums import Totals, blocks_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Accuracy:
    """Share of right next bytes ± one standard error, over the air and in one place."""

    name: str
    scored: int
    run: float
    run_error: float
    central: float
    central_error: float


def links(K: int) -> list[tuple[int, int]]:
    """All directed links, by transmitter."""
    return [(i, j) for i in range(K) for j in range(K) if i != j]


def layers_of(run: Run) -> list[int]:
    """Layers that were recorded, in order."""
    return sorted({r.layer for r in run.rounds})


def last_pass(run: Run) -> list[RoundRecord]:
    """The latest round of each layer."""
    latest = {r.layer: r for r in run.rounds}
    return [latest[layer] for layer in sorted(latest)]


def gains(run: Run) -> dict[str, NDArray[Any]]:
    """|H|² over the rounds that measured a link.

    Returns:
        "mean" (K, K, U), "range" (2, K, K, U) smallest and largest, "noise" (K, K, U) mean variance, and
        "measured" (K, K) bool: at least once. Entries of other links are 1.
    """
    K, U = run.shape.nodes, len(run.shape.frequency_hz)
    total, noise = np.zeros((K, K, U)), np.zeros((K, K, U))
    extent = np.stack([np.full((K, K, U), np.inf), np.zeros((K, K, U))])
    count = np.zeros((K, K, 1))
    for record in run.rounds:
        seen = record.measured.valid[..., None]
        gain = np.abs(record.measured.h.astype(np.complex128)) ** 2
        total += np.where(seen, gain, 0)
        noise += np.where(seen, record.measured.noise, 0)
        extent[0] = np.minimum(extent[0], np.where(seen, gain, np.inf))
        extent[1] = np.maximum(extent[1], np.where(seen, gain, 0))
        count += seen
    measured = count > 0
    mean, floor = (np.where(measured, x / np.maximum(count, 1), 1) for x in (total, noise))
    return {
        "mean": mean,
        "range": np.where(measured, extent, 1),
        "noise": floor,
        "measured": measured[..., 0],
    }


def choices_by_layer(run: Run) -> dict[int, Floats]:
    """Layer → (K, K) share of node i's tokens that chose expert j; NaN for a node without tokens."""
    K = run.shape.nodes
    chosen = {layer: np.zeros((K, K)) for layer in layers_of(run)}
    count = {layer: np.zeros((K, 1)) for layer in chosen}
    for record in run.rounds:
        np.add.at(chosen[record.layer], record.source, record.selected)
        np.add.at(count[record.layer], record.source, 1)
    return {layer: np.where(count[layer] > 0, chosen[layer] / np.maximum(count[layer], 1), np.nan) for layer in chosen}


def energy_by_layer(run: Run) -> tuple[list[int], Floats, Floats, Floats]:
    """Layers; (layers, 4) predicted and spent joule by part; (layers,) lower bound."""
    layers = layers_of(run)
    predicted, spent, bound = np.zeros((len(layers), 4)), np.zeros((len(layers), 4)), np.zeros(len(layers))
    for record in run.rounds:
        at = layers.index(record.layer)
        predicted[at] += parts(record.predicted)
        spent[at] += parts(record.spent)
        bound[at] += record.bound_j
    return layers, predicted, spent, bound


def parts(energy: Energy) -> Floats:
    """(4,) joule: computation, forward, return, overhead."""
    return np.array([energy.computation.sum(), energy.forward.sum(), energy.back.sum(), energy.overhead], np.float64)


def blocks_by_layer(run: Run) -> tuple[list[str], Floats, Floats]:
    """Bars by layer and phase: labels; (bars, 3) at once, again, given up; (bars,) block error rate."""
    labels, counts, rates = [], [], []
    for layer in layers_of(run):
        records = [r for r in run.rounds if r.layer == layer]
        for arrow, traffic in (("→", [r.forward for r in records]), ("←", [r.back for r in records])):
            sent, failed, given_up = blocks_of(traffic)
            labels.append(f"{layer} {arrow}")
            counts.append((sent - failed, failed - given_up, given_up))
            rates.append(failed / sent if sent else 0.0)
    return labels, np.array(counts, np.float64).reshape(-1, 3), np.array(rates)


def seconds_by_phase(run: Run) -> dict[str, float]:
    """Phase → mean wall time of a round."""
    timed = [r.seconds for r in run.rounds if r.seconds]
    names = dict.fromkeys(name for seconds in timed for name in seconds)
    return {name: sum(s.get(name, 0.0) for s in timed) / len(timed) for name in names}


def accuracies(predictions: Iterable[Predictions | None]) -> list[Accuracy]:
    """All tokens, then each node's, from the recorded predictions; none where no batch was finished."""
    made = [p for p in predictions if p is not None and p.node.size]
    if not made:
        return []
    node = np.concatenate([p.node for p in made])
    right = np.concatenate([p.predicted == p.target for p in made])
    central = np.concatenate([p.central == p.target for p in made])
    rows = [_accuracy("all nodes", right, central)]
    return rows + [_accuracy(f"node {k}", right[node == k], central[node == k]) for k in np.unique(node)]


def _accuracy(name: str, right: NDArray[np.bool_], central: NDArray[np.bool_]) -> Accuracy:
    n, a, b = right.size, float(right.mean()), float(central.mean())
    return Accuracy(name, n, a, binomial_error(a, n), b, binomial_error(b, n))


def binomial_error(share: float, n: int) -> float:
    """Standard error of a share of n independent draws, √(p(1−p)/n); NaN for none."""
    return sqrt(share * (1 - share) / n) if n else float("nan")


def totals(records: Iterable[RoundRecord]) -> Totals:
    """Sums over rounds."""
    return reduce(Totals.with_round, records, Totals())


def closing(run: Run) -> Totals:
    """Sums over all recorded rounds, with the run's own counts of tokens."""
    return totals(run.rounds).as_closed(run.summary)
