"""Which format a file is in, by its contents alone; never by its name, and never by guessing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import RecordError
from testbed.record.foreign import atheros, esp32, feitcsi, intel5300, netcdf, nexmon, numpy_matlab, picoscenes
from testbed.record.foreign.stream import START_BYTES, head
from testbed.record.foreign.value import ForeignCsi

LEAST_COVERAGE = 0.05


@dataclass(frozen=True)
class Known:
    """A supported format: what it is, how it begins, how it is opened, how it is known when its beginning is torn."""

    words: str
    recognised: Callable[[bytes], bool]
    open_csi: Callable[[Path], ForeignCsi]
    covered: Callable[[bytes], float] | None = None


KNOWN = (
    Known(
        "Intel 5300 (.dat of the Linux 802.11n CSI Tool)", intel5300.recognised, intel5300.open_csi, intel5300.covered
    ),
    Known("Atheros (.dat of the Atheros CSI Tool)", atheros.recognised, atheros.open_csi, atheros.covered),
    Known("nexmon (.pcap of nexmon_csi, int16 and packed-float chips)", nexmon.recognised, nexmon.open_csi),
    Known("FeitCSI (.csi)", feitcsi.recognised, feitcsi.open_csi, feitcsi.covered),
    Known("ESP32 CSI Tool (.csv)", esp32.recognised, esp32.open_csi),
    Known(
        "PicoScenes (.csi, Intel AX200/AX210, QCA9300 and Intel 5300)",
        picoscenes.recognised,
        picoscenes.open_csi,
        picoscenes.covered,
    ),
    Known("NetCDF-4/HDF5 with named dimensions (.nc, .h5, .mat of version 7.3)", netcdf.recognised, netcdf.open_csi),
    Known("NumPy (.npz)", numpy_matlab.is_npz, numpy_matlab.open_npz),
    Known("MATLAB (.mat, version 5 to 7)", numpy_matlab.is_mat, numpy_matlab.open_mat),
)


def open_foreign(path: Path) -> ForeignCsi:
    """Open a CSI file of any supported format.

    Raises:
        RecordError: it cannot be read, is empty, is of no supported format, or holds no sound packet.
    """
    start = head(path, START_BYTES)
    fitting = [known for known in KNOWN if known.recognised(start)] or _torn(start)
    if len(fitting) != 1:
        supported = "; ".join(known.words for known in KNOWN)
        what = "is empty" if not start else "is of no known CSI format" if not fitting else "fits several formats"
        raise RecordError(f"{path}: {what}; supported are: {supported}")
    return fitting[0].open_csi(path)


def _torn(start: bytes) -> list[Known]:
    """The format of a file whose first packet is damaged: most of its beginning is sound packets of one format."""
    share = [(known.covered(start), n) for n, known in enumerate(KNOWN) if known.covered]
    most, number = max(share)
    return [KNOWN[number]] if most >= LEAST_COVERAGE else []
