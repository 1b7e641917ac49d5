"""Pictures of a run: each function takes a `Run` and returns a matplotlib `Figure`.

They draw what is recorded and compute nothing that `totals.py` does not. Draw them with `style.draw`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from testbed.outcome import RoundRecord
from testbed.record.read import Run
from testbed.record.style import AGAIN, AXIS, FIRST, GAVE_UP, INK, MUTED, PARTS, node_colour
from testbed.record.totals import (
    accuracies,
    blocks_by_layer,
    choices_by_layer,
    energy_by_layer,
    gains,
    links,
    seconds_by_phase,
)
from testbed.units import db

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 5.2
MOST_PANELS = 6


def _figure(width: float, height: float, layout: Literal["constrained", "none"] = "constrained") -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)  # type: ignore[arg-type]  # "none" is missing in the stubs


def channel(run: Run) -> Figure:
    """|H|² in dB over frequency for each directed link, with its noise; a heat map above six nodes."""
    return _channel_panels(run) if run.shape.nodes <= MOST_PANELS else _channel_map(run)


def _channel_panels(run: Run) -> Figure:
    K, seen = run.shape.nodes, gains(run)
    width, height = 1.0 + 1.75 * K, 0.6 + 1.2 * K
    figure = _figure(width, height, "none")  # all panels are alike: fixed margins take half the time
    figure.subplots_adjust(0.75 / width, 0.55 / height, 1 - 0.1 / width, 1 - 0.3 / height, 0.12, 0.34)
    panels = figure.subplots(K, K, sharex=True, sharey=True, squeeze=False)
    for i in range(K):
        for j in range(K):
            if i == j:
                _name_panel(panels[i, j], i)
            else:
                _link_panel(panels[i, j], run, seen, i, j)
    figure.supxlabel("offset from the carrier (MHz)", fontsize=9, color=MUTED)
    figure.supylabel("|H|² and noise (dB)", fontsize=9, color=MUTED)
    return figure


def _name_panel(axes: Axes, node: int) -> None:
    axes.text(0.5, 0.5, f"node {node}", transform=axes.transAxes, ha="center", va="center", color=INK,
              fontsize=10.5, fontweight="bold")  # fmt: skip
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(bottom=False)


def _link_panel(axes: Axes, run: Run, seen: dict[str, NDArray[Any]], i: int, j: int) -> None:
    axes.set_title(f"{i} → {j}", fontsize=8.5)
    if not seen["measured"][i, j]:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color=MUTED)
        return
    mhz = run.shape.frequency_hz / 1e6
    axes.fill_between(mhz, *db(seen["range"][:, i, j]), color=node_colour(i), alpha=0.25, lw=0)
    axes.plot(mhz, db(seen["mean"][i, j]), color=node_colour(i))
    axes.plot(mhz, db(seen["noise"][i, j]), color=MUTED, lw=0.9)


def _channel_map(run: Run) -> Figure:
    K, seen = run.shape.nodes, gains(run)
    rows = [(i, j) for i, j in links(K) if seen["measured"][i, j]]
    figure = _figure(2 * WIDTH, 1.2 + 0.11 * max(8, len(rows)))
    axes = figure.subplots()
    axes.grid(visible=False)
    if rows:
        mhz = run.shape.frequency_hz / 1e6
        image = np.stack([db(seen["mean"][i, j]) for i, j in rows])
        mesh = axes.imshow(image, aspect="auto", extent=(mhz[0], mhz[-1], len(rows) - 0.5, -0.5))
        figure.colorbar(mesh, ax=axes, label="|H|² (dB)")
        _label_links(axes, rows, 6.5)
    axes.set_xlabel("offset from the carrier (MHz)")
    return figure


def _label_links(axes: Axes, rows: list[tuple[int, int]], size: float) -> None:
    axes.set_yticks(range(len(rows)), [f"{i} → {j}" for i, j in rows], fontsize=size)


def allocation(run: Run, record: RoundRecord) -> Figure:
    """Which link each data subcarrier serves in one round, forward and back; colour = transmitter."""
    K = run.shape.nodes
    size = 8.0 if K <= MOST_PANELS else 5.0
    figure = _figure(WIDTH, 0.9 + 2 * 0.018 * size * len(links(K)))
    panels = figure.subplots(2, 1, sharex=True)
    owners = record.forward.subcarrier_link, record.back.subcarrier_link
    for axes, owner, phase in zip(panels, owners, ("forward", "return"), strict=True):
        _allocation_panel(axes, owner, run.shape.data_frequency_hz / 1e6, K)
        used = int((owner >= 0).sum())
        axes.set_title(f"{phase}: {used} of {owner.size} subcarriers", fontsize=9)
        _label_links(axes, links(K), size)
    panels[1].set_xlabel("offset from the carrier (MHz)")
    return figure


def _allocation_panel(axes: Axes, owner: NDArray[np.int64], mhz: NDArray[np.float64], K: int) -> None:
    from matplotlib.collections import LineCollection

    half = 0.5 * float(np.min(np.diff(np.sort(mhz)))) if mhz.size > 1 else 0.01
    row = {i * K + j: n for n, (i, j) in enumerate(links(K))}
    for node in range(K):
        bars = [
            ((f, row[o] - 0.42), (f, row[o] + 0.42))
            for f, o in zip(mhz, owner.tolist(), strict=True)
            if o in row and o // K == node
        ]
        width = max(0.8, 0.9 * 72 * WIDTH * 0.84 * 2 * half / float(np.ptp(mhz) + 2 * half))
        axes.add_collection(LineCollection(bars, colors=node_colour(node), lw=width, capstyle="butt"))
    for y in range(K - 1, len(row) - 1, K - 1):
        axes.axhline(y - 0.5, color=AXIS, lw=0.6)
    axes.set_xlim(mhz.min() - 2 * half, mhz.max() + 2 * half)
    axes.set_ylim(len(row) - 0.5, -0.5)
    axes.grid(visible=False)


def experts(run: Run) -> Figure:
    """Share of each node's tokens that chose each expert, one panel a layer."""
    shares = choices_by_layer(run)
    across = 1 if len(shares) == 1 else 2
    down = -(-len(shares) // across) or 1
    figure = _figure(WIDTH, 0.3 + 2.5 * down)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes in panels[len(shares) :]:
        axes.set_visible(False)
    for axes, (layer, share) in zip(panels, shares.items(), strict=False):
        axes.imshow(share, vmin=0, vmax=1, cmap="viridis")
        axes.set_title(f"layer {layer}")
        axes.set_xlabel("expert")
        axes.set_ylabel("tokens of node")
        axes.grid(visible=False)
        axes.set_xticks(range(share.shape[1]))
        axes.set_yticks(range(share.shape[0]))
        _write_shares(axes, share)
    return figure


def _write_shares(axes: Axes, share: NDArray[np.float64]) -> None:
    size = 8.5 if share.shape[0] <= MOST_PANELS else 6
    for (i, j), value in np.ndenumerate(share):
        colour = "#10151b" if value > 0.6 else "#f4f6f8"
        text = "–" if np.isnan(value) else f"{100 * value:.0f}"
        axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=size)


def energy(run: Run) -> Figure:
    """Energy a layer by part: what the model predicted (pale) beside what was spent; dash = lower bound."""
    layers, predicted, spent, bound = energy_by_layer(run)
    scale, unit = _prefix(max(spent.sum(1).max(initial=0), predicted.sum(1).max(initial=0)))
    figure = _figure(WIDTH, 3.3)
    axes = figure.subplots()
    x = np.arange(len(layers))
    for values, offset, alpha in ((predicted, -0.2, 0.45), (spent, 0.2, 1.0)):
        _stack(axes, x + offset, values * scale, list(PARTS.values()), 0.36, alpha)
    axes.hlines(bound * scale, x - 0.4, x, color=INK, lw=1.6, linestyles=(0, (2, 1)))
    axes.set_xticks(x, [f"layer {n}\npredicted | spent" for n in layers] if len(x) <= 4 else [str(n) for n in layers])
    axes.set_xlabel("" if len(x) <= 4 else "layer")
    axes.set_ylabel(f"energy ({unit}J)")
    _legend(axes, {**PARTS, "lower bound": INK})
    return figure


def _stack(
    axes: Axes, x: NDArray[Any], values: NDArray[Any], colours: list[str], width: float, alpha: float = 1.0
) -> None:
    """Stacked bars; values are (bars, parts)."""
    below = np.zeros(len(x))
    for part, colour in enumerate(colours):
        axes.bar(x, values[:, part], width, bottom=below, color=colour, alpha=alpha)
        below = below + values[:, part]


def _legend(axes: Axes, entries: dict[str, str]) -> None:
    from matplotlib.patches import Patch

    axes.legend(
        handles=[Patch(color=colour, label=name) for name, colour in entries.items()],
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=3,
    )


def _prefix(largest: float) -> tuple[float, str]:
    """Factor and SI prefix that bring `largest` between 1 and 1000."""
    for scale, prefix in ((1.0, ""), (1e3, "m"), (1e6, "µ")):
        if largest * scale >= 1.0:
            return scale, prefix
    return 1e9, "n"


def constellation(run: Run) -> Figure:
    """Equalised symbols of one link, from the latest round that has some."""
    figure = _figure(3.6, 3.5)
    axes = figure.subplots()
    axes.set_aspect("equal")
    axes.grid(visible=True, axis="both")
    record = next((r for r in reversed(run.rounds) if r.constellation.size), None)
    if record is None:
        axes.text(0.5, 0.5, "no symbols recorded", transform=axes.transAxes, ha="center", color=MUTED)
        return figure
    i, j = record.constellation_link
    axes.scatter(record.constellation.real, record.constellation.imag, s=5, lw=0, alpha=0.6, color=node_colour(i))
    reach = 1.12 * float(np.quantile(np.abs(record.constellation), 0.995)) or 1.0
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xlabel="in phase", ylabel="quadrature")
    axes.set_title(f"link {i} → {j}, layer {record.layer}, MCS {record.forward.mcs[i, j]}")
    return figure


def blocks(run: Run) -> Figure:
    """Blocks a layer and phase: arrived at once, sent again, given up; the error rate is written above."""
    labels, counts, error_rate = blocks_by_layer(run)
    figure = _figure(WIDTH, 3.1)
    axes = figure.subplots()
    x = np.arange(len(labels))
    _stack(axes, x, counts, [FIRST, AGAIN, GAVE_UP], 0.62)
    for at, height, rate in zip(x, counts.sum(1), error_rate, strict=True):
        axes.annotate(f"{100 * rate:.1f} %", (at, height), (0, 3), textcoords="offset points", ha="center",
                      fontsize=8, color=INK)  # fmt: skip
    axes.set_xticks(x, labels)
    axes.set_ylabel("blocks")
    axes.set_ylim(0, 1.1 * counts.sum(1).max(initial=1))
    _legend(axes, {"first attempt": FIRST, "sent again": AGAIN, "given up": GAVE_UP})
    return figure


def accuracy(run: Run) -> Figure:
    """Next-byte accuracy over the air beside the same model in one place, ± one binomial standard error."""
    rows = accuracies(run.predictions)
    figure = _figure(WIDTH, 0.9 + 0.52 * max(2, len(rows)))
    axes = figure.subplots()
    axes.grid(visible=False)
    axes.grid(visible=True, axis="x")
    for y, row in enumerate(rows):
        for offset, value, error, colour in (
            (-0.14, row.run, row.run_error, FIRST),
            (0.14, row.central, row.central_error, PARTS["overhead"]),
        ):
            axes.errorbar(100 * value, y + offset, xerr=100 * error, fmt="o", ms=5, color=colour, lw=1.6)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("next-byte accuracy (%)")
    _legend(axes, {"over the air": FIRST, "in one place": PARTS["overhead"]})
    return figure


def timings(run: Run) -> Figure:
    """Mean wall time of each phase of a round."""
    phases = seconds_by_phase(run)
    scale, unit = _prefix(max(phases.values(), default=1.0))
    figure = _figure(WIDTH, 0.8 + 0.34 * max(2, len(phases)))
    axes = figure.subplots()
    axes.grid(visible=False)
    y = np.arange(len(phases))
    values = np.array(list(phases.values())) * scale
    axes.barh(y, values, 0.62, color=FIRST)
    for at, value in zip(y, values, strict=True):
        axes.annotate(f"{value:.3g} {unit}s", (value, at), (4, 0), textcoords="offset points", va="center",
                      fontsize=8.5, color=INK)  # fmt: skip
    axes.set_yticks(y, list(phases))
    axes.set_ylim(len(phases) - 0.5, -0.5)
    axes.margins(x=0.16)
    axes.set_xlabel(f"mean seconds a round ({unit}s)" if unit else "mean seconds a round")
    return figure
