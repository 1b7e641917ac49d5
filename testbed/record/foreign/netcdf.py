"""NetCDF-4 and HDF5 with named dimensions (.nc, .h5), and MATLAB 7.3, which is HDF5 without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from testbed.record.foreign.arrays import describe
from testbed.record.foreign.content import MATLAB, Content, Lazy
from testbed.record.foreign.hdf5_session import SESSION
from testbed.record.foreign.scratch import Take
from testbed.record.foreign.stream import head, sha256
from testbed.record.foreign.value import ForeignCsi

NAME = "netcdf"
SIGNATURE = b"\x89HDF\r\n\x1a\n"
MATLAB_BEGIN = b"MATLAB 7.3 MAT-file"


def recognised(start: bytes) -> bool:
    """The HDF5 signature, at the beginning or after a user block."""
    return any(start[at : at + 8] == SIGNATURE for at in (0, 512, 1024, 2048, 4096))


def open_csi(path: Path) -> ForeignCsi:
    """Raises RecordError: damaged, or arrays or dimensions that do not tell what they are."""
    matlab = head(path, 64).startswith(MATLAB_BEGIN)
    with SESSION.used():
        told = SESSION.contents(path)
        arrays = {
            name: Lazy(tuple(a["shape"]), _take(path, name), tuple(a["dims"]), a["attributes"])
            for name, a in told["arrays"].items()
        }
        name = MATLAB if matlab else NAME
        return describe(Content(path, name, sha256(path), arrays, told["attributes"], SESSION.used))


def _take(path: Path, name: str) -> Take:
    def take(part: tuple[slice, ...]) -> NDArray[Any]:
        with SESSION.used():
            return SESSION.part(path, name, part)

    return take
