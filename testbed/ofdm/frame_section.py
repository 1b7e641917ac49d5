"""Read the rows after the header: cut them out along the drifting sample clock, transform, keep what matters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.ofdm import frame_format as form
from testbed.ofdm import frame_kernels, symbols
from testbed.ofdm.estimate import lmmse, ramp, relative_delay
from testbed.ofdm.frame_opening import MOST_CLOCK_OFFSET, Opening, bounded_rate, row_starts
from testbed.ofdm.grid import Grid, Indices
from testbed.ofdm.preamble import retraining

Cells = NDArray[np.complex64]
Doubles = NDArray[np.float64]

LONGEST_CHUNK: Final = 8
MOST_SURPRISE: Final = 0.5


@dataclass(frozen=True, eq=False)
class Section:
    """T rows that lie within the capture, freed from the opening's carrier offset.

    Attributes:
        pilots: (T, P) received pilots.
        cells: (n, s) received cells of the wanted subcarriers in the wanted rows.
        known: (B,) rows of training symbols; estimates: (B, U) least-squares estimates from them.
        slip: (T,) samples by which the window of each row was moved to follow the sample clock.
        rate: delay that the sample clocks add each symbol, from the whole section.
    """

    pilots: Cells
    cells: Cells
    known: Indices
    estimates: Cells
    slip: Indices
    rate: float


def read_section(
    grid: Grid, samples: Cells, opening: Opening, known: Indices, wanted: Indices, columns: Indices
) -> Section:
    """Rows after the header, as far as the capture goes.

    Args:
        grid: of the frame.
        samples: the whole capture.
        opening: the frame's opening.
        known: (B,) rows of training symbols, the last row of the frame among them.
        wanted: (n,) rows whose cells are wanted.
        columns: (s,) FFT bins of these cells.
    """
    clock = _Clock(grid, opening)
    parts: list[tuple[Cells, Cells, Cells]] = []
    slips: list[Indices] = []
    first, step = 0, 1
    while first < _rows(known):
        last, step = _chunk_end(grid, known, first, step), min(2 * step, LONGEST_CHUNK)
        rows = np.arange(first, last)
        slip = clock.slip(rows, known)
        starts = row_starts(grid, opening.start, rows) + slip
        whole = int(np.count_nonzero(starts + grid.fft_size <= len(samples)))
        spectra = symbols.demodulate(grid, samples, starts[:whole], opening.cfo, opening.dc)
        parts.append(_keep(grid, spectra, first, known, wanted, columns))
        slips.append(slip[:whole])
        trained = known[(known >= first) & (known < first + whole)]
        clock.hear(trained, parts[-1][2], slip[trained - first])
        if whole < len(rows):
            break
        first = last
    pilots, cells, estimates = (np.concatenate(kind) for kind in zip(*parts, strict=True))
    return Section(pilots, cells, known[: len(estimates)], estimates, np.concatenate(slips), clock.rate)


def _rows(known: Indices) -> int:
    return int(known[-1]) + 1 if len(known) else 0


def _chunk_end(grid: Grid, known: Indices, first: int, step: int) -> int:
    """Row after the last of the next `step` training periods, which ends with a training symbol."""
    ahead = np.searchsorted(known, first + step * (grid.training_period + 1) - 1)
    return int(known[min(ahead, len(known) - 1)]) + 1


def _keep(
    grid: Grid, spectra: Cells, first: int, known: Indices, wanted: Indices, columns: Indices
) -> tuple[Cells, Cells, Cells]:
    rows = np.arange(first, first + len(spectra))
    trained = known[(known >= first) & (known < first + len(spectra))]
    asked = wanted[(wanted >= first) & (wanted < first + len(spectra))]
    pilots = _pick(spectra, rows - first, grid.used[grid.pilots])
    estimates = _pick(spectra, trained - first, grid.used) * np.conj(retraining(grid))
    estimates *= form.training_signs(grid, trained)[:, None]
    return pilots, _pick(spectra, asked - first, columns), estimates


def _pick(spectra: Cells, rows: Indices, columns: Indices) -> Cells:
    picked = np.empty((len(rows), len(columns)), np.complex64)
    frame_kernels.pick(spectra, rows, columns, picked)
    return picked


class _Clock:
    """The drift of the sample clocks as training symbols reveal it, one after the other.

    Each is compared with the one before, so a channel that changes slowly does no harm.
    """

    def __init__(self, grid: Grid, opening: Opening) -> None:
        self._grid = grid
        self._noise = opening.noise
        self._previous, _ = lmmse(grid, opening.ls, opening.noise / opening.count, grid.cyclic_prefix)
        self._times, self._delays, self._weights = [opening.time], [0.0], [float(opening.count)]
        self._shown = 0.0
        self.rate = opening.rate

    def slip(self, rows: Indices, known: Indices) -> Indices:
        """(rows,) whole samples by which to move windows, constant between training symbols."""
        end = known[np.searchsorted(known, rows)]
        return np.asarray(np.rint(self.rate * (end - self._times[0])), np.int64)

    def hear(self, rows: Indices, estimates: Cells, slip: Indices) -> None:
        """Take in training symbols in `rows`, seen through windows moved by slip."""
        if not len(rows):
            return
        smooth, _ = lmmse(self._grid, estimates, self._noise, self._grid.cyclic_prefix)
        before = np.vstack([self._previous[None], smooth[:-1]])
        expected = self.rate * np.diff(np.concatenate([self._times[-1:], rows])) - np.diff(slip, prepend=self._shown)
        most = 0.5 + MOST_CLOCK_OFFSET * self._grid.symbol_samples * (rows[0] - self._times[-1])
        surprise = relative_delay(self._grid, before * ramp(self._grid, expected), smooth, float(most))
        steps = expected + np.clip(surprise, -most, most) + np.diff(slip, prepend=self._shown)
        self._delays.extend(self._delays[-1] + np.cumsum(steps))
        self._times.extend(rows.astype(float))
        self._weights.extend([1.0] * len(rows))
        self._previous, self._shown = smooth[-1], float(slip[-1])
        self.rate = self._fit()

    def _fit(self) -> float:
        times, delays, weights = np.array(self._times), np.array(self._delays), np.array(self._weights)
        times, delays = times - np.average(times, weights=weights), delays - np.average(delays, weights=weights)
        return bounded_rate(self._grid, float((weights * times) @ delays / ((weights * times) @ times)))
