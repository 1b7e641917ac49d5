"""Reading a run back: rounds as they were recorded, checked, from finished and interrupted runs alike."""

from __future__ import annotations

import contextlib
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
from testbed.record.table import Table, damaged, read_table


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


def read_run(path: Path) -> Run:
    """Everything that was recorded in a run folder; the run may be finished, interrupted or still going on.

    Raises:
        RecordError: no run, an unknown version, or damage; says which file, round and variable.
    """
    folder = RunFolder(Path(path))
    manifest = read_manifest(folder)
    table = read_table(folder)
    damage = next(damaged(table), None)
    if damage is not None:
        raise RecordError(f"{folder.path}: damaged: {damage}; restore the recording from a copy")
    seconds = read_timings(folder.timings)
    return Run(
        folder=folder,
        manifest=manifest,
        campaign=_read_text(folder.campaign),
        shape=table.shape,
        rounds=tuple(record_of(r, seconds.get(n, {})) for n, r in enumerate(table.rows)),
        time_s=np.array([float(r["time"]) for r in table.rows]),
        predictions=tuple(predictions_of(r) for r in table.rows),
        summary=read_summary(folder, manifest),
        unfinished=_unfinished(seconds, table),
    )


def _unfinished(seconds: dict[int, dict[str, float]], table: Table) -> int:
    """Rounds that have a timing, which is written first, and nothing else."""
    return max(0, max(seconds, default=-1) + 1 - len(table.rows))


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
        table = read_table(folder)
        found += [f"damaged: {words}" for words in damaged(table)]
        if missing := _unfinished(read_timings(folder.timings), table):
            found.append(f"{missing} round(s) were begun and are not in the record")
    except RecordError as error:
        found.append(str(error))
    return tuple(found)


def read_timings(path: Path) -> dict[int, dict[str, float]]:
    """Row → seconds by phase; a torn or missing line is left out."""
    found: dict[int, dict[str, float]] = {}
    with contextlib.suppress(OSError):
        for line in path.read_bytes().splitlines():
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                timing = msgspec.json.decode(line, type=_Timing)
                found[timing.row] = timing.seconds
    return found


class _Timing(msgspec.Struct, frozen=True):
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
