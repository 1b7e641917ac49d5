"""The OFDM grid: which subcarriers exist, which carry pilots, and how long a symbol lasts."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from testbed.errors import GridError

Indices = NDArray[np.int64]

# Every frame uses one transmit amplitude a subcarrier, so that the SNR sounding sees is the SNR data sees. With all
# subcarriers active the root mean square is −12 dB of full scale: a Gaussian-like symbol then passes full scale
# on either axis once in 7e7 samples.
FULL_BAND_RMS: Final = 0.25
PILOT_RESIDUES: Final = 4


@dataclass(frozen=True)
class Grid:
    """An OFDM numerology, the same at transmitter and receiver; GridError when it is impossible.

    Attributes:
        fft_size: N, subcarriers of the transform; 64…4096, a multiple of 16.
        cyclic_prefix: samples before each symbol, 4…N/2. The receiver expects no longer channel, and listens from a
            quarter of it before the first path: paths up to three quarters after that do no harm.
        occupied: number of used subcarriers (even), symmetric around the empty centre, or the band as
            (lowest, highest) subcarrier offset, both included; the centre (DC) always stays empty.
        pilot_count: used subcarriers that carry pilots instead of data; 4…occupied/6.
        sample_rate_hz: complex samples a second.
        training_period: payload symbols between two symbols that train every used subcarrier anew; 1…1024.
    """

    fft_size: int
    cyclic_prefix: int
    occupied: int | tuple[int, int]
    pilot_count: int
    sample_rate_hz: float
    training_period: int = 32

    def __post_init__(self) -> None:
        _check_sizes(self)
        _check_band(self)

    def __hash__(self) -> int:
        return self.fingerprint  # computed once: many results are cached by grid

    @cached_property
    def offsets(self) -> Indices:
        """(U,) subcarrier offsets from the centre, low → high frequency, 0 excluded."""
        if isinstance(self.occupied, tuple):
            low, high = self.occupied
        else:
            low, high = -(self.occupied // 2), self.occupied // 2
        band = np.arange(low, high + 1)
        return _frozen(band[band != 0])

    @cached_property
    def used(self) -> Indices:
        """(U,) FFT bins of the used subcarriers, low → high frequency: data and pilots, DC excluded."""
        return _frozen(self.offsets % self.fft_size)

    @cached_property
    def pilots(self) -> Indices:
        """(P,) positions within `used` of the pilots, about evenly spread.

        Their offsets take all residues modulo 4 in turn: pilots alone then do not repeat every N/4 samples, and
        a sparsely filled payload is not mistaken for the short preamble.
        """
        return _frozen(_pilot_positions(self.offsets, self.pilot_count))

    @cached_property
    def data(self) -> Indices:
        """(M,) positions within `used` of the data subcarriers; subcarrier m of a link is `data[m]`."""
        return _frozen(np.setdiff1d(np.arange(len(self.offsets)), self.pilots))

    @cached_property
    def frequency_hz(self) -> NDArray[np.float64]:
        """(U,) frequency of each used subcarrier relative to the centre, in Hz."""
        return _frozen(self.offsets * self.spacing_hz)

    @property
    def spacing_hz(self) -> float:
        """Subcarrier spacing in Hz."""
        return self.sample_rate_hz / self.fft_size

    @property
    def symbol_samples(self) -> int:
        """Samples of one symbol with its prefix."""
        return self.fft_size + self.cyclic_prefix

    @property
    def symbol_s(self) -> float:
        """Seconds of one symbol with its prefix."""
        return self.symbol_samples / self.sample_rate_hz

    @cached_property
    def amplitude(self) -> float:
        """Transmit amplitude of one subcarrier of unit mean energy, full scale = 1; the same in every frame."""
        return FULL_BAND_RMS / math.sqrt(len(self.offsets))

    @cached_property
    def fingerprint(self) -> int:
        """32 bits that seed every known sequence, so that a frame of another grid is noise to this one."""
        numbers = (self.fft_size, self.cyclic_prefix, self.training_period, *self.offsets, *self.pilots)
        return zlib.crc32(np.array(numbers, dtype="<i4").tobytes())


def _check_sizes(grid: Grid) -> None:
    n = grid.fft_size
    _check_integer("fft_size", n, 64, 4096)
    if n % 16:
        raise GridError(f"fft_size={n} must be a multiple of 16")
    _check_integer("cyclic_prefix", grid.cyclic_prefix, 4, n // 2)
    _check_integer("training_period", grid.training_period, 1, 1024)
    rate = grid.sample_rate_hz
    if not isinstance(rate, int | float | np.number) or np.iscomplexobj(rate) or not 0 < rate < math.inf:
        raise GridError(f"sample_rate_hz={rate!r} must be a positive number of samples a second")


def _check_band(grid: Grid) -> None:
    edge = grid.fft_size // 2 - 1
    if isinstance(grid.occupied, tuple):
        low, high = _ends(grid.occupied)
        if not -edge <= low < high <= edge:
            raise GridError(f"occupied={grid.occupied} must lie within ({-edge}, {edge}), lowest first")
    else:
        _check_integer("occupied", grid.occupied, 24, 2 * edge)
        if grid.occupied % 2:
            raise GridError(f"occupied={grid.occupied} must be even: half of it lies on each side of the centre")
    count = len(grid.offsets)
    if count < 24:
        raise GridError(f"occupied={grid.occupied} holds {count} subcarriers; at least 24 are needed")
    _check_integer("pilot_count", grid.pilot_count, 4, count // 6)


def _ends(band: tuple[int, ...]) -> tuple[int, int]:
    if len(band) != 2 or not all(isinstance(end, int | np.integer) for end in band):
        raise GridError(f"occupied={band} must be a number or (lowest, highest) subcarrier offset")
    return int(band[0]), int(band[1])


def _check_integer(field: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not low <= value <= high:
        raise GridError(f"{field}={value!r} must be a whole number from {low} to {high}")


def _pilot_positions(offsets: Indices, count: int) -> Indices:
    """Pilot i sits at the subcarrier of residue i mod 4 that is nearest to the middle of the i-th share."""
    middle = (np.arange(count) + 0.5) * len(offsets) / count - 0.5
    taken: list[int] = []
    for i, centre in enumerate(middle):
        fits = np.flatnonzero(offsets % PILOT_RESIDUES == i % PILOT_RESIDUES)
        fits = np.setdiff1d(fits, taken)
        taken.append(int(fits[np.argmin(np.abs(fits - centre))]))
    return np.sort(np.array(taken, dtype=np.int64))


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array


# Rates a Pluto sustains over USB 2; below 2.083 MS/s it needs its FIR filter.
PRESETS: Final[dict[str, Grid]] = {
    "demo": Grid(fft_size=256, cyclic_prefix=32, occupied=204, pilot_count=12, sample_rate_hz=3.84e6),
    "small": Grid(fft_size=64, cyclic_prefix=16, occupied=52, pilot_count=4, sample_rate_hz=1e6),
    "lte": Grid(fft_size=128, cyclic_prefix=16, occupied=72, pilot_count=8, sample_rate_hz=1.92e6),
    "fine": Grid(fft_size=1024, cyclic_prefix=72, occupied=800, pilot_count=40, sample_rate_hz=5e6),
}
