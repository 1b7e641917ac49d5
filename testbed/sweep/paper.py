"""The experiments by name: which sweep each runs, and what becomes of its cells.

All share one table of cells, so that an experiment finds what another has already computed.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from testbed.errors import CampaignError
from testbed.record.style import draw, save
from testbed.sweep import along, figures, findings
from testbed.sweep.findings import Finding, Groups
from testbed.sweep.run import Progress, run_cells
from testbed.sweep.spec import Sweep, expand, load_sweep
from testbed.sweep.table import Row

FOLDER = Path("measurements/paper")
SEEDS = 8
TABLE = "cells.sqlite"


@dataclass(frozen=True)
class Experiment:
    """How the cells of `measurements/paper/NAME.toml` are read and drawn."""

    find: Callable[[Groups], Finding]
    draw: figures.Draw


CURVE = Experiment(along.curve_finding, figures.curve_figure)

EXPERIMENTS: dict[str, Experiment] = {
    "accuracy": Experiment(findings.accuracy_finding, figures.accuracy_figure),
    "task": Experiment(along.task_finding, figures.task_figure),
    "tradeoff": Experiment(findings.tradeoff_finding, figures.tradeoff_figure),
    "own-text": Experiment(findings.accuracy_finding, figures.accuracy_figure),
    "layers": Experiment(findings.layers_finding, figures.layers_figure),
    "snr": CURVE,
    "nodes": CURVE,
    "subcarriers": CURVE,
    "ageing": CURVE,
    "reciprocal": CURVE,
    "correlated": CURVE,
    "csi-error": CURVE,
    "temperature": CURVE,
    "outage": Experiment(along.outage_finding, figures.accuracy_figure),
    "importance": Experiment(along.importance_finding, figures.importance_figure),
    "air": Experiment(along.air_finding, figures.air_figure),
}


@dataclass(frozen=True)
class ExperimentResult:
    """How an experiment ended.

    Attributes:
        finding: statement and table.
        folder: data.json, data.csv, table.md, figure.svg and figure.png.
        seeds: how many counted; ran, found, failed: cells computed now, computed before, given up.
    """

    finding: Finding
    folder: Path
    seeds: int
    ran: int
    found: int
    failed: int


def run_experiment(
    name: str,
    out: Path,
    seeds: int = SEEDS,
    progress: Callable[[Progress], None] = lambda _: None,
    workers: int = 1,
    folder: Path = FOLDER,
) -> ExperimentResult:
    """Runs what is left of experiment `name` for seeds 1…`seeds`, and writes its files to `out`/NAME.

    A seed counts when all its cells finished: schemes are compared on the same seeds alone.

    Raises:
        CampaignError: no such experiment or file, or fewer than 2 seeds.
    """
    if name not in EXPERIMENTS:
        raise CampaignError(f"experiment {name!r} is unknown; choose one of: {', '.join(EXPERIMENTS)}")
    if seeds < 2:
        raise CampaignError(f"seeds = {seeds}: at least 2 are needed for a confidence interval")
    sweep = load_sweep(folder / f"{name}.toml")
    cells = expand(sweep, folder, {"seed": list(range(1, seeds + 1))})
    result = run_cells(cells, out / TABLE, workers, progress)
    variants = [cell.variant for cell in cells]
    axis, groups = group(sweep, variants, [dict(cell.overrides) for cell in cells], result.rows)
    finding = EXPERIMENTS[name].find(groups)
    counted = len(next(iter(groups.values())))
    write(out / name, sweep, axis, groups, finding, counted, EXPERIMENTS[name].draw)
    return ExperimentResult(finding, out / name, counted, result.ran, result.found, result.failed)


def group(
    sweep: Sweep, variants: Sequence[str], overrides: Sequence[dict[str, object]], rows: Sequence[Row]
) -> tuple[str, Groups]:
    """The axis beside the seed ("" without), and the cells by variant and its value, whole seeds alone."""
    axis = next((key for key in sweep.axes if key != "seed"), "")
    broken = {own["seed"] for own, row in zip(overrides, rows, strict=True) if row.figures is None}
    groups: Groups = {}
    for variant, own, row in zip(variants, overrides, rows, strict=True):
        if own["seed"] not in broken and row.figures is not None:
            groups.setdefault((variant, own.get(axis)), []).append(row.figures)
    if not groups:
        errors = sorted({row.error for row in rows if row.error})
        raise CampaignError(f"{sweep.name}: no seed finished: {'; '.join(errors)}")
    return axis, groups


def write(
    folder: Path, sweep: Sweep, axis: str, groups: Groups, finding: Finding, seeds: int, figure: figures.Draw
) -> None:
    """Data, table, statement and figure."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {
        "experiment": sweep.name,
        "about": sweep.about,
        "seeds": seeds,
        "axis": axis,
        **asdict(finding),
        "cells": [{"variant": v, "at": at, "by_seed": cells} for (v, at), cells in groups.items()],
    }
    (folder / "data.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with (folder / "data.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(finding.table[0]))
        writer.writeheader()
        writer.writerows(finding.table)
    (folder / "table.md").write_text(markdown(sweep, finding, seeds), encoding="utf-8")
    drawn = draw(figure, groups, axis)
    save(drawn, folder / "figure.svg")
    save(drawn, folder / "figure.png")


def markdown(sweep: Sweep, finding: Finding, seeds: int) -> str:
    """Statement and table for people."""
    columns = list(finding.table[0])
    lines = [f"# {sweep.name}: {sweep.about}", "", f"**{finding.verdict}** ({seeds} seeds)", ""]
    lines += [f"- {sentence}" for sentence in finding.sentences]
    lines += ["", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(row[column] for column in columns) + " |" for row in finding.table]
    return "\n".join(lines) + "\n"
