"""Sounding frames: every used subcarrier measured again and again, with a low crest factor.

A sounding frame is an ordinary preamble and header followed by `repetitions` training symbols, at the amplitude
that data has on every subcarrier.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from testbed.errors import FrameError
from testbed.ofdm import frame_format as form
from testbed.ofdm.estimate import lmmse, ramp
from testbed.ofdm.frame_format import SOUNDING, Header
from testbed.ofdm.frame_opening import Opening, backoff, open_frames, row_starts
from testbed.ofdm.frame_section import Plan, Section, read_section
from testbed.ofdm.frame_transmit import blank, render, train
from testbed.ofdm.grid import Grid, Indices
from testbed.ofdm.sync import Survey, checked, survey

Samples = NDArray[np.complex64]


@dataclass(frozen=True, eq=False)
class Sounded:
    """A sounding frame as received: aligned least-squares estimates, ready for any estimator.

    Attributes:
        header: of the frame; `payload_symbols` is the number of repetitions.
        estimates: (R, U) complex64 least-squares estimates in time order, each with error `noise`. Common phase
            and clock drift are taken out; delays count from the start of the receive window, where the first path
            comes `lead` samples late.
        noise: noise variance on a subcarrier, from `degrees` complex degrees of freedom.
        cfo: carrier offset in subcarriers; sfo: how much faster the transmitter's sample clock runs, as a ratio.
        start: sample where the frame begins; middle: sample at which the common phase holds.
        lead: samples the receive window begins before the first path.
        clipped, truncated: as in Csi.
    """

    header: Header
    estimates: NDArray[np.complex64]
    noise: float
    degrees: float
    cfo: float
    sfo: float
    start: int
    middle: float
    lead: int
    clipped: bool
    truncated: bool


def sounding_samples(grid: Grid, repetitions: int) -> int:
    """Samples of a sounding frame; FrameError unless 1 ≤ repetitions ≤ 65535."""
    if not isinstance(repetitions, int | np.integer) or not 1 <= repetitions <= form.MAX_SYMBOLS:
        raise FrameError(f"repetitions={repetitions!r} must be a whole number from 1 to {form.MAX_SYMBOLS}")
    return form.samples_of(grid, repetitions)


def sounding_frame(grid: Grid, header: Header, repetitions: int) -> Samples:
    """(n,) complex64 samples of a sounding frame, n = sounding_samples(grid, repetitions).

    The header's kind and payload_symbols are set here. FrameError for repetitions or a header field out of range.
    """
    sounding_samples(grid, repetitions)
    complete = replace(header, kind=SOUNDING, payload_symbols=repetitions)
    frame, section = blank(grid, complete)
    train(grid, section, np.arange(repetitions))
    return render(grid, frame)


def receive_sounding(grid: Grid, samples: Samples, *, begin: int = 0, number: int | None = None) -> Sounded | None:
    """First complete sounding frame of a capture, or the first that is cut short when there is no complete one.

    Args:
        grid: what the transmitter used.
        samples: (n,) complex64 capture, full scale 1.0.
        begin: sample at which to begin the search.
        number: skip frames with another number.

    Returns:
        None when no sounding frame with a readable header and one whole training symbol is there.

    Raises:
        FrameError: samples are not a one-dimensional complex array, or empty, NaN, infinite or beyond 1e8; a negative
            begin.
    """
    samples = checked(samples)
    looked = survey(samples)
    fallback: Opening | None = None
    for opening in open_frames(grid, samples, looked.mean, begin):
        if opening.header.kind != SOUNDING or number not in (None, opening.header.number):
            continue
        if opening.end <= len(samples) + grid.symbol_samples:
            return _measure(grid, samples, looked, opening)
        fallback = fallback or opening
    return _measure(grid, samples, looked, fallback) if fallback else None


def _measure(grid: Grid, samples: Samples, looked: Survey, opening: Opening) -> Sounded | None:
    known = np.arange(opening.header.payload_symbols)
    nothing: Indices = np.zeros(0, np.int64)
    section = read_section(grid, samples, opening, Plan(known, nothing, nothing))
    if not len(section.known):
        return None
    estimates, turn = _align(grid, opening, section)
    average = estimates.mean(axis=0)
    degrees = opening.degrees + (len(estimates) - 1) * (len(grid.used) - 1)
    scatter = float(np.sum(np.abs(estimates - average) ** 2, dtype=np.float64))
    row = float(section.known.mean())
    middle = float(row_starts(grid, opening.start, np.zeros(1, np.int64))[0]) + row * grid.symbol_samples
    cfo = opening.cfo + turn * grid.fft_size / (2 * np.pi * grid.symbol_samples)
    phase = np.exp(1j * (2 * np.pi * opening.cfo * middle / grid.fft_size + turn * (row - opening.time)))
    return Sounded(
        header=opening.header,
        estimates=(estimates * phase).astype(np.complex64),
        noise=(opening.noise * opening.degrees + scatter) / degrees,
        degrees=degrees,
        cfo=cfo,
        sfo=-section.rate / grid.symbol_samples,
        start=opening.start,
        middle=middle,
        lead=backoff(grid),
        clipped=looked.clipped > 0,
        truncated=opening.end > len(samples),
    )


def _align(grid: Grid, opening: Opening, section: Section) -> tuple[NDArray[np.complex64], float]:
    """Estimates (R, U) as at their mean time, without their own phases, and the mean turn in radian a symbol.

    Referred to their mean time, they suffer least from the error of the clock rate.
    """
    centre = float(section.known.mean())
    delay = section.rate * (section.known - centre) - section.slip[section.known]
    level = section.estimates * np.conj(ramp(grid, delay))
    reference, _ = lmmse(grid, opening.ls, opening.noise / opening.count, grid.cyclic_prefix)
    reference = reference * ramp(grid, section.rate * (centre - opening.time))
    phases = np.unwrap(np.angle(np.concatenate([[1.0], level @ np.conj(reference)])))
    times = np.concatenate([[opening.time], section.known.astype(float)]) - opening.time
    turn = float(times @ phases / (times @ times))
    return (level * np.exp(-1j * phases[1:])[:, None]).astype(np.complex64), turn
