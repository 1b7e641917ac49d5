"""Statements on experiments that change one thing: a parameter of the channel, the QoS of one layer, the fidelity."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.sweep.cell import Figures
from testbed.sweep.findings import (
    MARGIN,
    REFERENCE,
    Finding,
    Groups,
    accuracy_finding,
    cells_of,
    saving,
    scheme_row,
    variants_of,
)
from testbed.sweep.stats import (
    Floats,
    Mean,
    accuracy,
    accuracy_without,
    energy,
    mean,
    predicted,
    rate,
    seconds_a_round,
)

LOST = 3
"""The node that `outage` takes away."""

CLOSE = 0.05
"""Predictions this near to what is spent count as true."""


def curve_finding(groups: Groups) -> Finding:
    """Savings and accuracy against Top-2 along an axis; the claim: JESA saves energy wherever it is."""
    values = list(dict.fromkeys(value for _, value in groups))
    table, saved, apart, sentences = [], [], [], []
    for value in values:
        reference = groups[REFERENCE, value]
        for variant in variants_of(groups):
            cells = groups[variant, value]
            table.append({"at": str(value), "scheme": variant, **scheme_row(cells, reference)})
            if variant.startswith("JESA"):
                saved.append(saving(cells, reference))
                apart.append(mean(accuracy(cells) - accuracy(reference)))
                sentences.append(
                    f"at {value}: {variant} saves {saved[-1].text(100)} % at {apart[-1].text(100, 2)} points"
                )
    equal = sum(one.low > -MARGIN for one in apart)
    sentences.append(f"as accurate as {REFERENCE} within {100 * MARGIN:g} points at {equal} of {len(apart)} places")
    return Finding(
        f"{over_all([one.low > 0 for one in saved])}: JESA costs less than {REFERENCE} everywhere on this axis",
        tuple(sentences),
        tuple(table),
    )


def task_finding(groups: Groups) -> Finding:
    """Right answers in the place of right bytes."""
    return accuracy_finding(as_task(groups))


def as_task(groups: Groups) -> Groups:
    """The same cells with questions answered in the place of bytes predicted."""
    return {
        key: [{**cell, "hits": cell["answered"], "scored": cell["asked"]} for cell in cells]
        for key, cells in groups.items()
    }


def over_all(holds: Sequence[bool]) -> str:
    """Verdict on a claim that was tested at several places."""
    return "supported" if all(holds) else "depends on the place" if any(holds) else "not supported"


def importance_finding(groups: Groups) -> Finding:
    """One layer at a time takes the cheapest expert; the claim: early layers matter more than late ones."""
    reference = cells_of(groups, REFERENCE)
    table = [{"scheme": v, **scheme_row(cells_of(groups, v), reference)} for v in variants_of(groups)]
    harmed = [v for v in variants_of(groups) if v.startswith("layer ")]
    losses = {v: accuracy(reference) - accuracy(cells_of(groups, v)) for v in harmed}
    sentences = [f"{v}: costs {mean(loss).text(100, 2)} points" for v, loss in losses.items()]
    apart = mean(losses[harmed[0]] - losses[harmed[-1]])
    sentences.append(f"the first layer's loss is {apart.text(100, 2)} points above the last one's")
    sentences.append(falling_beside_rising(groups))
    verdict = "not shown either way"
    if apart.low > 0:
        verdict = "supported"
    elif apart.high < 0:
        verdict = "not supported"
    return Finding(f"{verdict}: the first layer matters more than the last", tuple(sentences), tuple(table))


def falling_beside_rising(groups: Groups) -> str:
    """The same four QoS levels in the paper's order, falling with depth, and turned round."""
    falling, rising = (cells_of(groups, f"{name} QoS") for name in ("falling", "rising"))
    apart = mean(accuracy(falling) - accuracy(rising))
    dearer = mean(energy(falling) / energy(rising) - 1)
    return (
        f"QoS falling with depth against the same levels rising: {apart.text(100, 2)} points at "
        f"{dearer.text(100)} % more energy"
    )


def air_finding(groups: Groups) -> Finding:
    """Predicted against spent energy with real frames, beside the same without waveforms."""
    table, sentences, holds = [], [], []
    for (variant, fidelity), cells in groups.items():
        ratio = mean(energy(cells) / predicted(cells) - 1)
        table.append(
            {
                "scheme": variant,
                "fidelity": str(fidelity),
                "predicted nJ": mean(predicted(cells)).text(1e9, 3),
                "spent nJ": mean(energy(cells)).text(1e9, 3),
                "spent − predicted %": ratio.text(100, 2),
                "blocks failed %": mean(rate(cells, "failed", "sent")).text(100, 2),
                "tokens lost %": mean(rate(cells, "lost", "tokens")).text(100, 2),
                "payload air time ms a round": mean(seconds_a_round(cells)).text(1e3, 0),
                "accuracy %": mean(accuracy(cells)).text(100),
                "QoS relaxed %": f"{100 * rate(cells, 'relaxed', 'tokens').mean():.1f}",
            }
        )
        if fidelity == "waveform":
            holds.append(ratio.low > -CLOSE and ratio.high < CLOSE)
            sentences.append(f"{variant}, waveforms: {ratio.text(100, 2)} % more spent than predicted")
            sentences.append(f"{variant}: without waveforms {without_waveforms(cells, groups[variant, 'channel'])}")
    return Finding(
        f"{over_all(holds)}: with real frames, spent energy is within {100 * CLOSE:g} % of the predicted",
        tuple(sentences),
        tuple(table),
    )


def without_waveforms(real: Sequence[Figures], drawn: Sequence[Figures]) -> str:
    """How far the `channel` fidelity is from the whole simulated air."""
    apart: dict[str, Floats] = {
        "% of energy spent": energy(drawn) / energy(real) - 1,
        "% of payload air time": seconds_a_round(drawn) / seconds_a_round(real) - 1,
        "points of block errors": rate(drawn, "failed", "sent") - rate(real, "failed", "sent"),
        "points of accuracy": accuracy(drawn) - accuracy(real),
    }
    return ", ".join(f"{mean(values).text(100, 2)} {name}" for name, values in apart.items())


def outage_finding(groups: Groups) -> Finding:
    """A lost node: the claim: the others go on as before."""
    names = variants_of(groups)
    table = tuple({"scheme": v, **scheme_row(cells_of(groups, v), cells_of(groups, names[0]))} for v in names)
    sentences: list[str] = []
    worst: list[Mean] = []
    for scheme in dict.fromkeys(name.rpartition(", ")[0] for name in names):
        whole, broken = (
            accuracy_without(cells_of(groups, f"{scheme}, {end}"), LOST) for end in ("all nodes", "node 3 lost")
        )
        worst.append(mean(broken - whole))
        sentences.append(f"{scheme}: the other nodes' texts lose {mean(whole - broken).text(100, 2)} points")
    verdict = "not supported"
    if all(m.low > -MARGIN for m in worst):
        verdict = "supported"
    elif all(m.high >= 0 for m in worst):
        verdict = "not shown either way"
    return Finding(f"{verdict}: survivors lose nothing when a node is lost", tuple(sentences), table)
