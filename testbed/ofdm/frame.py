"""Frames: the entry points of the modem.

    samples = modulate(grid, header, links, payloads)
    received = demodulate(grid, samples, link)

A frame carries the blocks of one or more directed links, each on data subcarriers of its own; a receiver decodes
its link and ignores the rest. Transmitter and receiver agree beforehand on the grid and on the link (subcarriers,
scheme, number and size of blocks); the header tells source, kind, number and length. Samples are complex64 at the
grid's sample rate, full scale 1.0 on each axis. A frame may lie anywhere in a capture and may repeat.

The receiver finds the frame, removes DC and carrier offset, estimates the channel from preamble, header and
training symbols, follows clock, phase and channel through the frame, and yields log-likelihood ratios, bytes
and channel state. CRC-32 alone decides which blocks are good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.errors import FrameError
from testbed.ofdm import frame_format as form
from testbed.ofdm.coding import coded_length, decode_blocks
from testbed.ofdm.csi_value import Csi
from testbed.ofdm.frame_format import SOUNDING, Header, Link, check_link, check_links, link_symbols
from testbed.ofdm.frame_opening import Opening, open_frames, opening_csi
from testbed.ofdm.frame_receive import equalise, track
from testbed.ofdm.frame_section import Plan, read_section
from testbed.ofdm.frame_transmit import modulate
from testbed.ofdm.grid import Grid
from testbed.ofdm.mcs import find_mcs
from testbed.ofdm.modulation import constellation, demap
from testbed.ofdm.sync import Survey, checked, survey

__all__ = ["Header", "Link", "Received", "demodulate", "frame_samples", "link_symbols", "modulate", "soft_bits"]

Samples = NDArray[np.complex64]
Floats = NDArray[np.float32]

EVM_CELLS: Final = 4096


@dataclass(frozen=True, eq=False)
class Received:
    """A frame that was heard.

    Attributes:
        header: source, kind, number, length; its checksum holds. Compare `number` to tell an old frame.
        csi: channel state from preamble and header, on all used subcarriers.
        payloads: (blocks, block_bytes) uint8; rows that failed their checksum are zeros.
        ok: (blocks,) bool, which blocks passed their checksum.
        llr: (blocks, coded) float32 log P(0)/P(1), those passed in as `soft` included: pass it on to combine the
            next attempt.
        symbols: (c,) complex64 equalised constellation points of the link, block after block.
        evm: rms distance of (up to 4096 of) them from the nearest constellation point, relative to unit mean energy;
            NaN without a link.
        snr_db: mean SNR over the link's subcarriers (all of them without a link), in dB.
        start: sample of the capture at which the frame begins; end: first sample after it.
        cfo_hz: the transmitter's carrier minus the receiver's.
        clipped: the capture touched full scale.
        truncated: the capture ends within the frame; bits it does not hold have LLR 0.
    """

    header: Header
    csi: Csi
    payloads: NDArray[np.uint8]
    ok: NDArray[np.bool_]
    llr: Floats
    symbols: NDArray[np.complex64]
    evm: float
    snr_db: float
    start: int
    end: int
    cfo_hz: float
    clipped: bool
    truncated: bool


def frame_samples(grid: Grid, links: Sequence[Link]) -> int:
    """Samples of a data frame that carries `links`; FrameError as `modulate`."""
    check_links(grid, links)
    header = Header(0, 1, 0, form.payload_symbols(links))
    return form.samples_of(grid, form.section_rows(grid, header))


def demodulate(
    grid: Grid,
    samples: Samples,
    link: Link | None = None,
    *,
    soft: Floats | None = None,
    begin: int = 0,
    number: int | None = None,
) -> Received | None:
    """Decode one link of the first complete frame in a capture.

    Args:
        grid: what the transmitter used.
        samples: (n,) complex64 capture, full scale 1.0. It should span two frames when frames repeat, so that
            one is complete.
        link: what to decode; None reads header and channel alone.
        soft: (blocks, coded) LLRs of earlier attempts at the same blocks, added before decoding.
        begin: sample at which to begin the search; `end` of an earlier result finds the next frame.
        number: skip frames with another number.

    Returns:
        None when there is no frame whose header can be read: noise, too weak, another grid, too short a capture,
        or no frame of that number. If all frames are cut short by the end of the capture, the first of them,
        marked truncated. All blocks fail when the frame is a sounding frame or shorter than the link.

    Raises:
        FrameError: samples are not a one-dimensional complex array, or empty, NaN, infinite or beyond 1e8; an
            impossible link; soft of another shape; a negative begin.
    """
    samples = checked(samples)
    looked = survey(samples)
    if link is not None:
        check_link(grid, link)
        _check_soft(link, soft)
    fallback: Opening | None = None
    for opening in open_frames(grid, samples, looked.mean, begin):
        if number is not None and opening.header.number != number:
            continue
        if opening.end <= len(samples) + grid.symbol_samples:
            return _receive(grid, samples, looked, opening, link, soft)
        fallback = fallback or opening
    return _receive(grid, samples, looked, fallback, link, soft) if fallback else None


def _check_soft(link: Link, soft: Floats | None) -> None:
    expected = (link.blocks, coded_length(link.block_bytes, link.mcs))
    if soft is not None and np.shape(soft) != expected:
        raise FrameError(f"soft has shape {np.shape(soft)}; the link's blocks have {expected} coded bits")


def _receive(
    grid: Grid, samples: Samples, looked: Survey, opening: Opening, link: Link | None, soft: Floats | None
) -> Received:
    truncated = opening.end > len(samples)
    csi = opening_csi(grid, opening, clipped=looked.clipped > 0, truncated=truncated)
    if link is None:
        points, snr = np.zeros(0, np.complex64), csi.snr
        payloads, ok, llr = np.zeros((0, 0), np.uint8), np.zeros(0, bool), np.zeros((0, 0), np.float32)
    else:
        points, llr = soft_bits(grid, samples, opening, link)
        llr = llr if soft is None else llr + np.asarray(soft, np.float32)
        payloads, ok = decode_blocks(llr, link.block_bytes, link.mcs)
        snr = csi.snr[form.positions(grid, link)]
    return Received(
        header=opening.header,
        csi=csi,
        payloads=payloads,
        ok=ok,
        llr=llr,
        symbols=points.ravel(),
        evm=_evm(points.ravel(), link),
        snr_db=float(10 * np.log10(max(float(np.mean(snr)), 1e-10))),
        start=opening.start,
        end=opening.end,
        cfo_hz=csi.cfo_hz,
        clipped=csi.clipped,
        truncated=truncated,
    )


def soft_bits(grid: Grid, samples: Samples, opening: Opening, link: Link) -> tuple[NDArray[np.complex64], Floats]:
    """Equalised points (blocks, c) and LLRs (blocks, coded) of a link; what the capture lacks is 0."""
    coded = coded_length(link.block_bytes, link.mcs)
    if opening.header.kind == SOUNDING or opening.header.payload_symbols < link_symbols(link):
        return np.zeros((link.blocks, 0), np.complex64), np.zeros((link.blocks, coded), np.float32)
    wanted = form.data_rows(link_symbols(link), grid.training_period)
    positions = form.positions(grid, link)
    known = form.training_rows(opening.header.payload_symbols, grid.training_period)
    section = read_section(grid, samples, opening, Plan(known, wanted, grid.used[positions]))
    followed = track(grid, opening, section)
    shape = (link.blocks, form.cells_per_block(link))
    points, noise = equalise(grid, opening, section, followed, wanted, positions, shape)
    llr = demap(points.ravel(), noise.ravel(), find_mcs(link.mcs).bits_per_symbol)
    return points, llr.reshape(link.blocks, coded)


def _evm(points: NDArray[np.complex64], link: Link | None) -> float:
    if link is None or not len(points):
        return float("nan")
    some = points[:: -(-len(points) // EVM_CELLS)]
    ideal = constellation(find_mcs(link.mcs).bits_per_symbol)
    nearest = np.min(np.abs(some[:, None] - ideal), axis=1)
    return float(np.sqrt(np.mean(nearest**2)))
