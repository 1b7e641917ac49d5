"""The HDF5 file of a run: created once, one round appended at a time, a counter written last.

NetCDF-4 conventions (dimension scales), HDF5 1.10 file format, single writer / multiple readers (SWMR), no
compression, no time stamps: two runs with equal rounds give equal bytes. Only the writer process comes
here, because HDF5 may crash a process whose disk is full.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from testbed.record.columns import attributes
from testbed.record.hdf5_bytes import forget_times
from testbed.record.rows import RecordShape, Rows, checksum
from testbed.record.schema import RAGGED, VARIABLES, Variable
from testbed.record.table import Row

CHUNK_BYTES = 4096
RAGGED_CHUNK = 512
LIBVER = ("v110", "v110")
COMPLEX = "_PFNC_FLOAT_COMPLEX_TYPE"
NO_COORDINATE = "This is a netCDF dimension but not a netCDF variable."


class Store:
    """An open record. Not for use by two processes at once."""

    def __init__(self, path: Path, shape: RecordShape) -> None:
        _create_file(path, shape)
        # Anew, because SWMR does not begin in a file whose named types are in use.
        self._file = h5py.File(path, "r+", libver=LIBVER, locking=False)
        self._file.swmr_mode = True
        self._data = {v.name: self._file[v.name] for v in VARIABLES}
        self._scales = {dim: self._file[dim] for dim in RAGGED}
        self._crc = self._file["crc32"]
        self._counter = self._file["committed"]
        self._lengths = dict.fromkeys(RAGGED, 0)
        self.committed = 0

    def append(self, rows: Rows, crc: NDArray[np.uint32]) -> None:
        """Write one round, then count it.

        Raises:
            OSError, RuntimeError, ValueError: HDF5 could not write; the file must not be touched again.
        """
        row = self.committed
        for v in VARIABLES:
            if v.ragged:
                _write_rows(self._data[v.name], self._lengths[v.dims[0]], rows[v.name])
            else:
                _write_rows(self._data[v.name], row, rows[v.name][None])
        _write_rows(self._crc, row, crc[None])
        for dim, count in RAGGED.items():
            self._lengths[dim] += int(rows[count])
            self._scales[dim].id.set_extent((self._lengths[dim],))
        self._file.flush()
        self.committed = row + 1
        self._counter[()] = self.committed
        self._counter.flush()

    def close(self) -> None:
        """Finish the file; it opens anywhere from now on."""
        self._file.close()


def write_record(path: Path, shape: RecordShape, rows: Iterable[Row]) -> None:
    """A closed record file with these rounds.

    Raises:
        OSError, RuntimeError: it could not be written.
    """
    store = Store(path, shape)
    for row in rows:
        store.append(row.values, row.crc)
    store.close()


def _write_rows(dataset: h5py.Dataset, begin: int, values: NDArray[Any]) -> None:
    """Grow to `begin` + rows and write them; the low-level calls take a fifth of `dataset[…] = values`."""
    end = begin + values.shape[0]
    dataset.id.set_extent((end, *values.shape[1:]))
    if not values.size:
        return
    space = dataset.id.get_space()
    space.select_hyperslab((begin, *(0,) * (values.ndim - 1)), values.shape)
    dataset.id.write(h5py.h5s.create_simple(values.shape), space, np.ascontiguousarray(values))


def _create_file(path: Path, shape: RecordShape) -> None:
    """All datasets, empty. HDF5's locks would keep readers out; the run folder has its own."""
    with h5py.File(path, "w-", libver=LIBVER, locking=False) as file:
        file[COMPLEX] = np.dtype("c8")  # netCDF reads compounds of named types only
        _describe(file, shape)
        _create_coordinates(file, shape)
        for v in VARIABLES:
            _create(file, v, shape.sizes())
        for dim in RAGGED:
            _create_scale(file, dim)
        _create_checksums(file)
        counter = file.create_dataset("committed", data=np.int64(0), track_times=False)
        counter.attrs["long_name"] = "rounds that are complete; entries beyond them do not count"
        _attach(file)
        named_type = h5py.h5o.get_info(file[COMPLEX].id).addr
    forget_times(path, named_type)


def _describe(file: h5py.File, shape: RecordShape) -> None:
    """Attributes of the whole file; the caller's own come last and cannot replace the format's."""
    for name, value in (attributes(shape) | {"Conventions": "CF-1.11"}).items():
        file.attrs[name] = value


def _create_coordinates(file: h5py.File, shape: RecordShape) -> None:
    index = np.arange(shape.nodes)
    coordinates = {
        "node": (index, "1", "node, and the expert it holds"),
        "link_from": (index, "1", "transmitting node"),
        "link_to": (index, "1", "receiving node"),
        "subcarrier": (np.asarray(shape.frequency_hz, float), "Hz", "offset from the carrier"),
        "data_subcarrier": (np.asarray(shape.data_frequency_hz, float), "Hz", "offset from the carrier"),
    }
    for name, (values, units, meaning) in coordinates.items():
        dataset = file.create_dataset(name, data=values, track_times=False)
        dataset.attrs.update(units=units, long_name=meaning, crc32=checksum(0, name, values))
        dataset.make_scale(name)


def _create(file: h5py.File, v: Variable, sizes: dict[str, int]) -> None:
    tail = tuple(sizes[d] for d in v.dims[1:])
    row_bytes = np.dtype(v.stored_dtype).itemsize * int(np.prod(tail, dtype=np.int64))
    rows = RAGGED_CHUNK if v.ragged else max(1, CHUNK_BYTES // max(1, row_bytes))
    stored = file[COMPLEX] if v.stored_dtype == "c8" else v.stored_dtype
    dataset = file.create_dataset(
        v.name, (0, *tail), stored, chunks=(rows, *tail), maxshape=(None, *tail), track_times=False
    )
    dataset.attrs.update(units=v.units, long_name=v.meaning)
    if v.dtype == "bool":
        dataset.attrs["dtype"] = "bool"
    if v.name in RAGGED.values():
        dataset.attrs["sample_dimension"] = next(d for d, count in RAGGED.items() if count == v.name)


def _create_scale(file: h5py.File, dim: str) -> None:
    dataset = file.create_dataset(dim, (0,), ">f4", chunks=(RAGGED_CHUNK,), maxshape=(None,), track_times=False)
    dataset.make_scale(f"{NO_COORDINATE}{0:10d}")


def _create_checksums(file: h5py.File) -> None:
    names = np.array([v.name.encode() for v in VARIABLES])
    file.create_dataset("variable", data=names, track_times=False).make_scale("variable")
    file.create_dataset(
        "crc32",
        (0, len(names)),
        "u4",
        chunks=(16, len(names)),
        maxshape=(None, len(names)),
        track_times=False,
    )


def _attach(file: h5py.File) -> None:
    """Name every axis by its dimension scale."""
    file["time"].make_scale("time")
    axes = {v.name: v.dims for v in VARIABLES if v.name != "time"} | {"crc32": ("time", "variable")}
    for name, dims in axes.items():
        for axis, dim in enumerate(dims):
            file[name].dims[axis].attach_scale(file[dim])
