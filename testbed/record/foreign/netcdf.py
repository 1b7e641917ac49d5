"""NetCDF-4 and HDF5 with named dimensions (.nc, .h5), and MATLAB 7.3, which is HDF5 without them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from testbed.errors import RecordError
from testbed.record.foreign.arrays import Content, Lazy, describe
from testbed.record.foreign.stream import head, sha256
from testbed.record.foreign.value import ForeignCsi

NAME, MATLAB_NAME = "netcdf", "matlab"
SIGNATURE = b"\x89HDF\r\n\x1a\n"
MATLAB = b"MATLAB 7.3 MAT-file"
MOST_CHUNK = 64 << 20
DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError, UnicodeError)


def recognised(start: bytes) -> bool:
    """The HDF5 signature, at the beginning or after a user block."""
    return any(start[at : at + 8] == SIGNATURE for at in (0, 512, 1024, 2048, 4096))


def open_csi(path: Path) -> ForeignCsi:
    """Raises RecordError: damaged, or arrays or dimensions that do not tell what they are."""
    matlab = head(path, 64).startswith(MATLAB)
    with _damage(path):
        with h5py.File(path, "r", locking=False) as file:
            arrays = {name: _lazy(path, name, item, matlab) for name, item in _datasets(file)}
            attributes = {name: _plain(value) for name, value in file.attrs.items()}
        return describe(Content(path, MATLAB_NAME if matlab else NAME, sha256(path), arrays, attributes))


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    """HDF5 reports damage in many ways; a reader hears of one."""
    try:
        yield
    except DAMAGED as error:
        raise RecordError(f"{path}: damaged, or not as HDF5 should be: {error}") from error


def _datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Numeric and text arrays at the top of the file."""
    for name in file:
        item = file.get(name)
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            yield name, item


def _lazy(path: Path, name: str, item: h5py.Dataset, matlab: bool) -> Lazy:
    if item.external or item.is_virtual:
        raise ValueError(f"{name} lies in another file")
    chunk = int(np.prod(item.chunks or (1,), dtype=np.int64)) * item.dtype.itemsize
    if chunk > MOST_CHUNK:
        raise ValueError(f"{name} is stored in chunks of {chunk >> 20} MiB, at most {MOST_CHUNK >> 20} are read")
    attributes = {key: _plain(value) for key, value in item.attrs.items() if key in ("units", "long_name")}
    shape = tuple(int(n) for n in item.shape)
    dims = () if matlab else _dims(item)

    def take(part: tuple[slice, ...]) -> NDArray[Any]:
        with _damage(path), h5py.File(path, "r", locking=False) as file:
            values = np.asarray(file[name][part[::-1] if matlab else part])
            return _complex(values.T if matlab else values)

    return Lazy(shape[::-1] if matlab else shape, take, dims, attributes)


def _dims(item: h5py.Dataset) -> tuple[str, ...]:
    """Names of the dimension scales; a name missing anywhere makes them all unknown."""
    names = []
    for dim in item.dims:
        scales = [key or scale.name for key, scale in dim.items()]
        names.append(str(scales[0]).rsplit("/", 1)[-1] if scales else dim.label)
    return tuple(names) if all(names) else ()


def _plain(value: Any) -> Any:  # noqa: ANN401  # attributes are of any type
    """Bytes and arrays of one entry as text and numbers."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    array = np.asarray(value)
    return array.reshape(-1)[0].item() if array.size == 1 and array.dtype.kind in "fiub" else value


def _complex(values: NDArray[Any]) -> NDArray[Any]:
    """Compounds of two numbers as complex ones; text as text."""
    names = values.dtype.names
    if names in (("r", "i"), ("real", "imag")):
        return np.asarray(values[names[0]] + 1j * values[names[1]])
    if values.dtype.kind in "SO":
        return np.array([_plain(v) for v in values.reshape(-1)], dtype=np.str_).reshape(values.shape)
    if values.dtype.kind not in "fciub":
        raise ValueError(f"numbers of type {values.dtype}")
    return values
