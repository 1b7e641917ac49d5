"""Reading a run back: rounds as they were recorded, checked, from finished and interrupted runs alike."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from testbed.errors import RecordError
from testbed.outcome import RoundRecord, Summary
from testbed.record.digest import digest, read_digests
from testbed.record.folder import Manifest, RunFolder, read_manifest
from testbed.record.rows import Predictions, RecordShape, predictions_of, record_of
from testbed.record.table import open_table, sound_rows


@dataclass(frozen=True, eq=False)
class Run:
    """A recorded run.

    Attributes:
        folder: where it lies.
        manifest: what was run, and how it ended.
        campaign: the campaign as it was run, TOML.
        shape: sizes and coordinates.
        rounds: all committed rounds; `seconds` is empty where the timing was lost.
        time_s: (rounds,) when each began, by the clock named in `shape`.
        predictions: beside each round, how its tokens ended; None except after a last layer.
        summary: closing figures, None for a run that did not come to its end.
        unfinished: rounds that were begun and are not there: one at most where a process was killed, more where
            the recording was cut off.
    """

    folder: RunFolder
    manifest: Manifest
    campaign: str
    shape: RecordShape
    rounds: tuple[RoundRecord, ...]
    time_s: NDArray[np.float64]
    predictions: tuple[Predictions | None, ...]
    summary: Summary | None
    unfinished: int = 0


@dataclass(frozen=True, eq=False)
class Round:
    """One recorded round.

    Attributes:
        record: as it was recorded; `seconds` is empty where the timing was lost.
        time_s: when it began, by the clock named in the shape.
        predictions: how its tokens ended; None except after a last layer.
    """

    record: RoundRecord
    time_s: float
    predictions: Predictions | None


@dataclass(frozen=True, eq=False)
class OpenRun:
    """A recorded run whose rounds are read one after the other; for the rest see `Run`.

    Attributes:
        count: rounds that are there.
        each: gives them, checked, from the beginning whenever it is called; raises RecordError at damage.
    """

    folder: RunFolder
    manifest: Manifest
    campaign: str
    shape: RecordShape
    summary: Summary | None
    count: int
    unfinished: int
    each: Callable[[], Iterator[Round]]


@contextmanager
def open_run(path: Path) -> Iterator[OpenRun]:
    """A run folder to be read a round at a time; the run may be finished, interrupted or still going on.

    Raises:
        RecordError: no run, an unknown version, or damage; says which file, round and variable.
    """
    folder = RunFolder(Path(path))
    manifest = read_manifest(folder)
    with open_table(folder) as table:
        seconds = read_timings(folder.timings)

        def each() -> Iterator[Round]:
            for row in sound_rows(folder, table):
                record = record_of(row.values, seconds.get(row.number, {}))
                yield Round(record, float(row.values["time"]), predictions_of(row.values))

        yield OpenRun(
            folder=folder,
            manifest=manifest,
            campaign=_read_text(folder.campaign),
            shape=table.shape,
            summary=read_summary(folder, manifest),
            count=table.count,
            unfinished=_unfinished(seconds, table.count),
            each=each,
        )


def empty_run(folder: RunFolder) -> OpenRun:
    """A run of which nothing was recorded but what it was to be.

    Raises:
        RecordError: that is damaged.
    """
    shape = RecordShape(0, 0, np.zeros(0), np.zeros(0), float("nan"), float("nan"))
    manifest, campaign = read_manifest(folder), _read_text(folder.campaign)
    return OpenRun(folder, manifest, campaign, shape, None, 0, 0, lambda: iter(()))


def read_run(path: Path) -> Run:
    """Everything that was recorded in a run folder, at once.

    Raises:
        RecordError: no run, an unknown version, or damage; says which file, round and variable.
    """
    with open_run(path) as run:
        rounds = list(run.each())
        return Run(
            folder=run.folder,
            manifest=run.manifest,
            campaign=run.campaign,
            shape=run.shape,
            rounds=tuple(one.record for one in rounds),
            time_s=np.array([one.time_s for one in rounds]),
            predictions=tuple(one.predictions for one in rounds),
            summary=run.summary,
            unfinished=run.unfinished,
        )


def _unfinished(seconds: dict[int, dict[str, float]], rounds: int) -> int:
    """Rounds that have a timing, which is written first, and nothing else."""
    return max(0, max(seconds, default=-1) + 1 - rounds)


def verify(path: Path) -> tuple[str, ...]:
    """Everything that is wrong with a run folder, one sentence each; empty for a sound one.

    Raises:
        RecordError: there is no run to verify.
    """
    folder = RunFolder(Path(path))
    manifest = read_manifest(folder)
    found = []
    sums = read_digests(folder)
    if manifest.status == "complete" and not sums:
        found.append(f"{folder.checksums.name}: missing or empty")
    for name, value in sums.items():
        if not (folder.path / name).exists():
            found.append(f"{name}: missing")
        elif digest(folder.path / name) != value:
            found.append(f"{name}: differs from its checksum")
    try:
        found += _damages(folder)
    except RecordError as error:
        found.append(str(error))
    return tuple(found)


def _damages(folder: RunFolder) -> Iterator[str]:
    """What is wrong with the rounds themselves."""
    lines = _timing_lines(folder.timings)
    with open_table(folder) as table:
        for row in table.each():
            yield from (f"damaged: {words}" for words in row.damages())
            if row.timing and row.timing.rstrip() not in lines:
                yield f"{folder.timings.name}: the timing of round {row.number} is missing or damaged"
        seconds = read_timings(folder.timings)
        if missing := _unfinished(seconds, table.count):
            yield f"{missing} round(s) were begun and are not in the record"


def read_timings(path: Path) -> dict[int, dict[str, float]]:
    """Row → seconds by phase; a torn or missing line is left out."""
    found: dict[int, dict[str, float]] = {}
    for line in _timing_lines(path):
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            timing = msgspec.json.decode(line, type=Timing)
            found[timing.row] = timing.seconds
    return found


def _timing_lines(path: Path) -> dict[bytes, None]:
    """The lines of a file in their order; none where it is missing."""
    try:
        return dict.fromkeys(path.read_bytes().splitlines())
    except OSError:
        return {}


class Timing(msgspec.Struct, frozen=True):
    """A line of `timings.jsonl`: place of the round in the recording, and seconds by phase."""

    row: int
    seconds: dict[str, float]


def read_summary(folder: RunFolder, manifest: Manifest) -> Summary | None:
    """Closing figures; None where the run did not come to its end.

    Raises:
        RecordError: they are damaged.
    """
    if not folder.summary.exists():
        return None
    try:
        figures = msgspec.json.decode(folder.summary.read_bytes(), type=dict[str, Any])
        own = {"run_dir": str(folder.path), "seconds": manifest.seconds or 0.0}
        return msgspec.convert(figures | own, Summary)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"{folder.summary}: damaged: {error}; restore it from a copy") from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: cannot be read: {error}; restore it from a copy") from error
