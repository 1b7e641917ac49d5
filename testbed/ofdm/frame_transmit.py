"""Build the samples of a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from testbed.errors import FrameError
from testbed.ofdm import frame_format as form
from testbed.ofdm import symbols
from testbed.ofdm.coding import coded_length, encode_blocks, encode_header
from testbed.ofdm.frame_format import Header, Link
from testbed.ofdm.grid import Grid
from testbed.ofdm.mcs import find_mcs
from testbed.ofdm.modulation import map_bits
from testbed.ofdm.preamble import preamble, retraining

Samples = NDArray[np.complex64]
Payload = NDArray[np.uint8]


def modulate(grid: Grid, header: Header, links: Sequence[Link], payloads: Sequence[Payload]) -> Samples:
    """Samples of a data frame, see `testbed.ofdm.frame`."""
    form.check_links(grid, links)
    if header.kind == form.SOUNDING:
        raise FrameError(f"header kind={header.kind} means a sounding frame; data frames have kind 1…255")
    if len(payloads) != len(links):
        raise FrameError(f"{len(payloads)} payloads for {len(links)} links; give one array for each link")
    complete = replace(header, payload_symbols=form.payload_symbols(links))
    cells = _empty_section(grid, complete)
    rows = form.data_rows(complete.payload_symbols, grid.training_period)
    for link, payload in zip(links, payloads, strict=True):
        filled = link_cells(link, payload)
        own, positions = rows[: len(filled)], grid.data[link.subcarriers]
        signs, entry = form.data_signs(grid, own, positions)
        cells[np.ix_(own, positions)] = filled * signs[entry]
    return assemble(grid, complete, cells)


def link_cells(link: Link, payload: Payload) -> NDArray[np.complex64]:
    """(symbols, s) cells of a link: blocks take turns cell by cell, first over subcarriers, then over time.

    Every block is thus spread over all subcarriers and the whole duration of its link.
    """
    expected = (link.blocks, link.block_bytes)
    if payload.shape != expected or payload.dtype != np.uint8:
        raise FrameError(f"payload is {payload.dtype} {payload.shape}; the link carries uint8 {expected}")
    scheme = find_mcs(link.mcs)
    coded = encode_blocks(payload, link.mcs, coded_length(link.block_bytes, link.mcs))
    mapped = map_bits(coded.ravel(), scheme.bits_per_symbol).reshape(link.blocks, -1).T.ravel()
    cells = np.zeros(form.link_symbols(link) * len(link.subcarriers), np.complex64)
    cells[: len(mapped)] = mapped
    return cells.reshape(-1, len(link.subcarriers))


def assemble(grid: Grid, header: Header, section: NDArray[np.complex64]) -> Samples:
    """Preamble, header and the rows section (T, U) as samples."""
    coded = encode_header(form.pack(header), form.header_bits(grid))
    body = symbols.modulate(grid, np.vstack([form.header_cells(grid, coded), section]))
    return _within_full_scale(np.concatenate([preamble(grid), body]))


def _within_full_scale(samples: Samples) -> Samples:
    """Clips, in place, the one sample in millions that a converter would clip."""
    axes = samples.view(np.float32)
    np.clip(axes, -1.0, 1.0, out=axes)
    return samples


def training_cells(grid: Grid, rows: NDArray[np.int64]) -> NDArray[np.complex64]:
    """(rows, U) cells of training symbols."""
    return np.asarray(form.training_signs(grid, rows)[:, None] * retraining(grid))


def _empty_section(grid: Grid, header: Header) -> NDArray[np.complex64]:
    """(T, U) rows after the header with pilots and training symbols, data cells silent."""
    rows = np.arange(form.section_rows(grid, header))
    cells = np.zeros((len(rows), len(grid.used)), np.complex64)
    cells[:, grid.pilots] = form.pilot_signs(grid, rows)
    known = form.training_rows(header.payload_symbols, grid.training_period)
    cells[known] = training_cells(grid, known)
    return cells
