"""A run as a Parquet file: a row a round, written in groups of rows."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from testbed.errors import RecordError
from testbed.record.columns import Rounds, as_json, attributes, coordinates
from testbed.record.rows import RecordShape, Rows
from testbed.record.schema import VARIABLES, Variable

GROUP_BYTES = 16 << 20


def write_parquet(path: Path, shape: RecordShape, rounds: Rounds) -> None:
    """Arrays are lists in C order, complex ones two columns, `…_re` and `…_im`.

    Raises:
        RecordError: pyarrow is not installed.
        OSError: the file cannot be written.
    """
    arrow, parquet = _arrow("pyarrow"), _arrow("pyarrow.parquet")
    schema = _schema(arrow, shape)
    with parquet.ParquetWriter(path, schema) as file:
        for group in _groups(rounds):
            file.write_table(arrow.Table.from_arrays(_arrays(arrow, group), schema=schema))


def _arrow(name: str) -> Any:  # noqa: ANN401  a package that need not be there
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RecordError("export to parquet needs pyarrow; install it with: pip install pyarrow") from error


def _groups(rounds: Rounds) -> Iterator[list[Rows]]:
    """Rounds in groups of about `GROUP_BYTES`."""
    group: list[Rows] = []
    size = 0
    for row in rounds:
        group.append(row.values)
        size += sum(values.nbytes for values in row.values.values())
        if size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _schema(arrow: Any, shape: RecordShape) -> Any:  # noqa: ANN401  pyarrow is untyped
    fields = []
    for v in VARIABLES:
        about = {"units": v.units, "dimensions": ", ".join(v.dims), "meaning": v.meaning}
        for name, values in _parts(v, np.zeros(0, v.stored_dtype)).items():
            kind = arrow.from_numpy_dtype(values.dtype)
            fields.append(arrow.field(name, kind if _plain(v) else arrow.large_list(kind), metadata=about))
    axes = {name: values.tolist() for name, values in coordinates(shape).items()}
    about = {"attributes": as_json(attributes(shape)), "coordinates": as_json(axes)}
    return arrow.schema(fields, metadata=about)


def _plain(v: Variable) -> bool:
    """One number a round."""
    return v.dims == ("time",)


def _parts(v: Variable, values: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Real columns: Parquet has no complex numbers."""
    if v.dtype == "c8":
        return {f"{v.name}_re": values.real, f"{v.name}_im": values.imag}
    return {v.name: values.astype(v.dtype, copy=False)}


def _arrays(arrow: Any, group: list[Rows]) -> list[Any]:  # noqa: ANN401  pyarrow is untyped
    arrays = []
    for v in VARIABLES:
        rows = [_parts(v, rows[v.name]) for rows in group]
        for name in rows[0]:
            flat = arrow.array(np.concatenate([row[name].reshape(-1) for row in rows]))
            ends = np.cumsum([0, *(row[name].size for row in rows)])
            arrays.append(flat if _plain(v) else arrow.LargeListArray.from_arrays(arrow.array(ends), flat))
    return arrays
