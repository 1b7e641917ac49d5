"""Reading a run back: rounds as they were recorded, checked, from finished and interrupted runs alike."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
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
from testbed.record.rows import Predictions, RecordShape, Rows, checksum, predictions_of, record_of
from testbed.record.schema import FORMAT, FORMAT_VERSION, RAGGED, VARIABLES

_OWN_ATTRIBUTES = {
    "Conventions", "format", "format_version", "nodes", "layers", "center_hz", "spacing_hz", "clock",
}  # fmt: skip
_HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError)


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
    """

    folder: RunFolder
    manifest: Manifest
    campaign: str
    shape: RecordShape
    rounds: tuple[RoundRecord, ...]
    time_s: NDArray[np.float64]
    predictions: tuple[Predictions | None, ...]
    summary: Summary | None


@dataclass(frozen=True, eq=False)
class Table:
    """The committed part of a record file, not yet checked.

    Attributes:
        shape: sizes and coordinates.
        columns: variable name → all its entries, in the order of rounds.
        crc: (rounds, variables) stored checksums.
    """

    shape: RecordShape
    columns: Rows
    crc: NDArray[np.uint32]


def read_run(path: Path) -> Run:
    """Everything that was recorded in a run folder; the run may be finished, interrupted or still going on.

    Raises:
        RecordError: no run, an unknown version, or damage; says which file, round and variable.
    """
    folder = RunFolder(Path(path))
    manifest = read_manifest(folder)
    table = read_table(folder.record)
    rows = list(rounds_of(table))
    damage = list(damaged(rows, table.crc))
    if damage:
        raise RecordError(f"{folder.record}: damaged: {damage[0]}; restore the file from a copy")
    seconds = read_timings(folder.timings)
    return Run(
        folder=folder,
        manifest=manifest,
        campaign=_read_text(folder.campaign),
        shape=table.shape,
        rounds=tuple(record_of(r, seconds.get(n, {})) for n, r in enumerate(rows)),
        time_s=np.array([float(r["time"]) for r in rows]),
        predictions=tuple(predictions_of(r) for r in rows),
        summary=read_summary(folder, manifest),
    )


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
        table = read_table(folder.record)
        found += [f"record.h5: {words}" for words in damaged(list(rounds_of(table)), table.crc)]
    except RecordError as error:
        found.append(str(error))
    return tuple(found)


def read_table(path: Path) -> Table:
    """The committed rounds of a record file.

    Raises:
        RecordError: it is missing, damaged, or of a version this program does not know.
    """
    import h5py

    try:
        with h5py.File(path, "r", swmr=True, locking=False) as file:
            _check_version(path, file.attrs)
            return _load(path, file)
    except _HDF5_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RecordError(f"{path}: cannot be read: {reason}; restore the file from a copy") from error


def _check_version(path: Path, attributes: Any) -> None:  # noqa: ANN401  h5py is untyped
    named, version = attributes.get("format"), attributes.get("format_version")
    if named != FORMAT or version != FORMAT_VERSION:
        raise RecordError(
            f"{path}: format {named!r} version {version}, this program reads {FORMAT!r} version "
            f"{FORMAT_VERSION}; use the version of the program that wrote it"
        )


def _load(path: Path, file: Any) -> Table:  # noqa: ANN401  h5py is untyped
    committed = int(file["committed"][()])
    crc = file["crc32"][:committed]
    columns: Rows = {}
    for v in (v for v in VARIABLES if not v.ragged):
        columns[v.name] = file[v.name][:committed]
    totals = {dim: int(columns[count].sum()) for dim, count in RAGGED.items()}
    for v in (v for v in VARIABLES if v.ragged):
        columns[v.name] = file[v.name][: totals[v.dims[0]]]
    lengths = {"time": committed, **totals}
    short = [v.name for v in VARIABLES if len(columns[v.name]) != lengths[v.dims[0]]]
    if short or len(crc) != committed:
        raise RecordError(
            f"{path}: damaged: {committed} rounds are counted, but {short or 'crc32'} holds less"
        )
    return Table(_load_shape(path, file), columns, crc)


def _load_shape(path: Path, file: Any) -> RecordShape:  # noqa: ANN401  h5py is untyped
    for name in ("node", "link_from", "link_to", "subcarrier", "data_subcarrier"):
        if checksum(0, name, file[name][()]) != file[name].attrs["crc32"]:
            raise RecordError(f"{path}: damaged: coordinate {name}; restore the file from a copy")
    own = file.attrs
    return RecordShape(
        nodes=int(own["nodes"]),
        layers=int(own["layers"]),
        frequency_hz=file["subcarrier"][()],
        data_frequency_hz=file["data_subcarrier"][()],
        center_hz=float(own["center_hz"]),
        spacing_hz=float(own["spacing_hz"]),
        clock=str(own["clock"]),
        attributes={
            k: getattr(v, "item", lambda v=v: v)() for k, v in own.items() if k not in _OWN_ATTRIBUTES
        },
    )


def rounds_of(table: Table) -> Iterator[Rows]:
    """Rows of one round after the other."""
    begin = dict.fromkeys(RAGGED, 0)
    for row in range(len(table.crc)):
        end = {dim: begin[dim] + int(table.columns[count][row]) for dim, count in RAGGED.items()}
        yield {
            v.name: table.columns[v.name][begin[v.dims[0]] : end[v.dims[0]]]
            if v.ragged
            else table.columns[v.name][row]
            for v in VARIABLES
        }
        begin = end


def damaged(rows: list[Rows], crc: NDArray[np.uint32]) -> Iterator[str]:
    """Names of round and variable for each checksum that does not fit."""
    for row, (values, stored) in enumerate(zip(rows, crc, strict=True)):
        for v, value in zip(VARIABLES, stored, strict=True):
            if checksum(row, v.name, values[v.name]) != value:
                yield f"round {row}, {v.name}"


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
