"""Read the rows after the header: cut them out along the drifting sample clock, transform, keep what matters."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
class Plan:
    """Which rows after the header are training symbols, and which cells are wanted.

    Attributes:
        known: (B,) rows of training symbols, the last row of the frame among them.
        wanted: (n,) rows whose cells are wanted.
        columns: (s,) FFT bins of these cells.
    """

    known: Indices
    wanted: Indices
    columns: Indices


@dataclass(frozen=True, eq=False)
class Section:
    """T rows that lie within the capture, freed from the opening's carrier offset.

    Attributes:
        pilots: (T, P) received pilots.
        cells: (n, s) received cells of the wanted subcarriers in the wanted rows.
        known: (B,) rows of training symbols; estimates: (B, U) least-squares estimates from them; smooth: (B, U)
            LMMSE estimates.
        slip: (T,) samples by which the window of each row was moved to follow the sample clock.
        rate: delay that the sample clocks add each symbol, from the whole section.
    """

    pilots: Cells
    cells: Cells
    known: Indices
    estimates: Cells
    smooth: Cells
    slip: Indices
    rate: float


def read_section(grid: Grid, samples: Cells, opening: Opening, plan: Plan) -> Section:
    """Rows after the header, as far as the capture goes; all arrays are empty when it ends before the first."""
    known = plan.known
    rows = int(known[-1]) + 1 if len(known) else 0
    section = _room(grid, rows, plan)
    clock = _Clock(grid, opening, section)
    first, step = 0, 1
    while first < rows:
        last, step = _chunk_end(grid, known, first, step), min(2 * step, LONGEST_CHUNK)
        section.slip[first:last] = clock.slip(np.arange(first, last))
        starts = row_starts(grid, opening.start, np.arange(first, last)) + section.slip[first:last]
        end = first + int(np.count_nonzero(starts + grid.fft_size <= len(samples)))
        spectra = symbols.demodulate(grid, samples, starts[: end - first], opening.cfo, opening.dc)
        clock.hear(_keep(grid, spectra, first, plan, section))
        if end < last:
            return _cut_short(section, end, plan, clock.rate)
        first = last
    return replace(section, rate=clock.rate)


def _room(grid: Grid, rows: int, plan: Plan) -> Section:
    """An unfilled section."""
    return Section(
        pilots=np.empty((rows, len(grid.pilots)), np.complex64),
        cells=np.empty((len(plan.wanted), len(plan.columns)), np.complex64),
        known=plan.known,
        estimates=np.empty((len(plan.known), len(grid.used)), np.complex64),
        smooth=np.empty((len(plan.known), len(grid.used)), np.complex64),
        slip=np.empty(rows, np.int64),
        rate=0.0,
    )


def _cut_short(section: Section, end: int, plan: Plan, rate: float) -> Section:
    """The rows before `end`."""
    trained, cells = (int(np.searchsorted(which, end)) for which in (plan.known, plan.wanted))
    return Section(
        pilots=section.pilots[:end],
        cells=section.cells[:cells],
        known=section.known[:trained],
        estimates=section.estimates[:trained],
        smooth=section.smooth[:trained],
        slip=section.slip[:end],
        rate=rate,
    )


def _chunk_end(grid: Grid, known: Indices, first: int, step: int) -> int:
    """Row after the last of the next `step` training periods, which ends with a training symbol."""
    ahead = np.searchsorted(known, first + step * (grid.training_period + 1) - 1)
    return int(known[min(int(ahead), len(known) - 1)]) + 1


def _keep(grid: Grid, spectra: Cells, first: int, plan: Plan, section: Section) -> slice:
    """Move what matters from spectra (T, N) of rows first… to the section; the training symbols among them."""
    last = first + len(spectra)
    trained = slice(*(int(i) for i in np.searchsorted(plan.known, (first, last))))
    asked = slice(*(int(i) for i in np.searchsorted(plan.wanted, (first, last))))
    rows = np.arange(len(spectra))
    frame_kernels.pick(spectra, rows, grid.used[grid.pilots], section.pilots[first:last])
    frame_kernels.pick(spectra, plan.wanted[asked] - first, plan.columns, section.cells[asked])
    frame_kernels.pick(spectra, plan.known[trained] - first, grid.used, section.estimates[trained])
    signs = form.training_signs(grid, plan.known[trained])[:, None]
    section.estimates[trained] *= signs * np.conj(retraining(grid))
    return trained


class _Clock:
    """The drift of the sample clocks as training symbols reveal it, one after the other.

    Each is compared with the one before, so a channel that changes slowly does no harm.
    """

    def __init__(self, grid: Grid, opening: Opening, section: Section) -> None:
        self._grid, self._opening, self._section = grid, opening, section
        self._times = np.concatenate([[opening.time], section.known])
        self._weights = np.concatenate([[opening.count], np.ones(len(section.known))])
        self._delays = np.zeros(len(self._times))
        self._last, _ = lmmse(grid, opening.ls, opening.noise / opening.count, grid.cyclic_prefix)
        self._shown = 0
        self.rate = opening.rate

    def slip(self, rows: Indices) -> Indices:
        """(rows,) whole samples by which to move windows, constant between training symbols."""
        end = self._section.known[np.searchsorted(self._section.known, rows)]
        return np.asarray(np.rint(self.rate * (end - self._opening.time)), np.int64)

    def hear(self, trained: slice) -> None:
        """Take in the section's training symbols `trained`, which follow those heard before."""
        if trained.start == trained.stop:
            return
        grid, section, now = self._grid, self._section, slice(trained.start + 1, trained.stop + 1)
        smooth, _ = lmmse(grid, section.estimates[trained], self._opening.noise, grid.cyclic_prefix)
        section.smooth[trained] = smooth
        slip = section.slip[section.known[trained]]
        drift = self.rate * np.diff(self._times[trained.start : trained.stop + 1])
        expected = drift - np.diff(slip, prepend=self._shown)
        before = np.vstack([self._last[None], smooth[:-1]]) * ramp(grid, expected)
        most = 0.5 + MOST_CLOCK_OFFSET * grid.symbol_samples * (self._times[now][0] - self._times[trained.start])
        surprise = relative_delay(grid, before, smooth, float(most))
        steps = drift + np.minimum(np.maximum(surprise, -most), most)
        self._delays[now] = self._delays[trained.start] + np.cumsum(steps)
        self._last, self._shown = smooth[-1], int(slip[-1])
        self.rate = self._fit(trained.stop + 1)

    def _fit(self, count: int) -> float:
        times, delays, weights = self._times[:count], self._delays[:count], self._weights[:count]
        times = times - weights @ times / weights.sum()
        return bounded_rate(self._grid, float((weights * times) @ delays / ((weights * times) @ times)))
