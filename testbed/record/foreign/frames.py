"""One way to read all binary formats: walk the frames, look at their headers, decode them by layout.

A format gives five small functions (`Dialect`); everything that is easy to get wrong in each of them again —
blocks, damage, mixed layouts, clocks, transmitters, memory — is done here once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from testbed.errors import RecordError
from testbed.record.foreign.clock import Clock, Reading, undo_wrap
from testbed.record.foreign.dialect import KEY, LENGTH, START, Dialect, Headers
from testbed.record.foreign.grid import Grid, Layout, common_grid
from testbed.record.foreign.peek import Bytes, Rows
from testbed.record.foreign.power import unknown_noise
from testbed.record.foreign.spread import spread
from testbed.record.foreign.stream import Window, sha256
from testbed.record.foreign.value import RAW_REFERENCE, ForeignCsi, Letters, Packets, empty_packets

CHUNK_BYTES = 24 << 20


@dataclass(frozen=True, eq=False)
class Block:
    """Frames of one block; `consumed` bytes hold them and what was skipped before."""

    bytes: Bytes
    rows: Rows
    headers: Headers
    skipped: int
    ends: bool


def open_frames(path: Path, dialect: Dialect) -> ForeignCsi:
    """Survey a file and describe it; its packets are read when asked for. Without any RSSI its scale is relative.

    Raises:
        RecordError: it cannot be read, or holds no sound packet.
    """
    keys: Counter[int] = Counter()
    powers = False
    for block in _walked(path, dialect):
        good = block.headers.good
        values, counts = np.unique(block.rows[good, KEY], return_counts=True)
        keys.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        powers = powers or bool(np.isfinite(block.headers.rssi_dbm[good]).any())
    if not keys:
        raise RecordError(f"{path}: no sound {dialect.name} packet in it; nothing can be imported")
    if dialect.absolute and not powers:
        dialect = replace(dialect, scale=None, absolute=False, reference=RAW_REFERENCE, noise=unknown_noise)
    layouts = {key: dialect.layout(key) for key in keys}
    grid = common_grid(path, layouts, keys)
    return ForeignCsi(
        format=dialect.name,
        hardware=dialect.hardware,
        sha256=sha256(path),
        links=grid.links,
        frequency_hz=grid.frequency_hz,
        used=grid.used,
        spacing_hz=grid.spacing_hz,
        center_hz=grid.center_hz,
        absolute=dialect.absolute,
        amplitude_reference=dialect.reference,
        clock=dialect.clock.name,
        chunks=lambda: _packets(path, dialect, layouts, grid),
        transmitters_known=dialect.transmitters_known,
        remarks=dialect.remarks + grid.remarks,
    )


def coverage(start: bytes, dialect: Dialect) -> float:
    """Which part of a file's beginning is sound packets of this format: 0 … 1; damage may come first."""
    content = np.frombuffer(start, np.uint8)[dialect.begin :]
    rows = dialect.walk(content, True, False).rows
    return float(rows[:, LENGTH].sum()) / content.size if content.size else 0.0


def _walked(path: Path, dialect: Dialect) -> Iterator[Block]:
    """Blocks of frames. The last packet of a block waits for the next block, so that its follower is known."""
    window, lost = Window(path, dialect.begin), False
    while (more := window.grow()) is not None:
        content, ends = more
        found = dialect.walk(content, ends, lost)
        lost = found.lost
        headers = dialect.headers(content, found.rows)
        count = len(found.rows) if ends else _complete(headers.joins)
        yield Block(content, found.rows[:count], headers.take(slice(count)), found.skipped, ends)
        consumed = found.consumed if count == len(found.rows) else int(found.rows[count, START])
        lost = lost and consumed == found.consumed
        window.consume(consumed)


def _complete(joins: NDArray[np.bool_]) -> int:
    """How many leading frames make packets that cannot grow any more: all but the last packet."""
    begins = np.flatnonzero(~joins)
    return int(begins[-1]) if begins.size else 0


def _packets(path: Path, dialect: Dialect, layouts: dict[int, Layout], grid: Grid) -> Iterator[Packets]:
    letters, last, skipped = Letters(), None, 0
    for block in _walked(path, dialect):
        skipped += block.skipped
        sound = block.headers.good & np.isin(block.rows[:, KEY], list(layouts))
        time_s, sound, last = _timed(dialect.clock, block, sound, last)
        packet = np.cumsum(~block.headers.joins) - 1
        whole = _whole(packet, sound)
        skipped += int(np.unique(packet[~whole]).size)
        for chunk in _decoded(dialect, block, whole, time_s, layouts, grid, letters):
            yield replace(chunk, skipped=skipped + chunk.skipped)
            skipped = 0
    if skipped:
        yield empty_packets(len(grid.links), grid.frequency_hz.size, skipped)


def _timed(
    clock: Clock, block: Block, sound: NDArray[np.bool_], last: Reading | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_], Reading | None]:
    """Seconds of each frame (NaN for unsound ones), which frames remain sound, and the clock's state."""
    time_s = np.full(sound.size, np.nan)
    if not sound.any():
        return time_s, sound, last
    seconds, keep, last = undo_wrap(clock, block.headers.ticks[sound], last, block.ends)
    index = np.flatnonzero(sound)
    time_s[index[keep]] = seconds
    return time_s, ~np.isnan(time_s), last


def _whole(packet: NDArray[np.int64], sound: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Frames of packets all of whose frames are sound."""
    broken = np.zeros(packet.size + 1, np.bool_)
    broken[packet[~sound]] = True
    return ~broken[packet] if packet.size else sound


def _decoded(
    dialect: Dialect,
    block: Block,
    whole: NDArray[np.bool_],
    time_s: NDArray[np.float64],
    layouts: dict[int, Layout],
    grid: Grid,
    letters: Letters,
) -> Iterator[Packets]:
    """Chunks of at most `CHUNK_BYTES`; packets without a finite, positive scale are left out and counted."""
    index = np.flatnonzero(whole)
    if not index.size:
        return
    begins = np.flatnonzero(~block.headers.joins[index])
    most = max(1, CHUNK_BYTES // (8 * len(grid.links) * grid.frequency_hz.size))
    for first in range(0, begins.size, most):
        begin = begins[first]
        end = begins[first + most] if first + most < begins.size else index.size
        yield _chunk(dialect, block, index[begin:end], time_s, layouts, grid, letters)


def _chunk(
    dialect: Dialect,
    block: Block,
    index: NDArray[np.int64],
    time_s: NDArray[np.float64],
    layouts: dict[int, Layout],
    grid: Grid,
    letters: Letters,
) -> Packets:
    headers, rows = block.headers.take(index), block.rows[index]
    packet = np.cumsum(~headers.joins) - 1
    count = int(packet[-1]) + 1
    out = empty_packets(len(grid.links), grid.frequency_hz.size, 0, count)
    scaled = np.ones(count, np.bool_)
    for key in np.unique(rows[:, KEY]).tolist():
        chosen = np.flatnonzero(rows[:, KEY] == key)
        _place(
            dialect, block.bytes, rows[chosen], headers.take(chosen), layouts[key], grid, packet[chosen], out, scaled
        )
    firsts = np.flatnonzero(~headers.joins)
    out.time_s[:] = time_s[index[firsts]]
    out.agc_db[:] = headers.agc_db[firsts]
    good = firsts[scaled]
    numbers = letters.number(headers.address[good])
    return Packets(
        h=out.h if scaled.all() else out.h[scaled],
        time_s=out.time_s[scaled],
        rssi_dbm=out.rssi_dbm[scaled],
        noise=out.noise[scaled],
        agc_db=out.agc_db[scaled],
        scale=out.scale[scaled],
        valid=out.valid[scaled],
        transmitter=numbers,
        skipped=int((~scaled).sum()),
    )


def _place(
    dialect: Dialect,
    content: Bytes,
    rows: Rows,
    headers: Headers,
    layout: Layout,
    grid: Grid,
    packet: NDArray[np.int64],
    out: Packets,
    scaled: NDArray[np.bool_],
) -> None:
    """Decode frames of one layout into their packets, on the grid of the file."""
    h = dialect.decode(content, rows, layout)
    factor = dialect.scale(h, headers, layout) if dialect.scale else np.ones(h.shape[:2], np.float32)
    scaled[packet[~(np.isfinite(factor) & (factor > 0)).all(axis=1)]] = False
    link, tone = grid.place(layout)
    spread(h, factor, packet, link, np.where(layout.null, -1, tone), out.h)
    at = packet[:, None], link[None, :]
    antennas = [rx for rx, _ in layout.links]
    out.rssi_dbm[at] = headers.rssi_dbm[:, antennas]
    out.noise[at] = dialect.noise(headers)[:, None]
    out.scale[at] = factor
    out.valid[at] = True
