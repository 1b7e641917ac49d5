"""The rounds of a run as arrays, one after the other, from its record file, or from the journal while there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from testbed.errors import RecordError
from testbed.record.folder import RunFolder
from testbed.record.frame import Append, Frame, Message, Open
from testbed.record.journal import JournalReader, read_journal
from testbed.record.rows import RecordShape, Rows, check_rows, checksum
from testbed.record.schema import FORMAT, FORMAT_VERSION, RAGGED, VARIABLES, Variable

_OWN_ATTRIBUTES = {
    "Conventions", "format", "format_version", "nodes", "layers", "center_hz", "spacing_hz", "clock",
}  # fmt: skip
BLOCK_BYTES = 8 << 20
_HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError)


class NothingRecorded(RecordError):
    """The run was killed before its first round could be recorded."""


@dataclass(frozen=True, eq=False)
class Row:
    """One round as it is stored.

    Attributes:
        number: its place in the recording.
        values: variable → array.
        crc: (variables,) stored checksums.
        timing: its line of `timings.jsonl`; empty where that is not known.
    """

    number: int
    values: Rows
    crc: NDArray[np.uint32]
    timing: bytes = b""

    def damages(self) -> Iterator[str]:
        """Names of round and variable for each checksum that does not fit."""
        for v, stored in zip(VARIABLES, self.crc, strict=True):
            if checksum(self.number, v.name, self.values[v.name]) != stored:
                yield f"round {self.number}, {v.name}"


@dataclass(frozen=True, eq=False)
class Table:
    """The committed rounds of a run, read one after the other; only a few are in memory at a time.

    Attributes:
        shape: sizes and coordinates.
        count: rounds when it was opened; of a run that goes on, more may come.
        each: gives the first `count` rounds, from the beginning whenever it is called.
    """

    shape: RecordShape
    count: int
    each: Callable[[], Iterator[Row]]


@contextmanager
def open_table(folder: RunFolder) -> Iterator[Table]:
    """The committed rounds: of the journal as long as there is one, else of the closed record file.

    Raises:
        RecordError: it is missing, damaged, or of a version this program does not know; also while rows are read.
    """
    with ExitStack() as stack:
        yield _enter(stack, folder)


def _enter(stack: ExitStack, folder: RunFolder) -> Table:
    if folder.journal.exists():
        try:
            return stack.enter_context(open_journal(folder.journal))
        except RecordError:
            if folder.journal.exists():  # else the writer has just come to its end
                raise
    if not folder.record.exists() and not folder.timings.exists():
        raise NothingRecorded(f"{folder.path}: nothing is recorded; the run was killed before it began")
    return stack.enter_context(open_hdf5(folder.record))


def sound_rows(folder: RunFolder, table: Table) -> Iterator[Row]:
    """All rows, each checked.

    Raises:
        RecordError: damage; says which round and variable.
    """
    for row in table.each():
        damage = next(row.damages(), None)
        if damage is not None:
            raise RecordError(f"{folder.path}: damaged: {damage}; restore the recording from a copy")
        yield row


@contextmanager
def open_journal(path: Path) -> Iterator[Table]:
    """The rounds of a journal; a damaged one counts, and what follows it does not.

    Raises:
        RecordError: it cannot be read, or its first entry is damaged; while rows are read, that one is damaged.
    """
    with JournalReader(path) as reader:
        frame = reader.next()
        if frame is None:
            raise NothingRecorded(f"{path}: empty; the run was killed before it began")
        with _as_damage(path):
            shape = shape_of(frame.open()[0])
        count = _entries(reader)

        def each() -> Iterator[Row]:
            frames = read_journal(path)
            next(frames)
            for number, frame in enumerate(islice(frames, count)):
                with _as_damage(path, f"round {number}, "):
                    row = _row_of(number, frame)
                    check_rows(row.values, shape.sizes())
                yield row

        yield Table(shape, count, each)


def _entries(reader: JournalReader) -> int:
    count = 0
    try:
        while reader.skip():
            count += 1
    except RecordError:
        return count + 1
    return count


def _row_of(number: int, frame: Frame) -> Row:
    message, arrays = frame.open()
    if not isinstance(message, Append):
        raise ValueError(f"unexpected {type(message).__name__}")
    return Row(number, {v.name: arrays[v.name] for v in VARIABLES}, arrays["crc32"], message.timing)


@contextmanager
def _as_damage(path: Path, where: str = "") -> Iterator[None]:
    """Whatever is odd about bytes that were read is damage of the file."""
    try:
        yield
    except (ValueError, KeyError, TypeError, RecordError) as error:
        raise RecordError(f"{path}: damaged: {where}{error}; restore the file from a copy") from error


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


@contextmanager
def open_hdf5(path: Path) -> Iterator[Table]:
    """The rounds of a closed record file.

    Raises:
        RecordError: it is missing, damaged, or of a version this program does not know.
    """
    import h5py

    with ExitStack() as stack:
        with _hdf5_errors(path):
            file = stack.enter_context(h5py.File(path, "r", locking=False))
            _check_version(path, file.attrs)
            shape, count = _load_shape(path, file), int(file["committed"][()])
            _check_lengths(path, file, count)

        def each() -> Iterator[Row]:
            with _hdf5_errors(path):
                yield from _rows(file, count)

        yield Table(shape, count, each)


@contextmanager
def _hdf5_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except _HDF5_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        cut = ", or keep what is left of it with: testbed repair" if "truncated file" in reason else ""
        raise RecordError(f"{path}: cannot be read: {reason}; restore the file from a copy{cut}") from error


def _check_version(path: Path, attributes: Any) -> None:  # noqa: ANN401  h5py is untyped
    named, version = attributes.get("format"), attributes.get("format_version")
    if named != FORMAT or version != FORMAT_VERSION:
        raise RecordError(
            f"{path}: format {named!r} version {version}, this program reads {FORMAT!r} version "
            f"{FORMAT_VERSION}; use the version of the program that wrote it"
        )


def _check_lengths(path: Path, file: Any, committed: int) -> None:  # noqa: ANN401  h5py is untyped
    """Every variable holds what the counter and the counts say."""
    short = [v.name for v in VARIABLES if not v.ragged and len(file[v.name]) < committed]
    if not short and len(file["crc32"]) >= committed >= 0:
        totals = {dim: int(file[count][:committed].sum()) for dim, count in RAGGED.items()}
        short = [v.name for v in VARIABLES if v.ragged and len(file[v.name]) < totals[v.dims[0]]]
        if not short:
            return
    raise RecordError(f"{path}: damaged: {committed} rounds are counted, but {short or 'crc32'} holds less")


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


def _rows(file: Any, rounds: int) -> Iterator[Row]:  # noqa: ANN401  h5py is untyped
    """Row after row, read in blocks."""
    block = max(1, BLOCK_BYTES // max(1, sum(file[v.name].dtype.itemsize * _row_size(file, v) for v in VARIABLES)))
    passed = dict.fromkeys(RAGGED, 0)
    for begin in range(0, rounds, block):
        here = slice(begin, min(begin + block, rounds))
        ends = {dim: np.cumsum([0, *file[count][here]]).tolist() for dim, count in RAGGED.items()}
        of = {dim: slice(passed[dim], passed[dim] + ends[dim][-1]) for dim in RAGGED}
        columns = {v.name: file[v.name][of.get(v.dims[0], here)] for v in VARIABLES}
        for at, crc in enumerate(file["crc32"][here]):
            cut = {dim: slice(ends[dim][at], ends[dim][at + 1]) for dim in RAGGED}
            yield Row(begin + at, {v.name: columns[v.name][cut.get(v.dims[0], at)] for v in VARIABLES}, crc)
        passed = {dim: passed[dim] + ends[dim][-1] for dim in RAGGED}


def _row_size(file: Any, v: Variable) -> int:  # noqa: ANN401  h5py is untyped
    """Entries of a round, of ragged variables on average."""
    return int(file[v.name].size) // max(1, len(file["time"]))
