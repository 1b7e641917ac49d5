"""The rounds of a run as arrays, from the closed record file or from the journal of an unfinished one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from testbed.errors import RecordError
from testbed.record.folder import RunFolder
from testbed.record.journal import read_journal
from testbed.record.pipe import Message, Open
from testbed.record.rows import RecordShape, Rows, check_rows, checksum
from testbed.record.schema import FORMAT, FORMAT_VERSION, RAGGED, VARIABLES

_OWN_ATTRIBUTES = {
    "Conventions", "format", "format_version", "nodes", "layers", "center_hz", "spacing_hz", "clock",
}  # fmt: skip
_HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError)


@dataclass(frozen=True, eq=False)
class Table:
    """The committed rounds of a run, not yet checked.

    Attributes:
        shape: sizes and coordinates.
        rows: one set of arrays a round.
        crc: (rounds, variables) stored checksums.
    """

    shape: RecordShape
    rows: tuple[Rows, ...]
    crc: NDArray[np.uint32]


def read_table(folder: RunFolder) -> Table:
    """The committed rounds: of the journal as long as there is one, else of the closed record file.

    Raises:
        RecordError: it is missing, damaged, or of a version this program does not know.
    """
    if folder.journal.exists():
        try:
            return read_journal_table(folder.journal)
        except RecordError:
            if folder.journal.exists():  # else the writer has just come to its end
                raise
    return read_hdf5_table(folder.record)


def read_journal_table(path: Path) -> Table:
    """The rounds of a journal.

    Raises:
        RecordError: it cannot be read, or is damaged; says where.
    """
    frames = read_journal(path)
    try:
        opening, _ = next(frames).open()
        rounds = [arrays for _, arrays in (frame.open() for frame in frames)]
        shape = shape_of(opening)
        rows = tuple({v.name: arrays[v.name] for v in VARIABLES} for arrays in rounds)
        _check_shapes(rows, shape)
        crc = np.array([arrays["crc32"] for arrays in rounds], np.uint32).reshape(-1, len(VARIABLES))
    except StopIteration:
        raise RecordError(f"{path}: empty; the run was killed before it began") from None
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path}: damaged: {error}; restore the file from a copy") from error
    return Table(shape, rows, crc)


def _check_shapes(rows: tuple[Rows, ...], shape: RecordShape) -> None:
    for row, one in enumerate(rows):
        try:
            check_rows(one, shape.sizes())
        except RecordError as error:
            raise ValueError(f"round {row}, {error}") from error


def shape_of(opening: Message) -> RecordShape:
    """What the first frame of a recording says.

    Raises:
        ValueError: it is another frame, or of a version this program does not know.
    """
    if not isinstance(opening, Open) or opening.format_version != FORMAT_VERSION:
        version = getattr(opening, "format_version", None)
        raise ValueError(f"begins with {type(opening).__name__} of version {version}, expected {FORMAT_VERSION}")
    return RecordShape(
        nodes=opening.nodes,
        layers=opening.layers,
        frequency_hz=np.array(opening.frequency_hz),
        data_frequency_hz=np.array(opening.data_frequency_hz),
        center_hz=float("nan") if opening.center_hz is None else opening.center_hz,
        spacing_hz=opening.spacing_hz,
        clock=opening.clock,
        attributes=opening.attributes,
    )


def read_hdf5_table(path: Path) -> Table:
    """The rounds of a closed record file.

    Raises:
        RecordError: it is missing, damaged, or of a version this program does not know.
    """
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
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
        raise RecordError(f"{path}: damaged: {committed} rounds are counted, but {short or 'crc32'} holds less")
    return Table(_load_shape(path, file), tuple(_rows(columns, committed)), crc)


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
        attributes={k: getattr(v, "item", lambda v=v: v)() for k, v in own.items() if k not in _OWN_ATTRIBUTES},
    )


def _rows(columns: Rows, rounds: int) -> Iterator[Rows]:
    """Rows of one round after the other."""
    begin = dict.fromkeys(RAGGED, 0)
    for row in range(rounds):
        end = {dim: begin[dim] + int(columns[count][row]) for dim, count in RAGGED.items()}
        yield {
            v.name: columns[v.name][begin[v.dims[0]] : end[v.dims[0]]] if v.ragged else columns[v.name][row]
            for v in VARIABLES
        }
        begin = end


def damaged(table: Table) -> Iterator[str]:
    """Names of round and variable for each checksum that does not fit."""
    for row, (values, stored) in enumerate(zip(table.rows, table.crc, strict=True)):
        for v, value in zip(VARIABLES, stored, strict=True):
            if checksum(row, v.name, values[v.name]) != value:
                yield f"round {row}, {v.name}"
