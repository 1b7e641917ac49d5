"""A run as a file of another program: NetCDF-4, MATLAB, NumPy or Parquet; its samples as a SigMF archive.

All formats but SigMF hold the same: every variable of `testbed.record.schema`, the coordinates and the attributes. Only
committed rounds are exported, of finished, interrupted and running runs alike.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from testbed.errors import RecordError
from testbed.record.folder import RunFolder, read_manifest
from testbed.record.iq_export import export_iq
from testbed.record.rows import RecordShape
from testbed.record.schema import FORMAT, FORMAT_VERSION, VARIABLES, Variable
from testbed.record.space import FLOOR_BYTES, require
from testbed.record.table import Table, damaged, read_table

MAT_LIMIT_BYTES = 2**31
SIGMF = "sigmf"
Columns = dict[str, NDArray[Any]]


def export(run: Path, to: str, out: Path | None = None) -> Path:
    """Write the rounds of a run to one file.

    Args:
        run: the run folder.
        to: "netcdf" (`.nc`), "mat" (`.mat`, MATLAB 5), "npz", "parquet" (one row a round) or
            "sigmf" (`.sigmf`, the recorded samples).
        out: the file, or a folder for `<run>.<suffix>`; unset = beside the run folder. An existing file is kept.

    Returns:
        The file.

    Raises:
        RecordError: no run, a damaged one, an unknown format, a file that exists or cannot be written, or a package
            that is not installed.
    """
    if to not in (*FORMATS, SIGMF):
        raise RecordError(f"export to {to!r}: not one of {', '.join((*FORMATS, SIGMF))}")
    folder = RunFolder(Path(run).resolve())
    read_manifest(folder)
    if to == SIGMF:
        return export_iq(folder, _target(folder, Path(out) if out else folder.path.parent, ".sigmf"))
    suffix, write = FORMATS[to]
    path = _target(folder, Path(out) if out else folder.path.parent, suffix)
    table = _sound(folder)
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        require(path.parent, FLOOR_BYTES + 2 * sum(a.nbytes for row in table.rows for a in row.values()))
        if to == "netcdf" and not folder.journal.exists():
            shutil.copyfile(folder.record, part)
        else:
            write(part, table)
        os.replace(part, path)
    except (OSError, RuntimeError) as error:
        raise RecordError(f"{path}: cannot be written: {error}; choose another file with --out") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return path


def _target(folder: RunFolder, out: Path, suffix: str) -> Path:
    path = out / f"{folder.run_id}{suffix}" if out.is_dir() else out
    if path.exists():
        raise RecordError(f"{path}: exists; remove it or choose another file with --out")
    if not path.parent.is_dir():
        raise RecordError(f"{path}: there is no folder {path.parent}; make it or choose another file with --out")
    return path


def _sound(folder: RunFolder) -> Table:
    table = read_table(folder)
    damage = next(damaged(table), None)
    if damage is not None:
        raise RecordError(f"{folder.path}: damaged: {damage}; restore the recording from a copy")
    return table


def columns(table: Table) -> Columns:
    """Variable → its entries of all rounds: (rounds, …), or (entries, …) where ragged."""
    return {v.name: _column(v, [row[v.name] for row in table.rows], table.shape) for v in VARIABLES}


def _column(v: Variable, rows: list[NDArray[Any]], shape: RecordShape) -> NDArray[Any]:
    empty = np.zeros((0, *(shape.sizes()[d] for d in v.dims[1:])), v.dtype)
    joined = np.concatenate([empty, *rows]) if v.ragged else np.stack(rows) if rows else empty
    return joined.astype(v.dtype, copy=False)


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


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _write_netcdf(path: Path, table: Table) -> None:
    """The file that the run would have left, had it come to its end."""
    from testbed.record.store import Store

    store = Store(path, table.shape)
    for rows, crc in zip(table.rows, table.crc, strict=True):
        store.append(rows, crc)
    store.close()


def _write_npz(path: Path, table: Table) -> None:
    """Arrays by name; `attributes` is a JSON object in one string."""
    described = np.array(_json(attributes(table.shape)))
    with path.open("wb") as file:
        np.savez_compressed(file, attributes=described, **coordinates(table.shape), **columns(table))  # type: ignore[arg-type]


def _write_mat(path: Path, table: Table) -> None:
    """A struct for each group, e.g. `energy.spent_forward`; units and dimensions under `about`."""
    from scipy.io import savemat

    found = columns(table)
    for name, values in found.items():
        if values.nbytes >= MAT_LIMIT_BYTES:
            raise RecordError(
                f"{name}: {values.nbytes / 1e9:.1f} GB, MATLAB 5 files hold less than 2.1 GB a variable; "
                "export to netcdf, which MATLAB reads with ncread"
            )
    content: dict[str, Any] = _nested({**coordinates(table.shape), **found})
    words = {v.name: {"units": v.units, "dimensions": ", ".join(v.dims), "meaning": v.meaning} for v in VARIABLES}
    content["about"] = _nested(words)
    content["attributes"] = {_mat_name(name): value for name, value in attributes(table.shape).items()}
    with path.open("wb") as file:
        savemat(file, content, long_field_names=True, do_compression=True, oned_as="column")


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, values in flat.items():
        group, _, leaf = name.rpartition("/")
        (tree.setdefault(group, {}) if group else tree)[leaf] = values
    return tree


def _mat_name(name: str) -> str:
    """Letters, digits and underscores, beginning with a letter; 63 at most."""
    plain = "".join(sign if sign.isascii() and sign.isalnum() else "_" for sign in name)[:60]
    return plain if plain[:1].isalpha() else f"x_{plain}"


def _write_parquet(path: Path, table: Table) -> None:
    """A row a round; arrays as lists in C order, complex ones as two columns, `…_re` and `…_im`."""
    arrow, parquet = _arrow("pyarrow"), _arrow("pyarrow.parquet")
    fields, arrays = [], []
    for v in VARIABLES:
        for name, rows in _parts(v, [row[v.name] for row in table.rows]).items():
            array = _arrow_column(arrow, v, rows)
            about = {"units": v.units, "dimensions": ", ".join(v.dims), "meaning": v.meaning}
            fields.append(arrow.field(name, array.type, metadata=about))
            arrays.append(array)
    axes = {name: values.tolist() for name, values in coordinates(table.shape).items()}
    about = {"attributes": _json(attributes(table.shape)), "coordinates": _json(axes)}
    parquet.write_table(arrow.Table.from_arrays(arrays, schema=arrow.schema(fields, metadata=about)), path)


def _arrow(name: str) -> Any:  # noqa: ANN401  a package that need not be there
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RecordError("export to parquet needs pyarrow; install it with: pip install pyarrow") from error


def _parts(v: Variable, rows: list[NDArray[Any]]) -> dict[str, list[NDArray[Any]]]:
    """Real columns: Parquet has no complex numbers."""
    if v.dtype == "c8":
        return {f"{v.name}_re": [row.real for row in rows], f"{v.name}_im": [row.imag for row in rows]}
    return {v.name: [row.astype(v.dtype, copy=False) for row in rows]}


def _arrow_column(arrow: Any, v: Variable, rows: list[NDArray[Any]]) -> Any:  # noqa: ANN401  pyarrow is untyped
    dtype = "f4" if v.dtype == "c8" else v.dtype
    flat = np.concatenate([np.zeros(0, dtype), *(row.reshape(-1) for row in rows)])
    if v.dims == ("time",):
        return arrow.array(flat)
    ends = np.cumsum([0, *(row.size for row in rows)])
    return arrow.LargeListArray.from_arrays(arrow.array(ends, arrow.int64()), arrow.array(flat))


FORMATS: dict[str, tuple[str, Callable[[Path, Table], None]]] = {
    "netcdf": (".nc", _write_netcdf),
    "mat": (".mat", _write_mat),
    "npz": (".npz", _write_npz),
    "parquet": (".parquet", _write_parquet),
}
