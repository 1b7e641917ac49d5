"""What differs between two runs: settings, versions, channels, decisions, blocks, energies and accuracy by round.

Rounds are held against each other by their place in the recording. Values are compared exactly, since runs of
one seed on simulated radios, and replays of one recording, are bit-equal where nothing was changed.
"""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import zip_longest
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from testbed.outcome import Energy, Measured, RoundRecord, Traffic
from testbed.record.catalogue_entry import flat
from testbed.record.read import OpenRun, Round, open_run
from testbed.record.rows import Predictions
from testbed.record.sums import Totals
from testbed.record.totals import accuracies, parts

Kind = Literal["setting", "version", "channel", "decision", "blocks", "energy", "accuracy", "rounds"]
Value = str | int | float | None


@dataclass(frozen=True)
class Difference:
    """One line of a comparison.

    Attributes:
        kind: what sort of thing differs.
        round: place of the round in the recordings, from 0; None for what concerns the whole run.
        name: dotted key of the setting, or what was compared.
        unit: of numbers: "J", "s", "1"; empty for words.
        a, b: the two values, None where a run has none.
        words: for arrays, instead of values: how many of their entries differ; else empty.
    """

    kind: Kind
    round: int | None
    name: str
    unit: str = ""
    a: Value = None
    b: Value = None
    words: str = ""

    @property
    def change(self) -> float | None:
        """(b − a) / |a|; None where that says nothing."""
        if not isinstance(self.a, int | float) or not isinstance(self.b, int | float) or not self.a:
            return None
        return (self.b - self.a) / abs(self.a)


_ARRAYS: tuple[tuple[Kind, str, str], ...] = (
    *(("channel", f.name, f"measured.{f.name}") for f in fields(Measured)),
    ("decision", "live nodes", "alive"),
    ("decision", "tokens by node", "source"),
    ("decision", "gate scores", "score"),
    ("decision", "forward mcs", "forward.mcs"),
    ("decision", "forward subcarriers", "forward.subcarrier_link"),
    ("decision", "back mcs", "back.mcs"),
    ("decision", "back subcarriers", "back.subcarrier_link"),
)
_PARTS = ("computation", "forward", "back", "overhead")
_COUNTS = ("sent", "failed", "given_up")
_TOTALS: tuple[tuple[Kind, str, str], ...] = (
    *(("blocks", name, "1") for name in ("tokens", "relaxed", "lost", *_COUNTS)),
    *(("energy", name, "J") for name in ("predicted_j", "spent_j", "bound_j")),
    ("energy", "air_time_s", "s"),
)


def diff(run_a: Path, run_b: Path) -> tuple[Difference, ...]:
    """All that differs between two runs: settings and versions, then round by round, then the whole run.

    Wall times, hosts, paths and commands are not compared. Runs that are equal otherwise give ().

    Raises:
        RecordError: one is no run, or damaged.
    """
    with open_run(run_a) as a, open_run(run_b) as b:
        ends = _End(), _End()
        return (*_of_settings(a, b), *_of_rounds(a, b, ends), *_of_ends(a, b, ends))


@dataclass
class _End:
    """What is known of a run when all its rounds have passed by."""

    sums: Totals = field(default_factory=Totals)
    predictions: list[Predictions | None] = field(default_factory=list)

    def add(self, one: Round) -> None:
        """One more round."""
        self.sums = self.sums.with_round(one.record)
        self.predictions.append(one.predictions)

    def accuracies(self) -> dict[str, float]:
        """Over all tokens of all batches; empty where none was finished."""
        rows = accuracies(self.predictions)
        return {"accuracy": rows[0].run, "accuracy_central": rows[0].central} if rows else {}


def _of_settings(a: OpenRun, b: OpenRun) -> Iterator[Difference]:
    yield from _of_tables("setting", _settings(a.campaign), _settings(b.campaign))
    yield from _of_tables("version", _versions(a), _versions(b))


def _settings(text: str) -> dict[str, Value]:
    settings: dict[str, Value] = {}
    with contextlib.suppress(tomllib.TOMLDecodeError):
        for name, value in flat(tomllib.loads(text)):
            settings[name] = value if isinstance(value, str | int | float) else str(value)
    return settings


def _versions(run: OpenRun) -> dict[str, Value]:
    return {"git_commit": run.manifest.git_commit, "python": run.manifest.python, **run.manifest.packages}


def _of_tables(kind: Kind, a: Mapping[str, Value], b: Mapping[str, Value]) -> Iterator[Difference]:
    """Keys of either that differ, those of `a` first."""
    for name in dict.fromkeys([*a, *b]):
        yield from _of_values(kind, None, name, "", a.get(name), b.get(name))


def _of_values(kind: Kind, number: int | None, name: str, unit: str, a: Value, b: Value) -> Iterator[Difference]:
    both_nan = a != a and b != b
    if a != b and not both_nan:
        yield Difference(kind, number, name, unit, a, b)


def _of_rounds(a: OpenRun, b: OpenRun, ends: tuple[_End, _End]) -> Iterator[Difference]:
    """Rounds that both have, side by side; `ends` are told of all rounds of their run."""
    for number, pair in enumerate(zip_longest(a.each(), b.each())):
        for one, end in zip(pair, ends, strict=True):
            if one is not None:
                end.add(one)
        x, y = pair
        if x is not None and y is not None:
            yield from _of_round(number, x.record, y.record)
            right = _right(x.predictions), _right(y.predictions)
            yield from _of_values("accuracy", number, "accuracy", "1", *right)


def _of_round(number: int, x: RoundRecord, y: RoundRecord) -> Iterator[Difference]:
    yield from _of_values("decision", number, "layer", "1", x.layer, y.layer)
    yield from _of_values("decision", number, "qos", "1", x.qos, y.qos)
    yield from _of_values("decision", number, "status", "", x.status, y.status)
    for kind, name, path in _ARRAYS:
        words = _unlike(attrgetter(path)(x), attrgetter(path)(y))
        if words:
            yield Difference(kind, number, name, words=words)
    yield from _of_selection(number, x, y)
    yield from _of_figures(number, x, y)


def _unlike(a: NDArray[Any], b: NDArray[Any]) -> str:
    """How many entries differ, NaN being equal to NaN; empty for equal arrays."""
    if a.shape != b.shape:
        return f"shape {a.shape} and {b.shape}"
    count = int(np.count_nonzero((a != b) & ((a == a) | (b == b))))
    return f"{count} of {a.size} entries differ" if count else ""


def _of_selection(number: int, a: RoundRecord, b: RoundRecord) -> Iterator[Difference]:
    """Tokens that go to other experts."""
    words = _unlike(a.selected, b.selected)
    if words and a.selected.shape == b.selected.shape:
        words = f"{int((a.selected != b.selected).any(axis=1).sum())} of {a.source.size} tokens go to other experts"
    if words:
        yield Difference("decision", number, "selected experts", words=words)


def _of_figures(number: int, a: RoundRecord, b: RoundRecord) -> Iterator[Difference]:
    """Energies and counts of one round, summed over nodes and links."""
    figures: tuple[tuple[Kind, str, Callable[[RoundRecord], dict[str, float]]], ...] = (
        ("blocks", "1", _counts),
        ("energy", "J", _energies),
        ("energy", "s", lambda r: {"air time": r.forward.air_time_s + r.back.air_time_s}),
    )
    for kind, unit, of in figures:
        x, y = of(a), of(b)
        for name in x:
            yield from _of_values(kind, number, name, unit, x[name], y[name])


def _counts(record: RoundRecord) -> dict[str, float]:
    counts: dict[str, float] = {name: int(getattr(record, name).sum()) for name in ("relaxed", "lost", "fallback")}
    for phase, traffic in (("forward", record.forward), ("back", record.back)):
        counts |= {f"{phase} {name}": _sum(traffic, name) for name in _COUNTS}
    return counts


def _sum(traffic: Traffic, name: str) -> int:
    return int(getattr(traffic, name).sum())


def _energies(record: RoundRecord) -> dict[str, float]:
    return {
        **_by_part("predicted", record.predicted),
        **_by_part("spent", record.spent),
        "bound": record.bound_j,
    }


def _by_part(word: str, energy: Energy) -> dict[str, float]:
    named = dict(zip(_PARTS, parts(energy).tolist(), strict=True))
    return {f"{word} {name}": joule for name, joule in named.items()} | {f"{word} total": energy.total_j()}


def _right(predictions: Predictions | None) -> float | None:
    """Share of right next bytes of one batch."""
    if predictions is None or not predictions.target.size:
        return None
    return float((predictions.predicted == predictions.target).mean())


def _of_ends(a: OpenRun, b: OpenRun, ends: tuple[_End, _End]) -> Iterator[Difference]:
    """The runs as a whole."""
    yield from _of_values("rounds", None, "status", "", a.manifest.status, b.manifest.status)
    yield from _of_values("rounds", None, "rounds", "1", a.count, b.count)
    x, y = (end.sums.as_closed(run.summary) for run, end in zip((a, b), ends, strict=True))
    for kind, name, unit in _TOTALS:
        yield from _of_values(kind, None, name, unit, _total(x, name), _total(y, name))
    shares = ends[0].accuracies(), ends[1].accuracies()
    for name in ("accuracy", "accuracy_central"):
        yield from _of_values("accuracy", None, name, "1", shares[0].get(name), shares[1].get(name))


def _total(totals: Totals, name: str) -> float:
    return float(getattr(totals, name))
