"""The report of a run: one HTML file without any outside part, made from the run folder alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from testbed.outcome import RoundRecord
from testbed.record.folder import RunFolder
from testbed.record.read import Run, read_run
from testbed.record.space import replace
from testbed.record.style import draw, inline_svg
from testbed.record.totals import accuracies, closing, last_pass, seconds_by_phase

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar("T")
MOST_ALLOCATIONS = 8
ENERGY_UNITS = ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"), (1e-9, "nJ"))


@dataclass(frozen=True)
class Section:
    """A figure of the report with its words; `wide` ones take the whole width of the page."""

    title: str
    draw: Callable[[Run], Figure]
    words: str
    wide: bool = False

    def svg(self, run: Run) -> str:
        """The figure as an element of the page."""
        return inline_svg(draw(self.draw, run))


def write_report(folder: RunFolder | Path) -> Path:
    """Make `report.html` of a run folder anew; finished, interrupted and running ones alike.

    Returns:
        Path of the report.

    Raises:
        RecordError: the run cannot be read, or the report cannot be written.
    """
    run = read_run(folder.path if isinstance(folder, RunFolder) else folder)
    replace(run.folder.report, render(run).encode())
    return run.folder.report


def render(run: Run) -> str:
    """The page as HTML."""
    import jinja2

    source = resources.files("testbed.record").joinpath("templates/report.html.j2").read_text()
    page = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(source)
    return page.render(
        run=run,
        manifest=run.manifest,
        tiles=tiles(run),
        closing=closing_table(run),
        sections=sections(run),
        events=events(run),
        facts=facts(run),
    )


def tiles(run: Run) -> list[tuple[str, str, str]]:
    """Name, value and small print of the figures at the top."""
    sums = closing(run)
    overall = accuracies(run.predictions)[:1]
    found = [
        (
            "accuracy",
            f"{100 * a.run:.1f} %",
            f"± {100 * a.run_error:.1f}; in one place {100 * a.central:.1f} % ({a.scored} tokens)",
        )
        for a in overall
    ]
    return [
        *found,
        ("energy spent", joule(sums.spent_j), f"predicted {joule(sums.predicted_j)}"),
        ("block errors", f"{100 * sums.block_error_rate:.1f} %", f"{sums.failed} of {sums.sent} blocks"),
        ("tokens lost", f"{sums.lost}", f"of {sums.tokens}, {sums.relaxed} relaxed"),
    ]


def closing_table(run: Run) -> list[tuple[str, str]]:
    """The closing figures, as at the end of the run on the terminal."""
    sums = closing(run)
    above = 100 * (sums.predicted_j / sums.bound_j - 1) if sums.bound_j > 0 else float("nan")
    rows = [
        ("rounds", f"{sums.rounds}"),
        ("tokens × layers", f"{sums.tokens}"),
        ("… relaxed QoS", f"{sums.relaxed}"),
        ("… missed an expert", f"{sums.lost}"),
        ("blocks sent", f"{sums.sent}"),
        ("block error rate", f"{100 * sums.block_error_rate:.2f} %"),
        ("retransmissions", f"{sums.failed - sums.given_up}"),
        ("blocks given up", f"{sums.given_up}"),
        ("energy predicted", joule(sums.predicted_j)),
        ("energy spent", joule(sums.spent_j)),
        ("lower bound", f"{joule(sums.bound_j)} (prediction {above:+.1f} %)"),
        ("time on the air", f"{sums.air_time_s:.3f} s"),
    ]
    for row in accuracies(run.predictions)[:1]:
        rows.append(("accuracy over the air", f"{100 * row.run:.2f} ± {100 * row.run_error:.2f} %"))
        rows.append(("accuracy in one place", f"{100 * row.central:.2f} ± {100 * row.central_error:.2f} %"))
    if run.manifest.seconds is not None:
        rows.append(("wall time", f"{run.manifest.seconds:.1f} s"))
    return rows


def joule(value: float) -> str:
    """Three digits and a fitting unit."""
    scale, unit = next(((s, u) for s, u in ENERGY_UNITS if abs(value) >= s), ENERGY_UNITS[-1])
    return f"{value / scale:.3g} {unit}"


def sections(run: Run) -> list[Section]:
    """All figures with their words, in order; nothing of what was not recorded."""
    from testbed.record import figures

    if not run.rounds:
        return []
    found = [
        Section("energy", figures.energy, "Left of each pair what the model predicted, right what was spent."),
        Section("blocks", figures.blocks, "→ states to experts, ← results back; above each bar its error rate."),
        Section("experts chosen", figures.experts, "Per cent of a node's tokens that chose each expert."),
        Section("constellation", figures.constellation, "Equalised symbols of one link."),
        Section(
            "channels",
            figures.channel,
            "Row transmits, column receives: mean |H|² over the rounds with its range, and the noise below.",
            wide=True,
        ),
        *(_allocation(record) for record in spread(last_pass(run), MOST_ALLOCATIONS)),
    ]
    if accuracies(run.predictions):
        words = "Next-byte accuracy with one binomial standard error."
        found.insert(0, Section("accuracy", figures.accuracy, words))
    if seconds_by_phase(run):
        found.append(Section("wall time", figures.timings, "Mean of a round, phase by phase."))
    return found


def _allocation(record: RoundRecord) -> Section:
    from testbed.record import figures

    return Section(
        f"subcarriers, layer {record.layer}",
        lambda run: figures.allocation(run, record),
        "Which link each subcarrier served; the colour is the transmitter's.",
    )


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most so many of them, first and last among them, evenly spaced."""
    if len(items) <= most:
        return list(items)
    return [items[round(n * (len(items) - 1) / (most - 1))] for n in range(most)]


def events(run: Run) -> list[tuple[str, str]]:
    """Where and what, for the run as a whole and each round."""
    found = [("run", words) for words in run.manifest.events]
    if run.unfinished:
        found.append(("run", f"{run.unfinished} round(s) were begun and are not in the record"))
    return found + [(f"round {r.number}, layer {r.layer}", words) for r in run.rounds for words in r.events]


def facts(run: Run) -> list[tuple[str, str]]:
    """What was run, where, with what."""
    m, shape = run.manifest, run.shape
    return [
        ("command", " ".join(m.command)),
        ("seed", f"{m.seed}"),
        ("started", m.started),
        ("ended", m.finished or "—"),
        ("nodes, layers", f"{shape.nodes}, {shape.layers}"),
        ("subcarriers", f"{len(shape.frequency_hz)} used, {len(shape.data_frequency_hz)} for data"),
        ("spacing", f"{shape.spacing_hz / 1e3:g} kHz"),
        ("decisions ended", ", ".join(sorted({r.status for r in run.rounds})) or "—"),
        ("host", f"{m.host}, {m.platform}, Python {m.python}"),
        ("source", m.git_commit or "not under version control"),
        ("packages", ", ".join(f"{name} {version}" for name, version in sorted(m.packages.items()))),
    ]
