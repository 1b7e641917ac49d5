"""From the cells of an experiment to a table and a statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from testbed.schedule.status import Status
from testbed.sweep.cell import Figures
from testbed.sweep.stats import (
    ALL_PARTS,
    MODEL_PARTS,
    RADIO_PARTS,
    Floats,
    Mean,
    accuracy,
    accuracy_by_domain,
    bound,
    endings,
    energy,
    energy_by_layer,
    mean,
    rate,
    selection,
)

REFERENCE = "Top-2"

MARGIN = 0.005
"""Accuracies within half a point count as equal; the interval must lie above −MARGIN to say so."""
CLAIMED_SAVING = 0.5
"""\"Often around 50 % or more\": how the paper is summarised."""

Groups = dict[tuple[str, object], list[Figures]]
"""(variant, value of the axis) → cells, one a seed, the same seeds in the same order in every group."""


@dataclass(frozen=True)
class Finding:
    """What an experiment says.

    Attributes:
        verdict: "supported", "not supported" or "depends on …".
        sentences: the numbers behind it.
        table: rows by column name.
    """

    verdict: str
    sentences: tuple[str, ...]
    table: tuple[dict[str, str], ...]


def scheme_row(cells: Sequence[Figures], reference: Sequence[Figures]) -> dict[str, str]:
    """Accuracy, energy and losses of a scheme beside the reference."""
    return {
        "accuracy %": mean(accuracy(cells)).text(100),
        "− reference": mean(accuracy(cells) - accuracy(reference)).text(100, 2),
        "energy nJ": mean(energy(cells)).text(1e9, 3),
        "saving %": saving(cells, reference).text(100),
        "of radio %": saving(cells, reference, RADIO_PARTS).text(100),
        "with overhead %": saving(cells, reference, ALL_PARTS).text(100),
        "proven optimal %": proven_optimal(cells),
        "QoS relaxed %": f"{100 * rate(cells, 'relaxed', 'tokens').mean():.1f}",
        "blocks failed %": f"{100 * rate(cells, 'failed', 'sent').mean():.2f}",
        "tokens lost %": f"{100 * rate(cells, 'lost', 'tokens').mean():.2f}",
    }


def proven_optimal(cells: Sequence[Figures]) -> str:
    """Share of the rounds whose decision was proven optimal; – for schemes that follow a rule."""
    by_rule = endings(cells, Status.RULE.name).any()
    return "–" if by_rule else f"{100 * endings(cells, Status.OPTIMAL.name).mean():.1f}"


def saving(cells: Sequence[Figures], reference: Sequence[Figures], parts: Sequence[str] = MODEL_PARTS) -> Mean:
    """Share of the reference's energy that is saved, seed by seed."""
    return mean(1 - energy(cells, parts) / energy(reference, parts))


def bound_row(variant: str, cells: Sequence[Figures], reference: Sequence[Figures]) -> dict[str, str]:
    """LB(γ0, D): links may share subcarriers, so nothing is run, and energy is all there is to say."""
    return {
        "scheme": variant.replace("JESA", "LB"),
        "energy nJ": mean(bound(cells)).text(1e9, 3),
        "saving %": mean(1 - bound(cells) / energy(reference)).text(100),
    }


def accuracy_finding(groups: Groups) -> Finding:
    """Accuracy per domain and scheme; the claim: JESA loses nothing against Top-2."""
    reference = cells_of(groups, REFERENCE)
    table = []
    for variant in variants_of(groups):
        cells = cells_of(groups, variant)
        domains = {name: mean(values).text(100) for name, values in accuracy_by_domain(cells).items()}
        table.append({"scheme": variant, **scheme_row(cells, reference), **domains})
        if variant.startswith("JESA"):
            table.append({**dict.fromkeys(table[-1], "–"), **bound_row(variant, cells, reference)})
    apart = {v: mean(accuracy(cells_of(groups, v)) - accuracy(reference)) for v in variants_of(groups)}
    ours = [m for v, m in apart.items() if v.startswith("JESA")]
    verdict = "depends on γ0 (or on more seeds)"
    if all(m.low > -MARGIN for m in ours):
        verdict = "supported"
    elif all(m.high < -MARGIN for m in ours):
        verdict = "not supported"
    sentences = [f"{v}: {m.text(100, 2)} points against {REFERENCE}" for v, m in apart.items() if v != REFERENCE]
    return Finding(
        f"{verdict}: JESA as accurate as {REFERENCE} within {100 * MARGIN:g} points",
        tuple(sentences),
        tuple(table),
    )


def tradeoff_finding(groups: Groups) -> Finding:
    """Energy saved against Top-2 at equal accuracy; the setting is chosen on odd seeds and judged on even ones."""
    reference = cells_of(groups, REFERENCE)
    table = [{"scheme": v, **scheme_row(cells_of(groups, v), reference)} for v in variants_of(groups)]
    sentences, verdicts = [], []
    for family in ("JESA", "H("):
        names = [v for v in variants_of(groups) if v.startswith(family)]
        chosen = choose(groups, names)
        if chosen is None:
            sentences.append(f"{family.rstrip('(')}: no setting is as accurate as {REFERENCE} on the odd seeds")
            verdicts.append("not supported")
            continue
        cells, other = cells_of(groups, chosen)[1::2], reference[1::2]
        saved, apart = saving(cells, other), mean(accuracy(cells) - accuracy(other))
        sentences.append(
            f"{chosen}, chosen on the odd seeds, on the even ones: saves {saved.text(100)} % of computation and "
            f"transmission ({saving(cells, other, RADIO_PARTS).text(100)} % of transmission, "
            f"{saving(cells, other, ALL_PARTS).text(100)} % with all overhead) at "
            f"{apart.text(100, 2)} points against {REFERENCE}"
        )
        verdicts.append(headline_verdict(saved, apart))
    sentences.append(beside_top_1(groups))
    sentences.append(beside_homogeneous(groups))
    return Finding(
        f"{verdicts[0]}: {100 * CLAIMED_SAVING:g} % saved against {REFERENCE} at equal accuracy",
        tuple(sentences),
        tuple(table),
    )


def headline_verdict(saved: Mean, apart: Mean) -> str:
    """Accuracy must be equal within the margin; then what is saved decides."""
    if not apart.low > -MARGIN:
        return "not supported"
    if saved.low >= CLAIMED_SAVING:
        return "supported"
    return "not supported" if saved.high < CLAIMED_SAVING else "depends on channel and text"


def choose(groups: Groups, names: Sequence[str]) -> str | None:
    """The cheapest of the settings whose mean accuracy on the odd seeds is within half the margin of the reference."""
    other = cells_of(groups, REFERENCE)[::2]
    equal = [v for v in names if (accuracy(cells_of(groups, v)[::2]) - accuracy(other)).mean() >= -MARGIN / 2]
    return min(equal, key=lambda v: energy(cells_of(groups, v)[::2]).mean(), default=None)


def beside_top_1(groups: Groups) -> str:
    """Top-1 is the strongest simple way to save."""
    cells, other = cells_of(groups, "Top-1"), cells_of(groups, REFERENCE)
    apart = mean(accuracy(cells) - accuracy(other))
    return f"Top-1 saves {saving(cells, other).text(100)} % at {apart.text(100, 2)} points"


def beside_homogeneous(groups: Groups) -> str:
    """Each JESA(γ0, 2) against H(z, 2) at the same energy, interpolated between its settings, seed by seed."""
    rivals = [v for v in variants_of(groups) if v.startswith("H(")]
    at = np.array([energy(cells_of(groups, v)) for v in rivals])
    reached = np.array([accuracy(cells_of(groups, v)) for v in rivals])
    parts = []
    for variant in variants_of(groups):
        cells = cells_of(groups, variant)
        own = energy(cells)
        inside = own.mean() >= at.mean(axis=1).min() and own.mean() <= at.mean(axis=1).max()
        if not variant.startswith("JESA") or not inside or len(rivals) < 2:
            continue
        same = [np.interp(own[s], *_rising(at[:, s], reached[:, s])) for s in range(len(own))]
        parts.append(f"{variant} {mean(accuracy(cells) - np.array(same)).text(100, 2)}")
    return "against H(z, 2) at the same energy, points: " + ("; ".join(parts) or "no setting of equal energy")


def layers_finding(groups: Groups) -> Finding:
    """Energy by layer and part; the claim: a decreasing QoS makes deeper layers cheaper."""
    table, ratios = [], {}
    for variant in variants_of(groups):
        cells = cells_of(groups, variant)
        total = energy_by_layer(cells)
        ratios[variant] = mean(total[:, -1] / total[:, 0])
        share = selection(cells)
        for layer in range(total.shape[1]):
            row = {"scheme": variant, "layer": str(layer + 1)}
            row |= {f"{part} nJ": mean(energy_by_layer(cells, [part])[:, layer]).text(1e9, 3) for part in MODEL_PARTS}
            row["experts a token"] = f"{share[layer].sum(axis=1).mean():.2f}"
            table.append(row)
    jesa = next(v for v in ratios if v.startswith("JESA"))
    verdict = "supported" if ratios[jesa].high < min(1.0, ratios[REFERENCE].low) else "not supported"
    sentences = tuple(f"{v}: last layer costs {m.text(1, 2)} of the first" for v, m in ratios.items())
    return Finding(f"{verdict}: with JESA deeper layers cost less", sentences, tuple(table))


def _rising(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    order = np.argsort(x)
    return x[order], y[order]


def variants_of(groups: Groups) -> list[str]:
    """Their names, each once."""
    return list(dict.fromkeys(variant for variant, _ in groups))


def cells_of(groups: Groups, variant: str) -> list[Figures]:
    """The cells of a variant where there is no axis but the seed."""
    return next(cells for (name, _), cells in groups.items() if name == variant)
