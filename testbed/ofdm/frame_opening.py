"""From a preamble to a decoded header and a first channel estimate.

Once the header's checksum holds, its symbols are known, and serve as training together with the long part. The
same symbols tell the DC offset from the channel: what a DC offset adds to the estimates differs from symbol to
symbol. (The mean of the capture, removed before, also holds a piece of the signal, about −30 dB in a short
capture.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.errors import FrameError
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
from testbed.ofdm.sync import Acquisition, confirm, detect, strong_first
from testbed.ofdm.tracking import smooth_walk

Cells = NDArray[np.complex64]
Doubles = NDArray[np.float64]

MOST_CLOCK_OFFSET: Final = 1e-4
HEADER_PHASE_WALK: Final = 0.01
LEAST_NOISE: Final = 1e-20


@dataclass(frozen=True, eq=False)
class Opening:
    """A frame up to its header.

    Times count in symbols from the first row after the header; delays in samples, later is positive.

    Attributes:
        header: decoded, checksum verified.
        start: sample of the capture at which the frame begins; end: first sample after it, maybe beyond the capture.
        dc: mean of the received samples.
        cfo: carrier offset in subcarriers.
        rate: delay that the sample clocks add each symbol.
        ls: (U,) least-squares estimate from `count` known symbols, at time `time`.
        noise: noise variance on a subcarrier, from `degrees` complex degrees of freedom.
    """

    header: Header
    start: int
    end: int
    dc: complex
    cfo: float
    rate: float
    ls: Cells
    count: int
    time: float
    noise: float
    degrees: float


def backoff(grid: Grid) -> int:
    """Samples by which receive windows begin before the first path, within the prefix."""
    return max(grid.cyclic_prefix // 4, 2)


def row_starts(grid: Grid, start: int, rows: Indices) -> Indices:
    """(rows,) first sample of the window of each row after the header, for a frame that begins at `start`."""
    first = start + preamble_samples(grid) + grid.cyclic_prefix - backoff(grid)
    return np.asarray(first + (form.header_symbols(grid) + rows) * grid.symbol_samples)


def open_frames(grid: Grid, samples: Cells, dc: complex, begin: int = 0) -> Iterator[Opening]:
    """Every frame of the capture whose header can be read: in order of time, but strong ones before weak ones."""
    if not isinstance(begin, int | np.integer) or begin < 0:
        raise FrameError(f"begin={begin!r} must be a sample of the capture, 0 or more")
    opened: list[Opening] = []
    for found in strong_first(detect(grid, samples, begin)):
        if any(abs(found.index - one.start) < short_samples(grid) for one in opened):
            continue
        acquired = confirm(grid, samples, found)
        opening = None if acquired is None else _open(grid, samples, dc, acquired)
        if opening is not None:
            opened.append(opening)
            yield opening


def _open(grid: Grid, samples: Cells, dc: complex, found: Acquisition) -> Opening | None:
    header_rows = np.arange(-form.header_symbols(grid), 0)
    long = found.start + short_samples(grid) + guard_samples(grid) - backoff(grid) + np.array([0, grid.fft_size])
    starts = np.concatenate([long, row_starts(grid, found.start, header_rows)])
    if starts[0] < 0 or starts[-1] + grid.fft_size > len(samples):
        return None
    cfo = _refine_offset(grid, samples, dc, found.cfo, long)
    received = symbols.demodulate(grid, samples, starts, cfo, dc)[:, grid.used]
    pair = received[:2] * np.conj(training(grid))
    noise = max(pair_noise(grid, pair), LEAST_NOISE)
    channel, _ = lmmse(grid, pair.mean(axis=0), noise / 2, grid.cyclic_prefix)
    packed = _read_header(grid, received[2:], channel, noise)
    header = None if packed is None else form.unpack(packed)
    if packed is None or header is None:
        return None
    header_cells = form.header_cells(grid, encode_header(packed, form.header_bits(grid)))
    known = np.vstack([training(grid), training(grid), header_cells])
    leakage = symbols.dc_leakage(grid, starts, cfo)[:, grid.used]
    seen = _Seen(starts, received * np.conj(known), leakage * np.conj(known))
    return _combine(grid, header, found.start, cfo, dc, seen, noise)


def _refine_offset(grid: Grid, samples: Cells, dc: complex, cfo: float, long: Indices) -> float:
    """Carrier offset from the turn between the two long symbols, each reduced to a channel within the prefix."""
    pair = symbols.demodulate(grid, samples, long, cfo, dc)[:, grid.used] * np.conj(training(grid))
    smooth = dft_smooth(grid, pair, grid.cyclic_prefix)
    return cfo + float(np.angle(np.vdot(smooth[0], smooth[1]))) / (2 * math.pi)


def _read_header(grid: Grid, received: Cells, channel: Cells, noise: float) -> bytes | None:
    """Decode header cells received (H, U): common phase by pilots, then soft bits of all data subcarriers."""
    gain = (channel * _header_phase(grid, received, channel, noise)[:, None])[:, grid.data]
    power = np.abs(gain) ** 2 + 1e-30
    equalised = (received[:, grid.data] * np.conj(gain) / power).astype(np.complex64)
    llr = demap(equalised.ravel(), (noise / power).ravel(), form.HEADER_BITS_PER_SYMBOL)
    return decode_header(llr)


def _header_phase(grid: Grid, received: Cells, channel: Cells, noise: float) -> Cells:
    """(H,) unit phasor of each header symbol: the likeliest turn a symbol, and a walk around it.

    The phase is 0 at the long part. The turn left over by the long part is Gaussian, of variance noise/Σ|h|² over
    the N samples between its symbols; pilots then weigh by their energy.
    """
    expected = channel[grid.pilots] * form.pilot_signs(grid, np.arange(-len(received), 0))
    seen = np.sum(received[:, grid.pilots] * np.conj(expected), axis=1)
    energy = float(np.sum(np.abs(channel[grid.pilots]) ** 2)) + 1e-30
    band = float(np.sum(np.abs(channel) ** 2)) + 1e-30
    deviation = math.sqrt(noise / band) * grid.symbol_samples / grid.fft_size
    turns = np.linspace(-4.0, 4.0, 65) * deviation
    times = (1.5 * grid.fft_size + grid.cyclic_prefix) / grid.symbol_samples + np.arange(len(received))
    likelihood = np.exp(-1j * np.outer(turns, times)) @ seen
    best = turns[np.argmax(likelihood.real * 2 / noise - (turns / deviation) ** 2 / 2)]
    turn = np.exp(1j * best * times)
    phasors = np.concatenate([[1.0], seen / energy * np.conj(turn)])[:, None].astype(np.complex64)
    variances = np.array([noise / band] + [noise / energy] * len(received))
    walk = smooth_walk(phasors, variances, np.full(len(received), HEADER_PHASE_WALK))[1:, 0]
    return np.asarray(np.exp(1j * np.angle(walk)) * turn, np.complex64)


@dataclass(frozen=True, eq=False)
class _Seen:
    """K known symbols: starts of their windows, least-squares estimates (K, U), and what a DC of 1 adds to these."""

    starts: Indices
    estimates: Cells
    leakage: Cells


def _combine(grid: Grid, header: Header, start: int, cfo: float, dc: complex, seen: _Seen, noise: float) -> Opening:
    """One estimate from all known symbols: each is freed from clock drift, own phase and DC, then averaged."""
    count, used = seen.estimates.shape
    zero = row_starts(grid, start, np.zeros(1, np.int64))[0]
    times = (seen.starts - zero) / grid.symbol_samples
    rate, phases = _drift(grid, seen, times, noise)
    level = np.exp(-1j * phases)[:, None] * np.conj(ramp(grid, rate * (times - times.mean())))
    estimates, leakage = seen.estimates * level, seen.leakage * level
    power = float(np.mean(np.abs(estimates) ** 2)) * used  # more than the mean of a capture holds of the signal
    left = _common_factor(estimates - estimates.mean(axis=0), leakage - leakage.mean(axis=0), noise / power)
    estimates -= left * leakage
    ls = estimates.mean(axis=0)
    degrees = (count - 1) * used - (count + 4) / 2
    scatter = float(np.sum(np.abs(estimates - ls) ** 2, dtype=np.float64)) / degrees
    more = _slope(times, phases) * grid.fft_size / (2 * math.pi * grid.symbol_samples)
    middle = float(seen.starts.mean()) + grid.fft_size / 2
    turn = np.exp(1j * (phases.mean() - 2 * math.pi * more * middle / grid.fft_size))
    return Opening(
        header=header,
        start=start,
        end=start + form.samples_of(grid, form.section_rows(grid, header)),
        dc=dc + left,
        cfo=cfo + more,
        rate=rate,
        ls=(ls * turn).astype(np.complex64),
        count=count,
        time=float(times.mean()),
        noise=max(scatter, LEAST_NOISE),
        degrees=degrees,
    )


def _drift(grid: Grid, seen: _Seen, times: Doubles, noise: float) -> tuple[float, Doubles]:
    """Delay that the clocks add each symbol, and the phase (K,) of each known symbol."""
    smooth, _ = lmmse(grid, seen.estimates, noise, grid.cyclic_prefix)
    most = 0.5 + MOST_CLOCK_OFFSET * grid.symbol_samples * (times[-1] - times[0])
    delays, _ = relative_delay(grid, smooth[0], smooth, most)
    rate = bounded_rate(grid, _slope(times, delays))
    level = seen.estimates * np.conj(ramp(grid, rate * (times - times.mean())))
    reference, _ = lmmse(grid, level[:2].mean(axis=0), noise / 2, grid.cyclic_prefix)
    return rate, np.unwrap(np.angle(level @ np.conj(reference)).astype(np.float64))


def _common_factor(values: Cells, patterns: Cells, doubt: float) -> complex:
    """Likeliest c in values ≈ c·patterns; `doubt` is noise variance over expected |c|²."""
    return complex(np.vdot(patterns, values) / (float(np.vdot(patterns, patterns).real) + doubt + 1e-30))


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


def bounded_rate(grid: Grid, rate: float) -> float:
    """Delay a symbol within what clocks can differ by."""
    most = MOST_CLOCK_OFFSET * grid.symbol_samples
    return min(max(rate, -most), most)
