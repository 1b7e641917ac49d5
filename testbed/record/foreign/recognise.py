"""Which format a file is in, by its contents alone; never by its name, and never by guessing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import RecordError
from testbed.record.foreign import atheros, esp32, feitcsi, intel5300, netcdf, nexmon, numpy_matlab, picoscenes
from testbed.record.foreign.stream import head
from testbed.record.foreign.value import ForeignCsi

START_BYTES = 1 << 18


@dataclass(frozen=True)
class Known:
    """A supported format: what it is, how it begins, how it is opened."""

    words: str
    recognised: Callable[[bytes], bool]
    open_csi: Callable[[Path], ForeignCsi]


KNOWN = (
    Known("Intel 5300 (.dat of the Linux 802.11n CSI Tool)", intel5300.recognised, intel5300.open_csi),
    Known("Atheros (.dat of the Atheros CSI Tool)", atheros.recognised, atheros.open_csi),
    Known("nexmon (.pcap of nexmon_csi, int16 and packed-float chips)", nexmon.recognised, nexmon.open_csi),
    Known("FeitCSI (.csi)", feitcsi.recognised, feitcsi.open_csi),
    Known("ESP32 CSI Tool (.csv)", esp32.recognised, esp32.open_csi),
    Known("PicoScenes (.csi, Intel AX200/AX210, QCA9300 and Intel 5300)", picoscenes.recognised, picoscenes.open_csi),
    Known("NetCDF-4/HDF5 with named dimensions (.nc, .h5)", netcdf.recognised, netcdf.open_csi),
    Known("NumPy (.npz)", numpy_matlab.is_npz, numpy_matlab.open_npz),
    Known("MATLAB (.mat, version 5 to 7)", numpy_matlab.is_mat, numpy_matlab.open_mat),
)


def open_foreign(path: Path) -> ForeignCsi:
    """Open a CSI file of any supported format.

    Raises:
        RecordError: it cannot be read, is empty, is of no supported format, or holds no sound packet.
    """
    start = head(path, START_BYTES)
    fitting = [known for known in KNOWN if known.recognised(start)]
    if len(fitting) != 1:
        supported = "; ".join(known.words for known in KNOWN)
        what = "is empty" if not start else "is of no known CSI format" if not fitting else "fits several formats"
        raise RecordError(f"{path}: {what}; supported are: {supported}")
    return fitting[0].open_csi(path)
