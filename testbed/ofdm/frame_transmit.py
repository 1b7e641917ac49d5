"""Build the samples of a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from testbed.errors import FrameError
from testbed.ofdm import frame_format as form
from testbed.ofdm import frame_kernels, symbols
from testbed.ofdm.coding import coded_length, encode_blocks, encode_header
from testbed.ofdm.frame_format import Header, Link
from testbed.ofdm.grid import Grid, Indices
from testbed.ofdm.mcs import find_mcs
from testbed.ofdm.modulation import map_bits
from testbed.ofdm.preamble import preamble, retraining

Samples = NDArray[np.complex64]
Cells = NDArray[np.complex64]
Payload = NDArray[np.uint8]
Bits = NDArray[np.uint8]


def modulate(grid: Grid, header: Header, links: Sequence[Link], payloads: Sequence[Payload]) -> Samples:
    """Samples of a data frame, see `testbed.ofdm.frame`."""
    form.check_links(grid, links)
    if len(payloads) != len(links):
        raise FrameError(f"{len(payloads)} payloads for {len(links)} links; give one array for each link")
    return modulate_coded(grid, header, links, [_encode(*pair) for pair in zip(links, payloads, strict=True)])


def _encode(link: Link, payload: Payload) -> Bits:
    expected = (link.blocks, link.block_bytes)
    if not isinstance(payload, np.ndarray) or payload.shape != expected or payload.dtype != np.uint8:
        given = f"{payload.dtype} {payload.shape}" if isinstance(payload, np.ndarray) else type(payload).__name__
        raise FrameError(f"payload is {given}; the link carries an array uint8 {expected}")
    return encode_blocks(payload, link.mcs, coded_length(link.block_bytes, link.mcs))


def modulate_coded(grid: Grid, header: Header, links: Sequence[Link], coded: Sequence[Bits]) -> Samples:
    """Samples of a data frame from the coded bits (blocks, coded) uint8 of each link.

    Blocks of a link take turns cell by cell, first over subcarriers, then over time: each is spread over all
    subcarriers and the whole duration of the link. FrameError when the header is that of a sounding frame.
    """
    if header.kind == form.SOUNDING:
        raise FrameError(f"header kind={header.kind} means a sounding frame; data frames have kind 1…255")
    complete = replace(header, payload_symbols=form.payload_symbols(links))
    frame, section = blank(grid, complete)
    rows = form.data_rows(complete.payload_symbols, grid.training_period)
    for link, bits in zip(links, coded, strict=True):
        points = map_bits(bits.ravel(), find_mcs(link.mcs).bits_per_symbol).reshape(link.blocks, -1)
        own, positions = rows[: form.link_symbols(link)], form.positions(grid, link)
        frame_kernels.lay_out(points, own, positions, *form.data_signs(grid, own, positions), section)
    train(grid, section, form.training_rows(complete.payload_symbols, grid.training_period))
    return render(grid, frame)


def blank(grid: Grid, header: Header) -> tuple[Cells, Cells]:
    """Cells (H+T, U) of a frame with header and pilots, the rest silent; and a view of the T rows after the header."""
    head, rows = form.header_symbols(grid), np.arange(form.section_rows(grid, header))
    cells = np.zeros((head + len(rows), len(grid.used)), np.complex64)
    cells[:head] = form.header_cells(grid, encode_header(form.pack(header), form.header_bits(grid)))
    cells[head:, grid.pilots] = form.pilot_signs(grid, rows)
    return cells, cells[head:]


def train(grid: Grid, section: Cells, rows: Indices) -> None:
    """Make `rows` of a section (T, U) training symbols."""
    section[rows] = form.training_signs(grid, rows)[:, None] * retraining(grid)


def render(grid: Grid, cells: Cells) -> Samples:
    """Preamble and cells (H+T, U) as samples, clipped at full scale as a converter would: one in 35 million."""
    start = preamble(grid)
    samples = np.empty(len(start) + len(cells) * grid.symbol_samples, np.complex64)
    samples[: len(start)] = start
    symbols.modulate(grid, cells, samples[len(start) :], limit=1.0)
    return samples
