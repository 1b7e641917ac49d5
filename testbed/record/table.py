"""The record file of a run as arrays: opened whatever became of its writer, and checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from testbed.errors import RecordError
from testbed.record.recover import Recovered, superblock, was_closed
from testbed.record.rows import RecordShape, Rows, checksum
from testbed.record.schema import FORMAT, FORMAT_VERSION, RAGGED, VARIABLES

_OWN_ATTRIBUTES = {
    "Conventions", "format", "format_version", "nodes", "layers", "center_hz", "spacing_hz", "clock",
}  # fmt: skip
_HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError)


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


def read_table(path: Path, live: bool) -> Table:
    """The committed rounds of a record file.

    Args:
        path: the file.
        live: whether a writer is at work on it.

    Raises:
        RecordError: it is missing, damaged, or of a version this program does not know.
    """
    try:
        with _opened(path, live) as file:
            _check_version(path, file.attrs)
            return _load(path, file)
    except _HDF5_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RecordError(f"{path}: cannot be read: {reason}; restore the file from a copy") from error


@contextmanager
def _opened(path: Path, live: bool) -> Iterator[Any]:
    """The HDF5 file: beside its writer, as it was closed, or as a killed writer left it."""
    import h5py

    if live:
        with h5py.File(path, "r", swmr=True, locking=False) as file:
            yield file
    elif was_closed(superblock(path)):
        with h5py.File(path, "r", locking=False) as file:
            yield file
    else:
        with Recovered(path) as found, h5py.File(found, "r") as file:
            yield file


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
        attributes={k: getattr(v, "item", lambda v=v: v)() for k, v in own.items() if k not in _OWN_ATTRIBUTES},
    )


def rounds_of(table: Table) -> Iterator[Rows]:
    """Rows of one round after the other."""
    begin = dict.fromkeys(RAGGED, 0)
    for row in range(len(table.crc)):
        end = {dim: begin[dim] + int(table.columns[count][row]) for dim, count in RAGGED.items()}
        yield {
            v.name: table.columns[v.name][begin[v.dims[0]] : end[v.dims[0]]] if v.ragged else table.columns[v.name][row]
            for v in VARIABLES
        }
        begin = end


def damaged(rows: list[Rows], crc: NDArray[np.uint32]) -> Iterator[str]:
    """Names of round and variable for each checksum that does not fit."""
    for row, (values, stored) in enumerate(zip(rows, crc, strict=True)):
        for v, value in zip(VARIABLES, stored, strict=True):
            if checksum(row, v.name, values[v.name]) != value:
                yield f"round {row}, {v.name}"
