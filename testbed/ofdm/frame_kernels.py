"""Inner loops of the frame receiver."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Cells = NDArray[np.complex64]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Indices = NDArray[np.int64]


@njit(cache=True, nogil=True)
def pick(spectra: Cells, rows: Indices, columns: Indices, picked: Cells) -> None:
    """Copy to picked (R, C) the given rows and columns of spectra (T, N)."""
    for i in range(rows.shape[0]):
        row = spectra[rows[i]]
        for j in range(columns.shape[0]):
            picked[i, j] = row[columns[j]]


@njit(cache=True, nogil=True)
def match_pilots(
    pilots: Cells, signs: Floats, nodes: Cells, span: Indices, place: Doubles, delay: Doubles, offsets: Doubles,
    phasors: Cells, energy: Doubles,
) -> None:  # fmt: skip
    """Phasor (T,) of each row: pilots over their expected values; energy (T,) of the latter.

    pilots, signs (T, P); nodes (B+1, P) channel at the ends of B spans; row t lies in span[t] at place[t] of its
    length and is delayed by delay[t] samples; offsets (P,) subcarrier offset / N.
    """
    for t in range(pilots.shape[0]):
        b, w = span[t], np.float32(place[t])
        total, power = 0.0 + 0.0j, 0.0
        for p in range(pilots.shape[1]):
            h = nodes[b, p] + w * (nodes[b + 1, p] - nodes[b, p])
            expected = h * np.exp(-2j * np.pi * offsets[p] * delay[t]) * signs[t, p]
            total += pilots[t, p] * np.conj(expected)
            power += h.real * h.real + h.imag * h.imag
        energy[t] = power
        phasors[t] = total / max(power, 1e-30)


@njit(cache=True, nogil=True)
def equalise(
    cells: Cells, span: Indices, place: Doubles, slope: Doubles, delay: Doubles, rate: float, nodes: Cells,
    offsets: Doubles, turns: Cells, noise: np.float32, variance: Floats,
) -> None:  # fmt: skip
    """Divide cells (T, s) by their channel, in place; variance (T, s): noise / |channel|².

    As in `match_pilots`, and: consecutive rows of one span are slope[span] of its length and `rate` samples of
    delay apart; turns (T,) common phase of each row.
    """
    width = cells.shape[1]
    channel, change = np.empty(width, np.complex64), np.empty(width, np.complex64)
    rotation, step = np.empty(width, np.complex64), np.empty(width, np.complex64)
    now = -1
    for t in range(cells.shape[0]):
        if span[t] != now:
            now = span[t]
            _begin_span(nodes[now], nodes[now + 1], place[t], slope[now], channel, change)
            _spin(offsets, delay[t], rotation)
            _spin(offsets, rate, step)
        _divide_row(cells[t], turns[t], channel, change, rotation, step, noise, variance[t])


@njit(cache=True, nogil=True)
def _begin_span(before: Cells, after: Cells, place: float, slope: float, channel: Cells, change: Cells) -> None:
    w, s = np.float32(place), np.float32(slope)
    for j in range(channel.shape[0]):
        across = after[j] - before[j]
        channel[j] = before[j] + w * across
        change[j] = s * across


@njit(cache=True, nogil=True)
def _spin(offsets: Doubles, delay: float, rotation: Cells) -> None:
    for j in range(offsets.shape[0]):
        rotation[j] = np.exp(-2j * np.pi * offsets[j] * delay)


@njit(cache=True, nogil=True, fastmath={"contract"})
def _divide_row(
    cells: Cells, turn: np.complex64, channel: Cells, change: Cells, rotation: Cells, step: Cells,
    noise: np.float32, variance: Floats,
) -> None:  # fmt: skip
    for j in range(cells.shape[0]):
        h = channel[j]
        gain = np.float32(1) / (h.real * h.real + h.imag * h.imag + np.float32(1e-30))
        cells[j] = cells[j] * np.conj(h * rotation[j] * turn) * gain
        variance[j] = noise * gain
        channel[j] = h + change[j]
        rotation[j] = rotation[j] * step[j]
