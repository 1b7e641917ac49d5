"""Figures of the experiments; values are means over seeds with 95 % confidence."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from testbed.record.style import GRID, INK, NODES, PARTS, node_colour
from testbed.sweep.along import as_task
from testbed.sweep.findings import MARGIN, REFERENCE, Groups
from testbed.sweep.stats import (
    MODEL_PARTS,
    Floats,
    Mean,
    accuracy,
    accuracy_by_domain,
    bound,
    energy,
    energy_by_layer,
    mean,
    predicted,
    rate,
    seconds_a_round,
    selection,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "osD^vPX*<"

LABELS = {
    "channel.snr_db": "mean SNR, dB",
    "channel.doppler_hz": "largest Doppler shift, Hz",
    "channel.reciprocal": "links fade alike both ways",
    "channel.correlation": "share of fading in common",
    "nodes.count": "nodes K",
    "grid.occupied": "used subcarriers",
    "model.temperature": "gate temperature",
    "cell.csi_error_db": "relative error of estimates, dB",
}
"""What people call the campaign's keys."""

Draw = Callable[[Groups, str], "Figure"]


def accuracy_figure(groups: Groups, axis: str) -> Figure:
    """Accuracy of each scheme in each domain, and over all."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2))
    axes = figure.add_subplot()
    names = list(groups)
    for order, key in enumerate(names):
        by_domain = {"all": accuracy(groups[key]), **accuracy_by_domain(groups[key])}
        means = [mean(values) for values in by_domain.values()]
        at = np.arange(len(means)) + (order - (len(names) - 1) / 2) * 0.085
        _points(axes, at, means, 100, str(key[0]), order, line="")
    axes.set_xticks(range(len(by_domain)), list(by_domain))
    axes.set_ylabel("right, %")
    axes.set_ylim(0, min(100.0, axes.get_ylim()[1]))
    figure.legend(loc="outside right upper")
    return figure


def task_figure(groups: Groups, axis: str) -> Figure:
    """Right answers of each scheme in each domain, and over all."""
    return accuracy_figure(as_task(groups), axis)


def tradeoff_figure(groups: Groups, axis: str) -> Figure:
    """Accuracy over energy, both against the reference seed by seed; one line a family of settings."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4))
    axes = figure.add_subplot()
    cells = {variant: found for (variant, _), found in groups.items()}
    reference = cells[REFERENCE]
    axes.axhspan(-100 * MARGIN, 100 * MARGIN, color=GRID, alpha=0.5, label="equal within the margin")
    for order, (family, variants) in enumerate(_families(list(cells)).items()):
        spent = {v: mean(100 * energy(cells[v]) / energy(reference)) for v in variants}
        variants = sorted(variants, key=lambda v: spent[v].value)
        apart = [mean(accuracy(cells[v]) - accuracy(reference)) for v in variants]
        at = np.array([spent[v].value for v in variants])
        _points(axes, at, apart, 100, family, order)
        sideways = yerror(
            [[spent[v].value - spent[v].low for v in variants], [spent[v].high - spent[v].value for v in variants]]
        )
        axes.errorbar(at, [100 * one.value for one in apart], xerr=sideways, ls="", color=node_colour(order))
        for variant, one in zip(variants, apart, strict=True):
            if "(" in variant:
                place, label = (spent[variant].value, 100 * one.value), variant.split("(")[1].split(",")[0]
                offset, side = ((4, -10), "left") if order % 2 else ((-4, 5), "right")
                axes.annotate(
                    label,
                    place,
                    xytext=offset,
                    ha=side,
                    textcoords="offset points",
                    fontsize=7.5,
                    color=node_colour(order),
                )
    axes.set_xlabel(f"energy a token, computation and transmission, % of {REFERENCE}")
    axes.set_ylabel(f"accuracy − {REFERENCE}, points")
    axes.legend()
    return figure


def _families(variants: list[str]) -> dict[str, list[str]]:
    """JESA(0.7, 2) and JESA(0.8, 2) are one family, Top-1 one of its own."""
    families: dict[str, list[str]] = {}
    for variant in variants:
        name, _, inside = variant.partition("(")
        symbol = "γ0" if name == "JESA" else "z"
        family = f"{name}({symbol}, {inside.split(', ')[1]}" if inside else name
        families.setdefault(family, []).append(variant)
    return families


def layers_figure(groups: Groups, axis: str) -> Figure:
    """Energy by layer and part, above which experts each node's tokens use in the first and in the last layer."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7))
    grid = figure.subplots(3, len(groups), squeeze=False)
    for column, (key, cells) in enumerate(groups.items()):
        base = np.zeros(energy_by_layer(cells).shape[1])
        for part in MODEL_PARTS:
            height = 1e9 * energy_by_layer(cells, [part]).mean(axis=0)
            grid[0, column].bar(np.arange(base.size) + 1, height, 0.6, base, color=PARTS[part], label=part)
            base = base + height
        total = [mean(layer) for layer in energy_by_layer(cells).T]
        error = yerror([[1e9 * (m.value - m.low) for m in total], [1e9 * (m.high - m.value) for m in total]])
        grid[0, column].errorbar(np.arange(base.size) + 1, base, error, ls="", color=INK)
        grid[0, column].set_title(str(key[0]))
        share = selection(cells)
        for row, layer in ((1, 0), (2, share.shape[0] - 1)):
            picture = grid[row, column].imshow(share[layer], vmin=0, vmax=1, cmap="Blues", aspect="equal")
            grid[row, column].grid(visible=False)
            grid[row, column].set_title(f"layer {layer + 1}")
            grid[row, column].set_xlabel("expert")
    highest = max(axes.get_ylim()[1] for axes in grid[0])
    for axes in grid[0]:
        axes.set_ylim(0, highest)
        axes.set_xlabel("layer")
    grid[0, 0].set_ylabel("nJ a token")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside right upper")
    for row in (1, 2):
        domains = [str(name) for name in np.asarray(next(iter(groups.values()))[0]["domains"])]
        grid[row, 0].set_yticks(range(len(domains)), domains)
        grid[row, 0].set_ylabel("text")
        for axes in grid[row, 1:]:
            axes.set_yticks([])
    figure.colorbar(picture, ax=list(grid[1:, -1]), label="share of the text's tokens", shrink=0.7)
    return figure


def curve_figure(groups: Groups, axis: str) -> Figure:
    """Energy, accuracy and failed blocks along an axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.4))
    panels = figure.subplots(1, 3)
    values = list(dict.fromkeys(value for _, value in groups))
    at = np.arange(len(values), dtype=float)
    variants = list(dict.fromkeys(variant for variant, _ in groups))
    references = [groups[REFERENCE, value] for value in values]
    for order, variant in enumerate(variants):
        cells = [groups[variant, value] for value in values]
        aside = at + 0.1 * (order - (len(variants) - 1) / 2)
        _points(panels[0], aside, [mean(energy(c)) for c in cells], 1e9, variant, order)
        apart = [mean(accuracy(c) - accuracy(r)) for c, r in zip(cells, references, strict=True)]
        _points(panels[1], aside, apart, 100, variant, order)
        _points(panels[2], aside, [mean(rate(c, "failed", "sent")) for c in cells], 100, variant, order)
        if variant.startswith("JESA"):
            low = [1e9 * bound(c).mean() for c in cells]
            panels[0].plot(aside, low, ls=":", color=node_colour(order), label=f"{variant}, lower bound")
    labels = ("energy a token and layer, nJ", f"accuracy − {REFERENCE}, points", "blocks failed, %")
    for axes, label in zip(panels, labels, strict=True):
        axes.set_xticks(at, [str(value) for value in values])
        axes.set_xlabel(LABELS.get(axis, axis))
        axes.set_title(label)
        axes.margins(y=0.1)
    panels[0].set_ylim(bottom=0)
    panels[2].set_ylim(0, max(1.0, panels[2].get_ylim()[1]))
    panels[1].axhspan(-100 * MARGIN, 100 * MARGIN, color=GRID, alpha=0.5, label="equal within the margin")
    panels[1].legend(*_only(panels[1], "equal"), fontsize=7.5)
    panels[0].legend(fontsize=7.5, loc="lower left")
    return figure


def importance_figure(groups: Groups, axis: str) -> Figure:
    """What it costs and what it saves to give one layer the cheapest expert of each token."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4))
    left, right = figure.subplots(1, 2)
    cells = {str(variant): found for (variant, _), found in groups.items()}
    reference = cells.pop(REFERENCE)
    names = list(cells)
    at = np.arange(len(names), dtype=float)
    losses = [mean(accuracy(reference) - accuracy(c)) for c in cells.values()]
    _points(left, at, losses, 100, "", line="")
    _points(right, at, [mean(1 - energy(c) / energy(reference)) for c in cells.values()], 100, "", line="")
    left.set_title(f"accuracy lost against {REFERENCE}, points")
    right.set_title(f"energy saved against {REFERENCE}, %")
    for axes in (left, right):
        axes.set_xticks(at, names, rotation=35, ha="right", rotation_mode="anchor")
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.set_xlabel("layer with the cheapest experts, or order of the QoS")
    return figure


def air_figure(groups: Groups, axis: str) -> Figure:
    """Predicted and spent energy, failed blocks and air time, with and without waveforms."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.4))
    panels = figure.subplots(1, 3)
    keys = list(groups)
    at = np.arange(len(keys), dtype=float)
    _points(panels[0], at - 0.1, [mean(predicted(c)) for c in groups.values()], 1e9, "predicted", line="")
    _points(panels[0], at + 0.1, [mean(energy(c)) for c in groups.values()], 1e9, "spent", 1, line="")
    _points(panels[1], at, [mean(rate(c, "failed", "sent")) for c in groups.values()], 100, "", line="")
    _points(panels[2], at, [mean(seconds_a_round(c)) for c in groups.values()], 1e3, "", line="")
    labels = ("energy a token and layer, nJ", "blocks failed, %", "payload air time a round, ms")
    for axes, label in zip(panels, labels, strict=True):
        axes.set_xticks(at, [f"{variant},\n{fidelity}" for variant, fidelity in keys], fontsize=7.5)
        axes.set_xlim(-0.5, len(keys) - 0.5)
        axes.set_title(label)
        axes.set_ylim(bottom=-0.02 * axes.get_ylim()[1])
    panels[0].legend()
    return figure


def _only(axes: Axes, beginning: str) -> tuple[list[Any], list[Any]]:
    """Legend entries that begin so."""
    handles, labels = axes.get_legend_handles_labels()
    kept = [k for k, label in enumerate(labels) if label.startswith(beginning)]
    return [handles[k] for k in kept], [labels[k] for k in kept]


def yerror(error: list[list[float]]) -> Floats:
    """Error bars; none for a single seed."""
    return np.nan_to_num(np.maximum(error, 0))


def _points(
    axes: Axes,
    at: NDArray[np.floating[Any]],
    means: list[Mean],
    scale: float,
    label: str,
    order: int = 0,
    line: str = "-",
) -> None:
    """Means with their intervals; the `order`-th series has a colour and a marker of its own."""
    value = np.array([scale * m.value for m in means])
    error = [[scale * (m.value - m.low) for m in means], [scale * (m.high - m.value) for m in means]]
    ink = INK if order == len(NODES) else node_colour(order)
    marker = MARKERS[order % len(MARKERS)]
    axes.errorbar(at, value, yerror(error), marker=marker, ms=4, ls=line, color=ink, label=label, zorder=3)
