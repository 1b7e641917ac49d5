"""The NetCDF-4 file that an import makes: dimensions time, link and subcarrier, as in the testbed's own records.

HDF5 by h5py, dimension scales, complex64 as an {r, i} compound of a named type, coordinates in Hz and s. Every chunk
carries a checksum. The file appears under its name when it is complete.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from testbed.errors import RecordError
from testbed.record.space import FLOOR_BYTES, require

FORMAT, FORMAT_VERSION = "dmoe-testbed-csi", 1
LIBVER = ("v110", "v110")
COMPLEX = "_PFNC_FLOAT_COMPLEX_TYPE"
CHUNK_BYTES, SMALL_CHUNK_BYTES = 128 << 10, 8 << 10
_FULL, _PER_LINK, _PER_PACKET = ("time", "link", "subcarrier"), ("time", "link"), ("time",)

Table = dict[str, tuple[str, tuple[str, ...], str, str]]

COMMON: Table = {
    "time": ("f8", _PER_PACKET, "s", "since the first packet, by the clock named in `clock`"),
    "h": ("c8", _FULL, "1", "channel frequency response, relative to `amplitude_reference`; 0 = not measured"),
    "rssi_dbm": ("f4", _PER_LINK, "dBm", "received power at the receive antenna; NaN = unknown"),
    "noise": ("f4", _PER_LINK, "1", "noise variance per subcarrier, same units as |h|²; NaN = unknown"),
    "scale": ("f4", _PER_LINK, "1", "h divided by the numbers in the source file"),
    "valid": ("bool", _PER_LINK, "1", "the link was measured in this packet"),
}
IMPORTED: Table = {
    **COMMON,
    "agc_db": ("f4", _PER_PACKET, "dB", "gain of the receiver; NaN = unknown"),
    "transmitter": ("i4", _PER_PACKET, "1", "0 = A, 1 = B, … in the order of first appearance; -1 = unknown"),
}
COMPOSED: Table = {
    **COMMON,
    "age_s": ("f4", _PER_LINK, "s", "how long before `time` the link's packet was received; it is held until the next"),
}


class CsiFile:
    """An open output file; leaving it by an error leaves nothing behind.

    Args:
        path: the file to make; an existing one is replaced when the new one is complete.
        table: its variables.
        frequency_hz: (tones,) offsets from the carrier.
        used: (tones,) which carry channel information.
        links: coordinate variables of the links, by name: (links,) numbers, unit "1", with a meaning.
        names: (links,) names of the links.

    Raises:
        RecordError: it cannot be made.
    """

    def __init__(
        self,
        path: Path,
        table: Table,
        frequency_hz: NDArray[np.float64],
        used: NDArray[np.bool_],
        links: Mapping[str, tuple[NDArray[np.int64], str]],
        names: tuple[str, ...],
    ) -> None:
        self._path, self._table = path, table
        self._part = path.with_name(f".{path.name}.part")
        self._rows = 0
        try:
            require(path.parent, FLOOR_BYTES)
            self._file = h5py.File(self._part, "w", libver=LIBVER, locking=False)
        except OSError as error:
            raise RecordError(f"{path}: cannot be written: {error}; choose another file with --out") from error
        self._file[COMPLEX] = np.dtype("c8")  # netCDF reads compounds of named types only
        _coordinates(self._file, frequency_hz, used, links, names)
        for name in table:
            _variable(self._file, name, table[name], (len(names), frequency_hz.size))
        _attach(self._file, table, tuple(links))

    def __enter__(self) -> CsiFile:
        return self

    def append(self, values: Mapping[str, NDArray[Any]]) -> None:
        """Write the same number of rows to every variable.

        Raises:
            NoSpace: the disk is nearly full.
        """
        count = len(values["time"])
        require(self._path.parent, FLOOR_BYTES + sum(v.nbytes for v in values.values()))
        for name in self._table:
            dataset = self._file[name]
            dataset.id.set_extent((self._rows + count, *dataset.shape[1:]))
            stored = np.ascontiguousarray(values[name]).astype(dataset.dtype, copy=False)
            if stored.size:
                space = dataset.id.get_space()
                space.select_hyperslab((self._rows, *(0,) * (stored.ndim - 1)), stored.shape)
                dataset.id.write(h5py.h5s.create_simple(stored.shape), space, stored)
        self._rows += count

    def describe(self, attributes: Mapping[str, Any]) -> None:
        """Attributes of the whole file."""
        own = {"Conventions": "CF-1.11", "format": FORMAT, "format_version": FORMAT_VERSION}
        for name, value in (dict(attributes) | own).items():
            self._file.attrs[name] = value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if error is None:
            os.replace(self._part, self._path)
        else:
            with contextlib.suppress(OSError):
                self._part.unlink(missing_ok=True)


def _coordinates(
    file: h5py.File,
    frequency_hz: NDArray[np.float64],
    used: NDArray[np.bool_],
    links: Mapping[str, tuple[NDArray[np.int64], str]],
    names: tuple[str, ...],
) -> None:
    subcarrier = file.create_dataset("subcarrier", data=np.asarray(frequency_hz, float), track_times=False)
    subcarrier.attrs.update(units="Hz", long_name="offset from the carrier")
    subcarrier.make_scale("subcarrier")
    link = file.create_dataset("link", data=np.arange(len(names)), track_times=False)
    link.attrs.update(units="1", long_name="number of the link")
    link.make_scale("link")
    mask = file.create_dataset("used", data=used.astype("i1"), track_times=False)
    words = "1 = the tone carries channel information; 0 = guard, null, or a pilot the receiver reports wrongly"
    mask.attrs.update(units="1", dtype="bool", long_name=words)
    strings = np.array(names, dtype=object)
    named = file.create_dataset("link_name", data=strings, dtype=h5py.string_dtype(), track_times=False)
    named.attrs["long_name"] = "name of the link"
    for name, (values, meaning) in links.items():
        dataset = file.create_dataset(name, data=values, track_times=False)
        dataset.attrs.update(units="1", long_name=meaning)


def _variable(file: h5py.File, name: str, line: tuple[str, tuple[str, ...], str, str], sizes: tuple[int, int]) -> None:
    dtype, dims, units, meaning = line
    tail = sizes[: len(dims) - 1]
    stored = file[COMPLEX] if dtype == "c8" else "i1" if dtype == "bool" else dtype
    width = (8 if dtype == "c8" else np.dtype("i1" if dtype == "bool" else dtype).itemsize) * int(np.prod(tail))
    rows = max(1, CHUNK_BYTES // width) if dtype == "c8" else max(1, SMALL_CHUNK_BYTES // width)
    dataset = file.create_dataset(
        name, (0, *tail), stored, chunks=(rows, *tail), maxshape=(None, *tail), track_times=False, fletcher32=True
    )
    dataset.attrs.update(units=units, long_name=meaning)
    if dtype == "bool":
        dataset.attrs["dtype"] = "bool"


def _attach(file: h5py.File, table: Table, links: tuple[str, ...]) -> None:
    """Name every axis by its dimension scale."""
    file["time"].make_scale("time")
    axes = {name: line[1] for name, line in table.items() if name != "time"}
    axes |= {"used": ("subcarrier",), "link_name": ("link",)} | dict.fromkeys(links, ("link",))
    for name, dims in axes.items():
        for axis, dim in enumerate(dims):
            file[name].dims[axis].attach_scale(file[dim])
