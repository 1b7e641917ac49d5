"""Curves with intervals, and figures made of them, for the benchmarks.

A curve is {"x", "mean", "low", "high"}; panels are {label of the y axis: {name of the curve: curve}}. A curve named
`group: variant` takes colour and marker from its group and dashes from its variant.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from scipy import stats

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import LogLocator
from matplotlib.transforms import ScaledTranslation

from testbed.record.style import save, styled
from testbed.sweep.stats import mean

Curve = dict[str, list[float]]
Panels = dict[str, dict[str, Curve]]

COLOURS = ("#332288", "#CC6677", "#DDAA33", "#117733", "#88CCEE", "#AA4499", "#999933", "#882255", "#44AA99", "#000000")
"""P. Tol's muted scheme (its sand a little stronger) and black: apart for colour-blind readers too."""
BOUNDS = ("LB", "full tree")
"""How groups begin that bound the others."""
MARKERS, DASHES = "osD^vP*Xd<", ("-", "--", ":", "-.")


def means(points: Sequence[float], samples: Sequence[Any]) -> Curve:
    """Mean and interval of (seeds,) values at each point."""
    found = [mean(sample) for sample in samples]
    return {
        "x": list(points),
        "mean": [one.value for one in found],
        "low": [one.low for one in found],
        "high": [one.high for one in found],
    }


def shares(points: Sequence[float], samples: Sequence[Any], scale: float = 1.0) -> Curve:
    """Share of true values and its interval (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927), times `scale`."""
    tests = [stats.binomtest(int(np.sum(sample)), len(sample)) for sample in samples]
    limits = [test.proportion_ci(method="wilson") for test in tests]
    return {
        "x": list(points),
        "mean": [scale * float(test.statistic) for test in tests],
        "low": [scale * float(limit.low) for limit in limits],
        "high": [scale * float(limit.high) for limit in limits],
    }


def known(points: Sequence[float], values: Sequence[float]) -> Curve:
    """A curve without error."""
    return {"x": list(points), "mean": list(values), "low": list(values), "high": list(values)}


@dataclass(frozen=True)
class Figure:
    """What to measure, and how to draw it; of the panels only those with a scale are drawn."""

    make: Callable[[int], Panels]
    x_label: str
    x_scale: str
    y_scales: dict[str, str]
    caption: str
    limits: dict[str, tuple[float, float]] = field(default_factory=dict)


def line_styles(labels: list[str]) -> dict[str, dict[str, Any]]:
    """`group: variant` → colour and marker by group, dashes by variant; what bounds the rest is black and dashed."""
    parts = [label.partition(": ")[::2] for label in labels]
    groups = [group for group in dict.fromkeys(group for group, _ in parts) if not group.startswith(BOUNDS)]
    variants = list(dict.fromkeys(variant for group, variant in parts if group in groups))
    lines = {}
    for label, (group, variant) in zip(labels, parts, strict=True):
        k, dash = (groups.index(group), variants.index(variant)) if group in groups else (-1, 1)
        lines[label] = {"color": COLOURS[k], "marker": MARKERS[k], "ls": DASHES[dash]}
    return lines


def plot(axes: Any, curves: dict[str, Curve], styles: dict[str, dict[str, Any]]) -> None:
    """The curves of one panel with their intervals, moved apart a little so that no bar hides another."""
    for k, (label, curve) in enumerate(curves.items()):
        value, low, high = (np.array(curve[key]) for key in ("mean", "low", "high"))
        error = np.nan_to_num([np.maximum(value - low, 0), np.maximum(high - value, 0)])
        aside = ScaledTranslation((k - (len(curves) - 1) / 2) * 1.5 / 72, 0, axes.figure.dpi_scale_trans)
        axes.errorbar(
            curve["x"], value, error, label=label, ms=3.5, lw=1.1, capsize=1.5, elinewidth=0.8,
            transform=axes.transData + aside, **styles[label],
        )  # fmt: skip


def scale(axes: Any, spec: Figure, panel: str, curves: dict[str, Curve]) -> None:
    """Labels, scales, limits and ticks of one panel."""
    axes.set(xlabel=spec.x_label, ylabel=panel, xscale=spec.x_scale)
    axes.set_xticks(*ticks(curves), minor=False)
    axes.set_xlim(*span([x for curve in curves.values() for x in curve["x"]], spec.x_scale))
    y_scale, least = spec.y_scales[panel], min(min(curve["mean"]) for curve in curves.values())
    axes.set_yscale(y_scale, **({"linthresh": 1e-3} if y_scale == "symlog" else {}))
    if y_scale == "log":
        most = max(max(curve["high"]) for curve in curves.values())
        axes.set_ylim(0.6 * least, 1.3 * most)
        if most < 1000 * least:
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
    if panel in spec.limits:
        axes.set_ylim(*spec.limits[panel])
    axes.minorticks_off()


def picture(spec: Figure, panels: Panels, caption: str, path: Path) -> None:
    """One figure as SVG and PNG: panels, a legend beside them, the caption below."""
    labels = list(dict.fromkeys(label for curves in panels.values() for label in curves))
    width, styles = 3.6 * len(spec.y_scales) + 2.9, line_styles(labels)
    with styled():
        figure, row = plt.subplots(1, len(spec.y_scales), figsize=(width, 4.6), squeeze=False)
        for axes, panel in zip(row[0], spec.y_scales, strict=True):
            plot(axes, panels[panel], styles)
            scale(axes, spec, panel, panels[panel])
        handles = dict(zip(*reversed(row[0][0].get_legend_handles_labels()), strict=True))
        figure.legend(handles.values(), handles.keys(), loc="outside right upper", handlelength=3)
        figure.supxlabel(textwrap.fill(caption, int(19 * width)), x=0.01, ha="left", fontsize=7)
    for suffix in ("svg", "png"):
        save(figure, path.with_suffix(f".{suffix}"))
    plt.close(figure)


def ticks(curves: dict[str, Curve]) -> tuple[list[float], list[str]]:
    """Every measured x as a tick, at most twelve."""
    points = sorted({x for curve in curves.values() for x in curve["x"]})
    kept = points[:: -(-len(points) // 12)]
    return kept, [f"{x:g}" for x in kept]


def span(points: list[float], x_scale: str) -> tuple[float, float]:
    """Limits of the x axis, 6 % beyond the points on its scale."""
    least, most = min(points), max(points)
    if x_scale == "log":
        return least * (least / most) ** 0.06, most * (most / least) ** 0.06
    return least - 0.06 * (most - least), most + 0.06 * (most - least)
