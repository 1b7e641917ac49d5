"""The process in which strangers' HDF5 files are opened: a damaged one may crash the library, and this with it.

Requests are lines of JSON on the standard input, answers lines of JSON on the standard output, numbers after them:
    {"open": PATH}                          → {"arrays": {NAME: {"shape", "dims", "attributes"}}, "attributes": {…}}
    {"name": NAME, "part": [[0, 10], …]}    → {"dtype": "<c8", "shape": [10, …], "bytes": N} and N bytes
    whatever goes wrong                     → {"error": "…"}
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
from numpy.typing import NDArray

from testbed.record.foreign.mat5 import lines

MATLAB = b"MATLAB 7.3 MAT-file"
NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable"  # name of the scale of a bare dimension
NOT_COORDINATE = "_nc4_non_coord_"  # before the name of a variable that has the name of a dimension, and other axes
MOST_CHUNK = 64 << 20
MOST_TEXT = 1 << 16
MOST_PART = 1 << 29
DAMAGED = (OSError, RuntimeError, LookupError, ValueError, TypeError, ArithmeticError, MemoryError, AttributeError)


class Request(msgspec.Struct, frozen=True):
    """One line of the standard input; `open` or `name` is given."""

    open: str = ""
    name: str = ""
    part: list[tuple[int, int]] = []


def main() -> None:
    """Answer until the input ends."""
    out, file, matlab = sys.stdout.buffer, None, False
    for line in sys.stdin.buffer:
        body: NDArray[np.uint8] = np.zeros(0, np.uint8)
        try:
            request = msgspec.json.decode(line, type=Request)
            if request.open:
                if file is not None:
                    file.close()
                matlab = _is_matlab(Path(request.open))
                file = h5py.File(request.open, "r", locking=False)
                answer: dict[str, Any] = _contents(file, matlab)
            else:
                assert file is not None
                values = _part(file[request.name], request.part, matlab)
                body = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
                answer = {"dtype": values.dtype.str, "shape": values.shape, "bytes": body.size}
            head = msgspec.json.encode(answer)
        except DAMAGED as error:
            head, body = msgspec.json.encode({"error": str(error)[:300] or type(error).__name__}), body[:0]
        out.write(head + b"\n")
        out.write(body.data)
        out.flush()


def _is_matlab(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MATLAB)) == MATLAB


def _contents(file: h5py.File, matlab: bool) -> dict[str, Any]:
    text = {name: _characters(item) for name, item in _datasets(file) if matlab and _is_text(item)}
    arrays = {name: _described(name, item, matlab) for name, item in _datasets(file) if name not in text}
    return {"arrays": arrays, "attributes": {name: plain(value) for name, value in file.attrs.items()} | text}


def _is_text(item: h5py.Dataset) -> bool:
    """A character array of MATLAB: numbers that are to be read as UTF-16."""
    told = plain(item.attrs.get("MATLAB_class"))
    return bool(told == "char" and item.dtype.kind == "u" and item.size <= MOST_TEXT)


def _characters(item: h5py.Dataset) -> str:
    """The rows of a character array with commas between; MATLAB marks an empty one and stores its shape instead."""
    if "MATLAB_empty" in item.attrs:
        return ""
    signs = np.asarray(item[()]).reshape(-1).astype("<u2").tobytes().decode("utf-16-le", "replace")
    return lines(signs, item.shape[-1])


def _datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Arrays at the top of the file."""
    for name in file:
        item = file.get(name)
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            yield name, item


def _described(name: str, item: h5py.Dataset, matlab: bool) -> dict[str, Any]:
    if item.external or item.is_virtual:
        raise ValueError(f"{name} lies in another file")
    chunk = int(np.prod(item.chunks or (1,), dtype=np.int64)) * item.dtype.itemsize
    if chunk > MOST_CHUNK:
        raise ValueError(f"{name} is stored in chunks of {chunk >> 20} MiB, at most {MOST_CHUNK >> 20} are read")
    attributes = {key: plain(value) for key, value in item.attrs.items() if key == "units"}
    shape = [int(n) for n in item.shape]
    dims = [] if matlab else _dims(item)
    return {"shape": shape[::-1] if matlab else shape, "dims": dims, "attributes": attributes}


def _dims(item: h5py.Dataset) -> list[str]:
    """Names of the dimension scales; a name missing anywhere makes them all unknown."""
    names = []
    for dim in item.dims:
        scales = [scale.name if key.startswith(NO_VARIABLE) else key or scale.name for key, scale in dim.items()]
        names.append(str(scales[0]).rsplit("/", 1)[-1].removeprefix(NOT_COORDINATE) if scales else dim.label)
    return names if all(names) else []


def plain(value: Any) -> Any:  # noqa: ANN401  # attributes are of any type
    """Bytes as text, single numbers as numbers, anything else as nothing."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value
    if isinstance(value, np.generic) and value.dtype.kind in "fiub":
        number = value.item()
        return number if np.isfinite(number) else None
    return None


def _part(item: h5py.Dataset, part: list[tuple[int, int]], matlab: bool) -> NDArray[Any]:
    """The wanted part: compounds of two numbers as complex ones, text as text."""
    size = int(np.prod([end - begin for begin, end in part], dtype=np.int64)) * item.dtype.itemsize
    if size > MOST_PART:
        raise ValueError(f"{item.name}: {size >> 20} MiB at once")
    slices = tuple(slice(begin, end) for begin, end in part)
    values = np.asarray(item[slices[::-1] if matlab else slices])
    values = values.T if matlab else values
    names = values.dtype.names
    if names in (("r", "i"), ("real", "imag")):
        out = np.empty(values.shape, np.result_type(values.dtype[0], np.complex64))
        out.real, out.imag = values[names[0]], values[names[1]]
        return out
    if values.dtype.kind in "SO":
        return np.array([str(plain(v)) for v in values.reshape(-1)], dtype=np.str_).reshape(values.shape)
    if values.dtype.kind not in "fciub":
        raise ValueError(f"{item.name}: numbers of type {values.dtype}")
    return np.ascontiguousarray(values)


if __name__ == "__main__":
    main()
