"""Inner loops of the frame receiver.

The loops over the cells of a row touch few arrays each, all contiguous, so that compilers turn them into vector
instructions.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.compiled import kernel

Cells = NDArray[np.complex64]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Indices = NDArray[np.int64]

VECTOR: Final = {"contract", "reassoc"}
LEAST_POWER: Final = np.float32(1e-30)
ONE: Final = np.float32(1.0)
# Cells that a block gets at a time, and cells that are held back for that at most.
DEALT_TOGETHER: Final = 16
LARGEST_DEAL: Final = 8192


@kernel()
def pick(spectra: Cells, rows: Indices, columns: Indices, picked: Cells) -> None:
    """Copy to picked (R, C) the given rows and columns of spectra (T, N)."""
    for i in range(rows.shape[0]):
        row = spectra[rows[i]]
        for j in range(columns.shape[0]):
            picked[i, j] = row[columns[j]]


@kernel()
def lay_out(points: Cells, rows: Indices, positions: Indices, signs: Floats, sign_row: Indices, section: Cells) -> None:
    """Deal points (blocks, c) to the cells of section (T, U): the reverse of what `equalise` does.

    Cell j of rows[i], at positions[j], is multiplied by signs[sign_row[i], j] and takes from the blocks in turn.
    """
    blocks, left = points.shape[0], points.size
    block, at = 0, 0
    for i in range(rows.shape[0]):
        row, sign = section[rows[i]], signs[sign_row[i]]
        for j in range(min(positions.shape[0], left)):
            row[positions[j]] = points[block, at] * sign[j]
            block += 1
            if block == blocks:
                block, at = 0, at + 1
        left -= positions.shape[0]


@kernel()
def match_pilots(
    pilots: Cells, signs: Floats, nodes: Cells, span: Indices, place: Doubles, delay: Doubles, rate: float,
    offsets: Doubles, phasors: Cells, energy: Doubles,
) -> None:  # fmt: skip
    """Phasor (T,) of each row: pilots over their expected values; energy (T,) of the latter.

    pilots, signs (T, P); nodes (B+1, P) channel at the ends of B spans; row t lies in span[t] at place[t] of its
    length and is delayed by delay[t] samples, `rate` more than the row before of the same span; offsets (P,)
    subcarrier offset / N.
    """
    rotation = np.empty(pilots.shape[1], np.complex128)
    step = np.exp(-2j * np.pi * offsets * rate)
    now = -1
    for t in range(pilots.shape[0]):
        b, w = span[t], np.float32(place[t])
        if b != now:
            now = b
            rotation[:] = np.exp(-2j * np.pi * offsets * delay[t])
        total, power = 0.0 + 0.0j, 0.0
        for p in range(pilots.shape[1]):
            h = nodes[b, p] + w * (nodes[b + 1, p] - nodes[b, p])
            total += pilots[t, p] * np.conj(h * rotation[p]) * signs[t, p]
            power += h.real * h.real + h.imag * h.imag
            rotation[p] *= step[p]
        energy[t] = power
        phasors[t] = total / max(power, 1e-30)


@kernel()
def equalise(
    cells: Floats, positions: Indices, span: Indices, place: Doubles, turns_of_delay: Doubles, nodes: Floats,
    offsets: Indices, phase: Cells, signs: Floats, sign_row: Indices, noise: np.float32, piece: int,
    points: Cells, variance: Floats,
) -> None:  # fmt: skip
    """Divide the cells of T rows by their channel and deal them to blocks, cell by cell, row after row.

    cells (T, 2s), interleaved as the channel is, lie at `positions` (s,) of the used subcarriers, whose offsets are
    (U,). Row t lies between nodes span[t] and span[t]+1 of the channel (B+1, 2s) at those positions, at place[t] of
    the way; it is late by turns_of_delay[t]·N samples, has the common phase[t], and the signs (R, s) of row
    sign_row[t]. The inverse channel is taken as linear over `piece` rows. Results: points (blocks, c);
    variance (blocks, c) = noise / |channel|².
    """
    width, blocks = positions.shape[0], points.shape[0]
    inverse, change = np.empty(2 * width, np.float32), np.empty(2 * width, np.float32)
    ramp, own_ramp = np.empty(offsets[-1] - offsets[0] + 1, np.complex64), np.empty(2 * width, np.float32)
    most = min(max(DEALT_TOGETHER * blocks, width), max(LARGEST_DEAL, width))
    row, spread = np.empty(2 * (most + width), np.float32), np.empty(most + width, np.float32)
    first, done, held = 0, 0, 0
    while first < span.shape[0]:
        last = _piece_end(span, first, piece)
        for end, out in ((last, change), (first, inverse)):
            _fill_ramp(turns_of_delay[end], offsets, ramp)
            _pick_ramp(ramp, offsets, positions, own_ramp)
            _invert(nodes[span[end]], nodes[span[end] + 1], np.float32(place[end]), own_ramp, out)
        _slope(change, inverse, np.float32(max(last - first, 1)))
        for t in range(first, last + 1):
            _multiply(cells[t], inverse, np.conj(phase[t]), signs[sign_row[t]], row[2 * held :])
            _spread(inverse, noise, spread[held : held + width])
            _advance(inverse, change)
            held += width
            if held >= most:
                _deal(row, spread, done, held, points, variance)
                done, held = done + held, 0
        first = last + 1
    _deal(row, spread, done, held, points, variance)


@kernel()
def _piece_end(span: Indices, first: int, piece: int) -> int:
    """Last row of the piece that begins at `first`: of the same span, at most `piece` rows."""
    last = first
    while last + 1 < span.shape[0] and last + 1 < first + piece and span[last + 1] == span[first]:
        last += 1
    return last


@kernel()
def _fill_ramp(turns: float, offsets: Indices, ramp: Cells) -> None:
    """Set ramp (n,) to exp(−j2π·k·turns) for every k from the first of the offsets to the last, by doubling."""
    ramp[0] = np.exp(-2j * np.pi * turns * offsets[0])
    step, filled = np.exp(-2j * np.pi * turns), 1
    while filled < ramp.shape[0]:
        factor = np.complex64(step)
        for i in range(min(filled, ramp.shape[0] - filled)):
            ramp[filled + i] = ramp[i] * factor
        step, filled = step * step, 2 * filled


@kernel()
def _pick_ramp(ramp: Cells, offsets: Indices, positions: Indices, picked: Floats) -> None:
    """Values of the ramp at `positions` of the used subcarriers, interleaved."""
    for j in range(positions.shape[0]):
        value = ramp[offsets[positions[j]] - offsets[0]]
        picked[2 * j], picked[2 * j + 1] = value.real, value.imag


@kernel(fastmath=VECTOR)
def _invert(before: Floats, after: Floats, part: np.float32, ramp: Floats, inverse: Floats) -> None:
    """1 / channel, all interleaved (2s,); 0 for a channel of 0."""
    for j in range(ramp.shape[0] // 2):
        re = before[2 * j] + part * (after[2 * j] - before[2 * j])
        im = before[2 * j + 1] + part * (after[2 * j + 1] - before[2 * j + 1])
        gain = ONE / (re * re + im * im + LEAST_POWER)
        c, d = ramp[2 * j], ramp[2 * j + 1]
        inverse[2 * j] = (re * c - im * d) * gain
        inverse[2 * j + 1] = -(re * d + im * c) * gain


@kernel(fastmath=VECTOR)
def _slope(end: Floats, start: Floats, steps: np.float32) -> None:
    """Turn end into the change a row."""
    for j in range(end.shape[0]):
        end[j] = (end[j] - start[j]) / steps


@kernel(fastmath=VECTOR)
def _multiply(cells: Floats, inverse: Floats, turn: np.complex64, signs: Floats, row: Floats) -> None:
    re, im = turn.real, turn.imag
    for j in range(signs.shape[0]):
        i, q, c, d = cells[2 * j], cells[2 * j + 1], inverse[2 * j], inverse[2 * j + 1]
        x, y = i * c - q * d, i * d + q * c
        row[2 * j] = (x * re - y * im) * signs[j]
        row[2 * j + 1] = (x * im + y * re) * signs[j]


@kernel(fastmath=VECTOR)
def _spread(inverse: Floats, noise: np.float32, spread: Floats) -> None:
    for j in range(spread.shape[0]):
        spread[j] = noise * (inverse[2 * j] * inverse[2 * j] + inverse[2 * j + 1] * inverse[2 * j + 1])


@kernel(fastmath=VECTOR)
def _advance(inverse: Floats, change: Floats) -> None:
    for j in range(inverse.shape[0]):
        inverse[j] += change[j]


@kernel()
def _deal(row: Floats, spread: Floats, first: int, count: int, points: Cells, variance: Floats) -> None:
    """Cell first + j, j < count, goes to block (first + j) mod blocks; what is left after the last is dropped.

    Block after block, so that memory is written in order.
    """
    blocks, count = points.shape[0], min(count, points.size - first)
    first_i, first_block = first // blocks, first % blocks
    for block in range(blocks):
        i = first_i if block >= first_block else first_i + 1
        j = i * blocks + block - first
        target, size = points[block], variance[block]
        while j < count:
            target[i] = complex(row[2 * j], row[2 * j + 1])
            size[i] = spread[j]
            i += 1
            j += blocks
