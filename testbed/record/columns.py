"""A recording turned from rounds into columns, one array a variable; on the disk, since it may be large."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from testbed.record.frame import octets
from testbed.record.rows import RecordShape
from testbed.record.schema import FORMAT, FORMAT_VERSION, VARIABLES, Variable
from testbed.record.table import Row

Columns = dict[str, NDArray[Any]]
Rounds = Iterable[Row]


@contextmanager
def spooled(beside: Path, shape: RecordShape, rounds: Rounds) -> Iterator[Columns]:
    """Variable → its entries of all rounds: (rounds, …), or (entries, …) where ragged; maps of temporary files.

    Args:
        beside: the files lie in a folder beside this one, which is removed afterwards.
        shape: sizes of the recording.
        rounds: its rounds.

    Raises:
        OSError: they cannot be written.
    """
    folder = beside.with_name(f"{beside.name}.columns")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        _spool(folder, rounds)
        yield {v.name: _mapped(folder, v, shape) for v in VARIABLES}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _spool(folder: Path, rounds: Rounds) -> None:
    with ExitStack() as stack:
        files = {v: stack.enter_context(_file(folder, v).open("wb")) for v in VARIABLES}
        for row in rounds:
            for v, file in files.items():
                file.write(octets(row.values[v.name].astype(v.dtype, copy=False)))


def _file(folder: Path, v: Variable) -> Path:
    return folder / v.name.replace("/", ".")


def _mapped(folder: Path, v: Variable, shape: RecordShape) -> NDArray[Any]:
    path, tail = _file(folder, v), tuple(shape.sizes()[d] for d in v.dims[1:])
    if not path.stat().st_size:
        return np.zeros((0, *tail), v.dtype)
    return np.memmap(path, v.dtype, "r").reshape(-1, *tail)


def coordinates(shape: RecordShape) -> Columns:
    """The axes that do not grow."""
    nodes = np.arange(shape.nodes)
    return {
        "node": nodes,
        "link_from": nodes,
        "link_to": nodes,
        "subcarrier": shape.frequency_hz,
        "data_subcarrier": shape.data_frequency_hz,
    }


def attributes(shape: RecordShape) -> dict[str, str | int | float]:
    """Attributes of the whole recording."""
    return {
        **shape.described(),
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "nodes": shape.nodes,
        "layers": shape.layers,
        "center_hz": shape.center_hz,
        "spacing_hz": shape.spacing_hz,
        "clock": shape.clock,
    }


def as_json(value: object) -> str:
    """JSON in a string."""
    return msgspec.json.encode(value).decode()
