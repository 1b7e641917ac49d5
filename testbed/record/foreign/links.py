"""A composition read for a replay: series of one link each, on demand, whatever the file's size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np
from numpy.typing import NDArray

from testbed.errors import RecordError

ROWS = 512
RESOLUTION_S = 1e-6


@dataclass(frozen=True, eq=False)
class Series:
    """Packets of one directed link.

    Attributes:
        column: of the link in the file.
        rows: (n,) rows of the file that hold them.
        time_s: (n,) when they were received, s on the file's time axis, rising.
    """

    column: int
    rows: NDArray[np.int64]
    time_s: NDArray[np.float64]


class Composition:
    """An open composition, as `compose` writes it.

    Attributes:
        nodes: K.
        links: series by (from, to).
        time_s: (moments,) at which any link has a new packet.
        frequency_hz: (tones,) offsets from the carrier.
        used: (tones,) which carry channel information.
        attributes: of the file.

    Raises:
        RecordError: it is none, or damaged.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = h5py.File(path, "r", locking=False)
            file = self._file
            self.attributes = {name: _plain(value) for name, value in file.attrs.items()}
            self.nodes = int(file.attrs["nodes"])
            self.time_s = np.asarray(file["time"][:], float)
            self.frequency_hz = np.asarray(file["subcarrier"][:], float)
            self.used = np.asarray(file["used"][:], np.bool_)
            ways = zip(file["link_from"][:].tolist(), file["link_to"][:].tolist(), strict=True)
            self.links = {(int(i), int(j)): self._series(n) for n, (i, j) in enumerate(ways)}
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise RecordError(
                f"{path}: no composition of links between nodes ({error}); make one with testbed import --as-links"
            ) from error

    def __enter__(self) -> Composition:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def packet(self, column: int, row: int) -> tuple[NDArray[np.complex64], float]:
        """(tones,) channel of a link, and the noise variance of a tone; NaN = unknown."""
        return np.asarray(self._file["h"][row, column]), float(self._file["noise"][row, column])

    def noise_known(self) -> bool:
        """Every link tells its noise in every packet."""
        return bool(np.isfinite(self._file["noise"][:]).all())

    def mean_power(self) -> float:
        """Mean |h|² over moments, links and used tones."""
        total, moments = 0.0, self.time_s.size
        for begin in range(0, moments, ROWS):
            h = self._file["h"][begin : begin + ROWS][:, :, self.used]
            total += float((np.abs(h.astype(complex)) ** 2).mean(axis=(1, 2)).sum())
        return total / moments

    def _series(self, column: int) -> Series:
        """A link's packets without the moments at which the same one was held."""
        good = np.flatnonzero(np.asarray(self._file["valid"][:, column], np.bool_))
        received = self.time_s[good] - np.asarray(self._file["age_s"][:, column], float)[good]
        new = np.concatenate([[True], np.diff(received) > RESOLUTION_S]) if good.size else np.zeros(0, np.bool_)
        return Series(column, good[new], np.maximum.accumulate(received[new]) if good.size else received)


def is_composition(path: Path) -> bool:
    """Whether a file is what `compose` writes; files of other kinds are looked at by the import alone."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            return {"nodes", "composition"} <= set(file.attrs) and {"h", "age_s", "link_from"} <= set(file)
    except (OSError, RuntimeError):
        return False


def _plain(value: object) -> str | int | float:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.generic):
        return value.item()  # type: ignore[no-any-return]
    return value if isinstance(value, str | int | float) else str(value)
