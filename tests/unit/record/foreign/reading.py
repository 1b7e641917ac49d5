"""What the tests of all formats share: a file read whole, and its numbers as they are in the file."""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray

from testbed.record.foreign.recognise import open_foreign
from testbed.record.foreign.value import ForeignCsi, Packets

CONTAINERS = ("npz", "npz, compressed", "mat", "mat, compressed", "hdf5")
SAMPLES = Path(__file__).parents[4] / "measurements" / "foreign"


@dataclass(frozen=True, eq=False)
class Whole:
    """A recording and all its packets."""

    source: ForeignCsi
    packets: Packets

    @property
    def raw(self) -> NDArray[np.complex128]:
        """(packets, links, tones) the numbers in the file, scaling undone, rounded to whole ones."""
        p = self.packets
        with np.errstate(invalid="ignore", divide="ignore"):
            numbers = p.h.astype(complex) / p.scale[..., None].astype(float)
        return np.where(p.valid[..., None], np.round(numbers), 0)

    @property
    def tones(self) -> NDArray[np.int64]:
        """Tone indices of the frequency axis."""
        return np.round(self.source.frequency_hz / self.source.spacing_hz).astype(np.int64)

    def link(self, receive: int, transmit: int) -> int:
        """Number of an antenna pair."""
        return self.source.links.index((receive, transmit))


def read(path: Path) -> Whole:
    """All chunks of a file put together."""
    source = open_foreign(path)
    chunks = list(source.chunks())
    together = {
        f.name: sum(c.skipped for c in chunks)
        if f.name == "skipped"
        else np.concatenate([getattr(c, f.name) for c in chunks])
        for f in fields(Packets)
    }
    return Whole(source, Packets(**together))


def write(folder: Path, content: bytes, name: str = "recording") -> Path:
    """A file whose name says nothing."""
    path = folder / name
    path.write_bytes(content)
    return path


def ends(name: str, content: bytes) -> list[int]:
    """Where the packets of an excerpt end."""
    found, at = [], 24 if name == "nexmon.pcap" else 0
    while at < len(content):
        if name == "esp32.csv":
            at = content.index(b"\n", at) + 1
        elif name == "intel5300.dat":
            at += 2 + struct.unpack_from(">H", content, at)[0]
        elif name == "atheros.dat":
            at += 2 + struct.unpack_from("<H", content, at)[0]
        elif name == "nexmon.pcap":
            at += 16 + struct.unpack_from("<I", content, at + 8)[0]
        else:
            at += {"feitcsi_vht80.csi": 272, "picoscenes.csi": 4}[name] + struct.unpack_from("<I", content, at)[0]
        found.append(at)
    return found[1:] if name == "esp32.csv" else found


def write_container(path: Path, kind: str, arrays: dict[str, NDArray[Any]]) -> Path:
    """The arrays h (time, link, tone), time, frequency_hz and rssi_dbm (time, link) as one of `CONTAINERS`."""
    if kind.startswith("npz"):
        with path.open("wb") as file:
            (np.savez_compressed if "compressed" in kind else np.savez)(file, **arrays)
    elif kind.startswith("mat"):
        with path.open("wb") as file:
            scipy.io.savemat(file, arrays, do_compression="compressed" in kind)
    else:
        _write_hdf5(path, arrays)
    return path


def _write_hdf5(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Named dimensions by dimension scales, checksums on the numbers."""
    scales = {"time": (arrays["time"], "s"), "link": (np.arange(arrays["h"].shape[1]), "1"),
              "subcarrier": (arrays["frequency_hz"], "Hz")}  # fmt: skip
    with h5py.File(path, "w", libver="v110") as file:
        for name, (values, units) in scales.items():
            file[name] = values
            file[name].attrs["units"] = units
            file[name].make_scale(name)
        for name, dims in (("h", ("time", "link", "subcarrier")), ("rssi_dbm", ("time", "link"))):
            file.create_dataset(name, data=arrays[name], fletcher32=True, chunks=arrays[name].shape)
            for axis, dim in enumerate(dims):
                file[name].dims[axis].attach_scale(file[dim])
