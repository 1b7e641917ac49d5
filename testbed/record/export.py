"""A run as a file of another program: NetCDF-4, MATLAB, NumPy or Parquet; its samples as a SigMF archive.

All formats but SigMF hold the same: every variable of `testbed.record.schema`, the coordinates and the attributes. Only
committed rounds are exported, of finished, interrupted and running runs alike. Rounds pass by one after the other;
MATLAB and NumPy files, which hold variables one after the other, are put together from columns on the disk.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from testbed.errors import RecordError
from testbed.record.columns import Columns, Rounds, as_json, attributes, coordinates, spooled
from testbed.record.export_parquet import write_parquet
from testbed.record.folder import RunFolder, read_manifest
from testbed.record.iq_export import export_iq
from testbed.record.rows import RecordShape
from testbed.record.schema import VARIABLES
from testbed.record.space import FLOOR_BYTES, require
from testbed.record.table import open_table, sound_rows

MAT_LIMIT_BYTES = 2**31
SIGMF = "sigmf"


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
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        with open_table(folder) as table:
            source = folder.journal if folder.journal.exists() else folder.record
            require(path.parent, FLOOR_BYTES + 2 * source.stat().st_size)
            rounds = sound_rows(folder, table)
            if to == "netcdf" and source == folder.record:
                deque(rounds, maxlen=0)  # checks them
                shutil.copyfile(source, part)
            else:
                write(part, table.shape, rounds)
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


def _write_netcdf(path: Path, shape: RecordShape, rounds: Rounds) -> None:
    """The file that the run would have left, had it come to its end."""
    from testbed.record.store import write_record

    write_record(path, shape, rounds)


def _write_npz(path: Path, shape: RecordShape, rounds: Rounds) -> None:
    """Arrays by name; `attributes` is a JSON object in one string."""
    described = np.array(as_json(attributes(shape)))
    with spooled(path, shape, rounds) as columns, path.open("wb") as file:
        np.savez(file, attributes=described, **coordinates(shape), **columns)  # type: ignore[arg-type]


def _write_mat(path: Path, shape: RecordShape, rounds: Rounds) -> None:
    """A struct for each group, e.g. `energy.spent_forward`; units and dimensions under `about`."""
    from scipy.io import savemat

    with spooled(path, shape, rounds) as columns, path.open("wb") as file:
        _check_sizes(columns)
        content: dict[str, Any] = _nested({**coordinates(shape), **columns})
        words = {v.name: {"units": v.units, "dimensions": ", ".join(v.dims), "meaning": v.meaning} for v in VARIABLES}
        content["about"] = _nested(words)
        content["attributes"] = {_mat_name(name): value for name, value in attributes(shape).items()}
        savemat(file, content, long_field_names=True, oned_as="column")


def _check_sizes(columns: Columns) -> None:
    for name, values in columns.items():
        if values.nbytes >= MAT_LIMIT_BYTES:
            raise RecordError(
                f"{name}: {values.nbytes / 1e9:.1f} GB, MATLAB 5 files hold less than 2.1 GB a variable; "
                "export to netcdf, which MATLAB reads with ncread"
            )


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


FORMATS: dict[str, tuple[str, Callable[[Path, RecordShape, Rounds], None]]] = {
    "netcdf": (".nc", _write_netcdf),
    "mat": (".mat", _write_mat),
    "npz": (".npz", _write_npz),
    "parquet": (".parquet", write_parquet),
}
