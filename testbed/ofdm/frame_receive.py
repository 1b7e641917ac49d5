"""Track channel and carrier through a frame and equalise its cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.ofdm import frame_format as form
from testbed.ofdm import frame_kernels
from testbed.ofdm.estimate import lmmse, lmmse_error, ramp
from testbed.ofdm.frame_opening import Opening
from testbed.ofdm.frame_section import Section
from testbed.ofdm.grid import Grid, Indices
from testbed.ofdm.tracking import channel_drift, phase_drift, smooth_walk, turn_per_symbol

Cells = NDArray[np.complex64]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

FAR: Final = 1e9
MOST_TURN: Final = 0.2
LONGEST_PIECE: Final = 16


@dataclass(frozen=True, eq=False)
class Track:
    """The channel through the rows of a section.

    Attributes:
        times: (B+1,) times of the nodes, at which the channel was trained, in rows.
        nodes: (B+1, U) channel there, freed from common phase and clock drift; linear in between.
        span, place: (T,) between which nodes each row lies, and where.
        delay: (T,) delay by clock drift in the row's window; turns: (T,) common phase.
    """

    times: Doubles
    nodes: Cells
    span: Indices
    place: Doubles
    delay: Doubles
    turns: Cells
    rate: float


def track(grid: Grid, opening: Opening, section: Section) -> Track:
    """Smooth the channel over the training symbols and the common phase over all rows."""
    times, nodes = _channel_nodes(grid, opening, section)
    rows = np.arange(len(section.slip))
    span = np.clip(np.searchsorted(times, rows) - 1, 0, len(times) - 2)
    place = np.asarray(np.clip((rows - times[span]) / (times[span + 1] - times[span]), 0.0, 1.0), np.float64)
    delay = np.asarray(section.rate * (rows - opening.time) - section.slip, np.float64)
    steady = Track(times, nodes, span, place, delay, np.ones(len(rows), np.complex64), section.rate)
    phasors, energy = _phasors(grid, section, steady)
    turns = _common_phase(opening, phasors, energy, float(np.mean(np.abs(nodes[0]) ** 2)) * len(grid.used))
    return replace(steady, turns=turns)


def _channel_nodes(grid: Grid, opening: Opening, section: Section) -> tuple[Doubles, Cells]:
    noise, taps = opening.noise, grid.cyclic_prefix
    first, error = lmmse(grid, opening.ls, noise / opening.count, taps)
    times = np.concatenate([[opening.time], section.known.astype(float)])
    if len(times) == 1:
        return _held(times, first[None])
    delay = section.rate * (section.known - opening.time) - section.slip[section.known]
    nodes = np.vstack([first[None], section.smooth * np.conj(ramp(grid, delay))])
    turns = np.angle(np.sum(np.conj(nodes[:-1]) * nodes[1:], axis=1))
    nodes[1:] *= np.exp(-1j * np.cumsum(turns))[:, None].astype(np.complex64)
    power = float(np.mean(np.abs(first) ** 2))
    errors = np.full(len(times), lmmse_error(grid, power, noise, taps))
    errors[0] = error
    drift = channel_drift(nodes, errors, times)
    return _held(times, smooth_walk(nodes, np.maximum(errors, 1e-30), drift * np.diff(times)))


def _held(times: Doubles, nodes: Cells) -> tuple[Doubles, Cells]:
    """One more node far away that equals the last, for the rows of a frame that the capture cuts short."""
    return np.append(times, times[-1] + FAR), np.vstack([nodes, nodes[-1:]])


def _phasors(grid: Grid, section: Section, track: Track) -> tuple[Cells, Doubles]:
    """(T,) common phasor of each row against the channel nodes, and the energy it was seen with."""
    rows = np.arange(len(section.slip))
    phasors, energy = np.empty(len(rows), np.complex64), np.empty(len(rows))
    offsets = grid.offsets / grid.fft_size
    frame_kernels.match_pilots(
        section.pilots, form.pilot_signs(grid, rows), np.ascontiguousarray(track.nodes[:, grid.pilots]),
        track.span, track.place, track.delay, track.rate, offsets[grid.pilots], phasors, energy,
    )  # fmt: skip
    known = section.known
    if len(known):
        expected = track.nodes[1:-1] * ramp(grid, track.delay[known])
        energy[known] = np.sum(np.abs(expected) ** 2, axis=1)
        seen = np.sum(np.conj(expected) * section.estimates, axis=1)
        phasors[known] = seen / np.maximum(energy[known], 1e-30)
    return phasors, energy


def _common_phase(opening: Opening, phasors: Cells, energy: Doubles, band: float) -> Cells:
    """(T,) unit phasors: the residual offset taken out, the rest smoothed as a random walk from the opening on."""
    if len(phasors) < 2:
        return np.asarray(phasors / np.maximum(np.abs(phasors), 1e-30))
    noise = opening.noise / np.maximum(energy, 1e-30)
    residual = _residual_turn(opening, phasors, float(np.mean(noise)) / 2, opening.noise / (2 * band + 1e-30))
    turn = np.exp(1j * residual * (np.arange(len(phasors)) - opening.time)).astype(np.complex64)
    level = phasors * np.conj(turn)
    seen = np.concatenate([[1.0], level])[:, None].astype(np.complex64)
    variances = np.concatenate([[opening.noise / (opening.count * band + 1e-30)], noise])
    durations = np.concatenate([[-opening.time], np.ones(len(level) - 1)])
    walk = smooth_walk(seen, np.maximum(variances, 1e-12), phase_drift(level) * durations)[1:, 0]
    return np.asarray(walk / np.maximum(np.abs(walk), 1e-30) * turn)


def _residual_turn(opening: Opening, phasors: Cells, variance: float, opening_variance: float) -> float:
    """Rotation in radian a symbol that the opening left over, from phasors whose phase has this variance.

    In a short frame the opening, a straight line through the phases of its symbols (each of `opening_variance`),
    knows better that there is none; both views count by their inverse variances.
    """
    turn, spread = turn_per_symbol(phasors)
    spread_of_opening = 12.0 / (opening.count * (opening.count**2 - 1))
    own, prior = variance * spread, opening_variance * spread_of_opening
    return turn * prior / (own + prior + 1e-30)


def equalise(
    grid: Grid,
    opening: Opening,
    section: Section,
    track: Track,
    wanted: Indices,
    positions: Indices,
    shape: tuple[int, int],
) -> tuple[Cells, Floats]:
    """Points (blocks, c) and their noise variances, from the section's cells dealt to the blocks in turn.

    `wanted` are the rows and `positions` the used subcarriers of the cells; cells that the capture does not hold
    are 0 with infinite noise.
    """
    rows = wanted[: len(section.cells)]
    points, variance = np.empty(shape, np.complex64), np.empty(shape, np.float32)
    if len(rows) < len(wanted):
        points[:], variance[:] = 0.0, np.inf
    nodes = np.take(track.nodes, positions, axis=1).view(np.float32)
    frame_kernels.equalise(
        section.cells.view(np.float32), positions, track.span[rows], track.place[rows],
        track.delay[rows] / grid.fft_size, nodes, grid.offsets, track.turns[rows],
        *form.data_signs(grid, rows, positions), np.float32(opening.noise), _piece(grid, section.rate),
        points, variance,
    )  # fmt: skip
    return points, variance


def _piece(grid: Grid, rate: float) -> int:
    """Rows over which clock drift turns the outermost subcarrier by 0.2 rad, an error below −46 dB when linear."""
    turn = 2 * np.pi * float(np.max(np.abs(grid.offsets))) / grid.fft_size * abs(rate)
    return int(min(max(MOST_TURN / max(turn, 1e-9), 1), LONGEST_PIECE))
