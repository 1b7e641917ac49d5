"""Runs as text for people: plans, progress, closing tables."""

from __future__ import annotations

import errno
import json
import os
import signal
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from testbed.agents.controller import Plan
    from testbed.outcome import RoundRecord, Summary


def say(words: str, lines: TextIO) -> None:
    """A line for whoever watches a run; where nobody does any more, the run ends as after a terminal was closed."""
    try:
        print(words, file=lines, flush=True)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            return  # a full disk, say: the line is lost, the run is not
        os.dup2(os.open(os.devnull, os.O_WRONLY), lines.fileno())
        signal.raise_signal(signal.SIGHUP)


def show_plan(plan: Plan, as_json: bool) -> None:
    """What a run would do."""
    if as_json:
        print(json.dumps(plan.facts))
        return
    for note in plan.notes:
        print(f"note: {note}")
    for name, value in plan.facts.items():
        print(f"{name:24}{value}")


def progress(record: RoundRecord, rounds: int, lines: TextIO) -> None:
    """One line a round, and one more for everything that went wrong in it."""
    done = record.number + 1
    blocks = int(record.forward.sent.sum() + record.back.sent.sum())
    failed = int(record.forward.failed.sum() + record.back.failed.sum())
    say(
        f"round {done:>{len(str(rounds))}}/{max(rounds, done)}  layer {record.layer}  "
        f"{int(record.selected.sum()) / max(1, record.source.size):.2f} experts/token  "
        f"{blocks:4d} blocks, {failed} failed  {int(record.lost.sum())} lost  "
        f"{joule(record.spent.total_j())} spent, {joule(record.predicted.total_j())} predicted  "
        f"{sum(record.seconds.values()):.2f} s",
        lines,
    )
    for event in record.events:
        say(f"  {event}", lines)


def closing_table(summary: Summary) -> None:
    """The closing figures of a run."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _rows(summary):
        table.add_row(name, value)
    Console().print(table)


def replay_table(recorded: Summary | None, replayed: Summary) -> None:
    """Closing figures side by side."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "recorded", "replayed", box=None, pad_edge=False)
    before = dict(_rows(recorded)) if recorded else {}
    for name, value in _rows(replayed):
        table.add_row(name, before.get(name, "none"), value)
    Console().print(table)


def joule(value_j: float) -> str:
    """Energy for people."""
    from testbed.units import engineering

    return engineering(value_j, "J")


def figure(value: float | None) -> str:
    """A ratio for people."""
    return "none" if value is None else f"{value:.3f}"


def _rows(s: Summary) -> list[tuple[str, str]]:
    return [
        ("rounds", f"{s.rounds}"),
        ("tokens through layers", f"{s.tokens} ({s.tokens_relaxed} relaxed, {s.tokens_lost} lost)"),
        ("block error rate", f"{figure(s.block_error_rate)} ({s.retransmissions} retransmissions)"),
        ("energy predicted", f"{joule(s.energy_predicted_j)} (to meet the QoS takes at least {joule(s.bound_j)})"),
        ("energy spent", f"{joule(s.energy_spent_j)}, overhead of frames included"),
        ("accuracy", f"{figure(s.accuracy)} (the same model in one place: {figure(s.accuracy_central)})"),
        ("time", f"{s.seconds:.1f} s"),
    ]
