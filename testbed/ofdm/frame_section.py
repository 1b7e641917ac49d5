"""Read the rows after the header: cut them out along the drifting sample clock, transform, keep what matters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.ofdm import frame_format as form
from testbed.ofdm import frame_kernels, symbols
from testbed.ofdm.estimate import lmmse
from testbed.ofdm.frame_clock import Clock
from testbed.ofdm.frame_opening import Opening, row_starts
from testbed.ofdm.grid import Grid, Indices
from testbed.ofdm.preamble import retraining

Cells = NDArray[np.complex64]

LONGEST_CHUNK: Final = 16


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
    clock = Clock(grid, opening, section.known)
    room = np.empty((min(rows, LONGEST_CHUNK * (grid.training_period + 1)), grid.fft_size), np.complex64)
    first, step = 0, 1
    while first < rows:
        last, step = _chunk_end(grid, known, first, step), min(2 * step, LONGEST_CHUNK)
        section.slip[first:last] = clock.slip(np.arange(first, last))
        starts = row_starts(grid, opening.start, np.arange(first, last)) + section.slip[first:last]
        end = first + int(np.count_nonzero(starts + grid.fft_size <= len(samples)))
        spectra = symbols.demodulate(grid, samples, starts[: end - first], opening.cfo, opening.dc, room)
        trained = _keep(grid, spectra, first, plan, section)
        if trained.start < trained.stop:
            section.smooth[trained], _ = lmmse(grid, section.estimates[trained], opening.noise, grid.cyclic_prefix)
            clock.hear(trained, section.smooth[trained], section.slip[known[trained]])
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
