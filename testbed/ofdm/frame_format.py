"""What a frame is made of: its links, its header, and which symbol is where.

    | preamble | header symbols | payload symbols, after each `training_period` and the last a training symbol |

A symbol is N samples after a prefix of CP; every symbol carries pilots of known sign on the grid's pilots.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.errors import FrameError
from testbed.ofdm.coding import coded_length
from testbed.ofdm.grid import Grid, Indices
from testbed.ofdm.mcs import find_mcs
from testbed.ofdm.modulation import map_bits
from testbed.ofdm.preamble import preamble_samples

SOUNDING: Final = 0
MAX_SYMBOLS: Final = 65535
HEADER_CODED_BITS: Final = 1536
HEADER_BITS_PER_SYMBOL: Final = 2
_PACKED: Final = struct.Struct(">BBIHBB")
_SIGN_ROWS: Final = 127


@dataclass(frozen=True, eq=False)
class Link:
    """What one directed link carries in a frame.

    Attributes:
        subcarriers: (s,) int, which of the grid's M data subcarriers serve it, in any order, one included.
        mcs: index of the modulation and coding scheme.
        blocks: payload blocks, each with its own checksum.
        block_bytes: bytes of each block.
    """

    subcarriers: Indices
    mcs: int
    blocks: int
    block_bytes: int


@dataclass(frozen=True)
class Header:
    """What every receiver learns of a frame; 10 bytes under a checksum of its own.

    Attributes:
        source: transmitting node, 0…255.
        kind: 0 is a sounding frame; 1…255 are data frames of the caller's choice.
        number: frame number, 32 bits; a receiver tells old frames by it.
        payload_symbols: symbols after the header that are data (or, in a sounding frame, known); set by the
            transmitter from what the frame carries.
        layer, tag: 0…255 each, for the caller.
    """

    source: int
    kind: int
    number: int
    payload_symbols: int = 0
    layer: int = 0
    tag: int = 0


def pack(header: Header) -> bytes:
    """The 10 bytes of a header; FrameError for a field out of range."""
    limits = {"source": 255, "kind": 255, "number": 2**32 - 1, "payload_symbols": MAX_SYMBOLS, "layer": 255, "tag": 255}
    for field, most in limits.items():
        value = getattr(header, field)
        if not isinstance(value, int | np.integer) or not 0 <= value <= most:
            raise FrameError(f"header {field}={value!r} must be a whole number from 0 to {most}")
    return _PACKED.pack(header.kind, header.source, header.number, header.payload_symbols, header.layer, header.tag)


def unpack(packed: bytes) -> Header | None:
    """The header of its bytes; None when their number is not that of a header."""
    if len(packed) != _PACKED.size:
        return None
    kind, source, number, payload_symbols, layer, tag = _PACKED.unpack(packed)
    return Header(source, kind, number, payload_symbols, layer, tag)


def positions(grid: Grid, link: Link) -> Indices:
    """(s,) which of the used subcarriers serve a link."""
    return np.asarray(grid.data[np.asarray(link.subcarriers)])


def cells_per_block(link: Link) -> int:
    """Constellation symbols of one block."""
    return coded_length(link.block_bytes, link.mcs) // find_mcs(link.mcs).bits_per_symbol


def link_symbols(link: Link) -> int:
    """OFDM symbols of the payload that a link needs; it is silent in the rest of the frame."""
    return -(-cells_per_block(link) * int(link.blocks) // len(link.subcarriers))


def check_link(grid: Grid, link: Link) -> None:
    """FrameError when a link is impossible on this grid, or too long for a frame."""
    places = np.asarray(link.subcarriers)
    if places.ndim != 1 or not places.size or not np.issubdtype(places.dtype, np.integer):
        raise FrameError(f"subcarriers {places.dtype} {places.shape} must be a list of one or more whole numbers")
    outside = places[(places < 0) | (places >= len(grid.data))]
    if outside.size:
        raise FrameError(f"subcarrier {outside[0]} is outside the grid's data subcarriers 0…{len(grid.data) - 1}")
    if np.unique(places).size != places.size:
        raise FrameError(f"subcarriers {places.tolist()} name a subcarrier twice")
    if not isinstance(link.blocks, int | np.integer) or isinstance(link.blocks, bool) or link.blocks < 1:
        raise FrameError(f"blocks={link.blocks!r} must be a whole number of 1 or more; leave an idle link out")
    if link_symbols(link) > MAX_SYMBOLS:
        raise FrameError(
            f"{link.blocks} blocks of {link.block_bytes} bytes take {link_symbols(link)} symbols; a frame has at "
            f"most {MAX_SYMBOLS}: give the link more subcarriers or fewer blocks"
        )


def check_links(grid: Grid, links: Sequence[Link]) -> None:
    """FrameError when there is no link, one is impossible, or two share a subcarrier."""
    if not links:
        raise FrameError("links is empty; a frame carries one link or more")
    for link in links:
        check_link(grid, link)
    places, uses = np.unique(np.concatenate([link.subcarriers for link in links]), return_counts=True)
    if np.any(uses > 1):
        raise FrameError(f"subcarrier {places[uses > 1][0]} serves two links; subcarriers of links must be disjoint")


def payload_symbols(links: Sequence[Link]) -> int:
    """Payload symbols of a frame: those of its longest link."""
    return max(link_symbols(link) for link in links)


def header_symbols(grid: Grid) -> int:
    """Symbols of the header: QPSK on all data subcarriers, code rate about 0.1."""
    return -(-HEADER_CODED_BITS // (HEADER_BITS_PER_SYMBOL * len(grid.data)))


def data_rows(count: int, period: int) -> Indices:
    """(count,) row, counted from the end of the header, of each payload symbol."""
    symbol = np.arange(count)
    return symbol + symbol // period


def training_rows(count: int, period: int) -> Indices:
    """(b,) rows of the training symbols among `count` payload symbols, the last one closing the frame."""
    ends = np.append(np.arange(period, count, period), count)
    return ends + np.arange(len(ends))


def section_rows(grid: Grid, header: Header) -> int:
    """Rows (payload and training symbols) after the header."""
    if header.kind == SOUNDING:
        return header.payload_symbols
    return header.payload_symbols + len(training_rows(header.payload_symbols, grid.training_period))


def samples_of(grid: Grid, rows: int) -> int:
    """Samples of a frame with `rows` rows after the header."""
    return preamble_samples(grid) + (header_symbols(grid) + rows) * grid.symbol_samples


@lru_cache(maxsize=32)
def _sign_table(grid: Grid) -> NDArray[np.float32]:
    generator = np.random.Generator(np.random.PCG64(grid.fingerprint ^ 2))
    draws = generator.random((_SIGN_ROWS, len(grid.pilots) + 1))
    return np.where(draws < 0.5, np.float32(-1), np.float32(1))


def pilot_signs(grid: Grid, rows: Indices) -> NDArray[np.float32]:
    """(rows, P) ±1 of the pilots in rows counted from the end of the header; header rows are negative."""
    return np.asarray(_sign_table(grid)[rows % _SIGN_ROWS, 1:])


def training_signs(grid: Grid, rows: Indices) -> NDArray[np.float32]:
    """(rows,) ±1 that multiplies the training symbol in a row, so that no subcarrier has a mean."""
    return np.asarray(_sign_table(grid)[rows % _SIGN_ROWS, 0])


@lru_cache(maxsize=32)
def _whitening(grid: Grid) -> NDArray[np.float32]:
    draws = np.random.Generator(np.random.PCG64(grid.fingerprint ^ 3)).random((_SIGN_ROWS, len(grid.used)))
    return np.where(draws < 0.5, np.float32(-1), np.float32(1))


def data_signs(grid: Grid, rows: Indices, positions: Indices) -> tuple[NDArray[np.float32], Indices]:
    """Table (127, s) of ±1 that multiply data cells at `positions` of the used subcarriers; (rows,) entry of each row.

    Blocks of equal bytes, which quantised states often are, would else repeat over subcarriers and peak in time.
    """
    return np.ascontiguousarray(_whitening(grid)[:, positions]), rows % _SIGN_ROWS


def header_cells(grid: Grid, coded: NDArray[np.uint8]) -> NDArray[np.complex64]:
    """(H, U) cells of the header symbols from its coded bits (H·M·2,)."""
    count = header_symbols(grid)
    cells = np.empty((count, len(grid.used)), np.complex64)
    cells[:, grid.data] = map_bits(coded, HEADER_BITS_PER_SYMBOL).reshape(count, -1)
    cells[:, grid.pilots] = pilot_signs(grid, np.arange(-count, 0))
    return cells


def header_bits(grid: Grid) -> int:
    """Coded bits that the header symbols carry."""
    return header_symbols(grid) * len(grid.data) * HEADER_BITS_PER_SYMBOL
