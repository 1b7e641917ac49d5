"""From a preamble to a decoded header and a first channel estimate.

Once the header's checksum holds, its symbols are known, and serve as training together with the long part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.ofdm import frame_format as form
from testbed.ofdm import symbols
from testbed.ofdm.coding import decode_header, encode_header
from testbed.ofdm.csi_value import Csi
from testbed.ofdm.estimate import (
    dft_smooth,
    lmmse,
    pair_noise,
    ramp,
    relative_delay,
    snr_per_subcarrier,
)
from testbed.ofdm.frame_format import Header
from testbed.ofdm.grid import Grid, Indices
from testbed.ofdm.modulation import demap
from testbed.ofdm.preamble import guard_samples, preamble_samples, short_samples, training
from testbed.ofdm.sync import Acquisition, acquire
from testbed.ofdm.tracking import smooth_walk

Cells = NDArray[np.complex64]
Doubles = NDArray[np.float64]

MOST_CLOCK_OFFSET: Final = 1e-4
HEADER_PHASE_WALK: Final = 0.01


@dataclass(frozen=True, eq=False)
class Opening:
    """A frame up to its header.

    Times count in symbols from the first row after the header; delays in samples, later is positive.

    Attributes:
        header: decoded, checksum verified.
        start: sample of the capture at which the frame begins.
        cfo: carrier offset in subcarriers.
        rate: delay that the sample clocks add each symbol.
        ls: (U,) least-squares estimate from `count` known symbols, at time `time`.
        noise: noise variance on a subcarrier, from `degrees` complex degrees of freedom.
        end: first sample after the frame, which may lie beyond the capture.
    """

    header: Header
    start: int
    cfo: float
    rate: float
    ls: Cells
    count: int
    time: float
    noise: float
    degrees: float
    end: int


def backoff(grid: Grid) -> int:
    """Samples by which receive windows begin before the first path, within the prefix."""
    return max(grid.cyclic_prefix // 4, 2)


def row_starts(grid: Grid, start: int, rows: Indices) -> Indices:
    """(rows,) first sample of the window of each row after the header, for a frame that begins at `start`."""
    first = start + preamble_samples(grid) + grid.cyclic_prefix - backoff(grid)
    return np.asarray(first + (form.header_symbols(grid) + rows) * grid.symbol_samples)


def open_frames(grid: Grid, samples: Cells, dc: complex, begin: int = 0) -> Iterator[Opening]:
    """Every frame of the capture whose header can be read, in order."""
    while (found := acquire(grid, samples, begin)) is not None:
        opening = _open(grid, samples, dc, found)
        begin = found.resume
        if opening is not None:
            yield opening
            begin = max(begin, opening.end - short_samples(grid) // 2)


def _open(grid: Grid, samples: Cells, dc: complex, found: Acquisition) -> Opening | None:
    header_rows = np.arange(-form.header_symbols(grid), 0)
    long = found.start + short_samples(grid) + guard_samples(grid) - backoff(grid) + np.array([0, grid.fft_size])
    starts = np.concatenate([long, row_starts(grid, found.start, header_rows)])
    if starts[0] < 0 or starts[-1] + grid.fft_size > len(samples):
        return None
    cfo = _refine_offset(grid, samples, dc, found.cfo, long)
    received = symbols.demodulate(grid, samples, starts, cfo, dc)[:, grid.used]
    pair = received[:2] * np.conj(training(grid))
    noise = max(pair_noise(grid, pair), 1e-20)
    channel, _ = lmmse(grid, pair.mean(axis=0), noise / 2, grid.cyclic_prefix)
    packed = _read_header(grid, received[2:], channel, noise)
    header = unpack_or_none(packed)
    if packed is None or header is None:
        return None
    known = form.header_cells(grid, encode_header(packed, form.header_bits(grid)))
    estimates = np.vstack([pair, received[2:] * np.conj(known)])
    return _combine(grid, header, found.start, cfo, starts, estimates, noise)


def unpack_or_none(packed: bytes | None) -> Header | None:
    """The header, or None where there are no bytes or not a header's."""
    return None if packed is None else form.unpack(packed)


def _refine_offset(grid: Grid, samples: Cells, dc: complex, cfo: float, long: Indices) -> float:
    """Carrier offset from the turn between the two long symbols, each reduced to a channel within the prefix."""
    pair = symbols.demodulate(grid, samples, long, cfo, dc)[:, grid.used] * np.conj(training(grid))
    smooth = dft_smooth(grid, pair, grid.cyclic_prefix)
    return cfo + float(np.angle(np.vdot(smooth[0], smooth[1]))) / (2 * math.pi)


def _read_header(grid: Grid, received: Cells, channel: Cells, noise: float) -> bytes | None:
    """Decode header cells received (H, U): common phase by pilots, then soft bits of all data subcarriers."""
    expected = channel[grid.pilots] * form.pilot_signs(grid, np.arange(-len(received), 0))
    energy = float(np.sum(np.abs(channel[grid.pilots]) ** 2)) + 1e-30
    seen = np.sum(received[:, grid.pilots] * np.conj(expected), axis=1) / energy
    band = float(np.sum(np.abs(channel) ** 2)) + 1e-30
    phasors = np.concatenate([[1.0], seen])[:, None].astype(np.complex64)
    variances = np.array([noise / band] + [noise / energy] * len(received))
    walk = smooth_walk(phasors, variances, np.full(len(received), HEADER_PHASE_WALK))[1:, 0]
    gain = (channel * np.exp(1j * np.angle(walk))[:, None])[:, grid.data]
    power = np.abs(gain) ** 2 + 1e-30
    equalised = (received[:, grid.data] * np.conj(gain) / power).astype(np.complex64)
    llr = demap(equalised.ravel(), (noise / power).ravel(), form.HEADER_BITS_PER_SYMBOL)
    return decode_header(llr)


def _combine(
    grid: Grid, header: Header, start: int, cfo: float, starts: Indices, estimates: Cells, noise: float
) -> Opening:
    """One estimate from all known symbols: each is freed from clock drift and its own phase, then averaged."""
    zero = row_starts(grid, start, np.array([0]))[0]
    times = (starts - zero) / grid.symbol_samples
    centre = float(times.mean())
    smooth, _ = lmmse(grid, estimates, noise, grid.cyclic_prefix)
    most = 0.5 + MOST_CLOCK_OFFSET * (starts[-1] - starts[0])
    delays = relative_delay(grid, smooth[0], smooth, most)
    rate = _bounded(grid, _slope(times, delays))
    level = estimates * np.conj(ramp(grid, rate * (times - centre)))
    reference, _ = lmmse(grid, level[:2].mean(axis=0), noise / 2, grid.cyclic_prefix)
    phases = np.unwrap(np.angle(level @ np.conj(reference)))
    more = _slope(times, phases) * grid.fft_size / (2 * math.pi * grid.symbol_samples)
    level = level * np.exp(-1j * phases)[:, None].astype(np.complex64)
    ls = level.mean(axis=0)
    degrees = (len(level) - 1) * len(grid.used) - (len(level) + 2) / 2
    scatter = float(np.sum(np.abs(level - ls) ** 2, dtype=np.float64)) / degrees
    middle = float(starts.mean()) + grid.fft_size / 2
    turn = np.exp(1j * (phases.mean() - 2 * math.pi * more * middle / grid.fft_size))
    return Opening(
        header=header,
        start=start,
        cfo=cfo + more,
        rate=rate,
        ls=(ls * turn).astype(np.complex64),
        count=len(level),
        time=centre,
        noise=max(scatter, 1e-20),
        degrees=degrees,
        end=start + form.samples_of(grid, form.section_rows(grid, header)),
    )


def opening_csi(grid: Grid, opening: Opening, *, clipped: bool, truncated: bool) -> Csi:
    """Channel state from the known symbols of preamble and header, LMMSE."""
    error, taps = opening.noise / opening.count, grid.cyclic_prefix
    h, mse = lmmse(grid, opening.ls, error, taps)
    snr = snr_per_subcarrier(grid, opening.ls, error, opening.noise, opening.degrees, taps)
    middle = row_starts(grid, opening.start, np.zeros(1, np.int64))[0] + opening.time * grid.symbol_samples
    turn = np.exp(2j * np.pi * opening.cfo * middle / grid.fft_size)
    return Csi(
        header=opening.header,
        h=(h * ramp(grid, -backoff(grid)) * turn).astype(np.complex64),
        noise=np.full(len(h), opening.noise, np.float32),
        snr=snr.astype(np.float32),
        error=mse,
        cfo_hz=opening.cfo * grid.spacing_hz,
        timing_samples=float(opening.start),
        phase_samples=float(middle),
        sfo_ppm=float("nan"),
        symbols=opening.count,
        method="lmmse",
        clipped=clipped,
        truncated=truncated,
    )


def _slope(times: Doubles, values: Doubles) -> float:
    spread = times - times.mean()
    return float(spread @ values / (spread @ spread))


def _bounded(grid: Grid, rate: float) -> float:
    most = MOST_CLOCK_OFFSET * grid.symbol_samples
    return min(max(rate, -most), most)
