"""Intel AX200/AX210, `.csi` of FeitCSI (M. Hutar).

Definition: https://feitcsi.kuskosoft.com/csi_format, and `Csi.h`, `Csi.cpp` of KuskoSoft/FeitCSI. Frames: 272 bytes
of header, then int16 real, imaginary; tone fastest, then transmit, then receive antenna. At 160 MHz some firmware
puts junk between the two 80 MHz halves, which is left out here as the tool does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from testbed.compiled import kernel
from testbed.record.foreign.clock import Clock
from testbed.record.foreign.dialect import START, Dialect, Headers, Walk
from testbed.record.foreign.frames import coverage, open_frames
from testbed.record.foreign.grid import Layout, all_sent, pairs
from testbed.record.foreign.peek import NO, NOT_YET, YES, Bytes, Rows, address, fields, int16_pairs, u8, u32
from testbed.record.foreign.power import rssi_scale, unknown_noise
from testbed.record.foreign.tones import FILLED, VHT, is_pilot, spacing_hz
from testbed.record.foreign.value import POWER_REFERENCE, ForeignCsi

NAME = "feitcsi"
HEADER_BYTES = 272
SURE_BYTES = 96  # up to the rate, by which a header is known
MOST_BYTES = 4 * 16 * (1992 + 28)
MHZ = (20, 40, 80, 160)
JUNK = {VHT: 14}  # else 28: between tone 996 and 1024 of HE at 160 MHz
CLOCK = Clock(1e-6, 32, False, "card's 1 MHz clock, since the first packet")
HEADER = np.dtype([
    ("size", "<u4"), ("space4", "<u4"), ("ftm", "<u4"), ("host", "<u8"), ("space20", "V26"), ("nrx", "u1"),
    ("ntx", "u1"), ("space48", "V4"), ("tones", "<u4"), ("space56", "V4"), ("rssi", "<u4", 2), ("source", "u1", 6),
    ("space74", "V14"), ("micros", "<u4"), ("rate", "<u4"),
])  # fmt: skip
_COUNTS = np.zeros((8, 8), np.int64)
for (_family, _mhz), _tones in FILLED.items():
    _COUNTS[_family, MHZ.index(_mhz)] = _tones.size


@kernel()
def _key(b: Bytes, at: int, counts: Rows) -> int:
    """Layout key of a header whose numbers agree, or −1. Bits: family 3, width 3, rx 3, tx 3, junk 1."""
    rate, tones, size = u32(b, at + 92), u32(b, at + 52), u32(b, at)
    nrx, ntx = u8(b, at + 46), u8(b, at + 47)
    family, width = (rate >> 8) & 7, (rate >> 11) & 7
    filled = counts[family, width]
    if filled == 0 or nrx < 1 or nrx > 4 or ntx < 1 or ntx > 4 or size != 4 * nrx * ntx * tones:
        return -1
    junk = 0
    if width == 3 and tones != filled:
        junk = 1
        filled += 14 if family == VHT else 28
    if tones != filled:
        return -1
    return int(family | (width << 3) | (nrx << 6) | (ntx << 9) | (junk << 12))


@kernel()
def _goes_on(b: Bytes, end: int, ends: bool, counts: Rows) -> int:
    """What `peek.NOT_YET` says, behind a frame that ends at `end`."""
    if end + HEADER_BYTES > b.size and not ends:
        return NOT_YET
    if end + 4 > b.size or (end + SURE_BYTES > b.size and 0 < u32(b, end) < MOST_BYTES):
        return YES
    if end + SURE_BYTES <= b.size and _key(b, end, counts) >= 0:
        return YES
    after = end + HEADER_BYTES + u32(b, end)
    leads = after == b.size or (after + HEADER_BYTES <= b.size and _key(b, after, counts) >= 0)
    return YES if leads and 0 < u32(b, end) < MOST_BYTES else NO


@kernel()
def _find(b: Bytes, ends: bool, lost: bool, counts: Rows, rows: Rows) -> tuple[int, int, int, bool]:
    """Fill rows; number of them, bytes consumed, damaged stretches, still lost."""
    n, at, skipped = 0, 0, 0
    while at + HEADER_BYTES <= b.size:
        key = _key(b, at, counts)
        end = at + HEADER_BYTES + u32(b, at)
        follows = _goes_on(b, end, ends, counts) if key >= 0 and end <= b.size else NO
        if follows == NOT_YET or (key >= 0 and end > b.size and not ends):
            break
        if follows == YES:
            rows[n, 0], rows[n, 1], rows[n, 2] = at, end - at, key
            n += 1
            lost, at = False, end
        else:
            skipped += 0 if lost else 1
            lost, at = True, at + 1
    if ends and at < b.size and not lost:
        skipped += 1
    return n, at, skipped, lost


def _walk(content: Bytes, ends: bool, lost: bool) -> Walk:
    rows = np.empty((content.size // (HEADER_BYTES + 208) + 1, 3), np.int64)
    n, consumed, skipped, lost = _find(content, ends, lost, _COUNTS, rows)
    return Walk(rows[:n], consumed, skipped, lost)


def _layout(key: int) -> Layout:
    family, mhz = key & 7, MHZ[(key >> 3) & 7]
    links = pairs((key >> 6) & 7, (key >> 9) & 7)
    tones = FILLED[family, mhz]
    return all_sent(links, tones, spacing_hz(family), unfit=is_pilot(family, mhz), extra=junk(family) * (key >> 12))


def junk(family: int) -> int:
    """Values between the halves of a faulty 160 MHz frame."""
    return JUNK.get(family, 28)


def _headers(content: Bytes, rows: Rows) -> Headers:
    head = fields(content, rows[:, START], HEADER)
    rssi = -head["rssi"].astype(np.float32)
    rssi[(rssi >= 0) | (rssi < -128)] = np.nan
    by_antenna = np.full((len(rows), 4), np.nan, np.float32)
    by_antenna[:, :2] = rssi
    unknown = np.full(len(rows), np.nan, np.float32)
    return Headers(
        ticks=head["micros"].astype(np.int64),
        rssi_dbm=by_antenna,
        noise_dbm=unknown,
        agc_db=unknown,
        address=address(head["source"]),
        good=np.ones(len(rows), np.bool_),
        joins=np.zeros(len(rows), np.bool_),
    )


def decode(content: Bytes, begins: Rows, layout: Layout) -> NDArray[np.complex64]:
    """(frames, links, tones) from int16 pairs at `begins`; `layout.extra` values of junk in the middle are left out."""
    tones = layout.tones.size
    raw = np.empty((begins.size, len(layout.links) * (tones + layout.extra)), np.complex64)
    int16_pairs(content, begins, raw)
    h = raw.reshape(begins.size, len(layout.links), tones + layout.extra)
    return h if not layout.extra else np.delete(h, np.arange(tones // 2, tones // 2 + layout.extra), axis=2)


DIALECT = Dialect(
    name=NAME,
    hardware="Intel AX200/AX210, FeitCSI",
    begin=0,
    walk=_walk,
    layout=_layout,
    headers=_headers,
    decode=lambda content, rows, layout: decode(content, rows[:, START] + HEADER_BYTES, layout),
    scale=rssi_scale,
    clock=CLOCK,
    reference=POWER_REFERENCE,
    noise=unknown_noise,
    remarks=("the card's numbers on pilot tones are too low to be the channel",),
)


def recognised(start: bytes) -> bool:
    """Whether a file that starts so is a log of this tool: the first header's numbers agree."""
    content = np.frombuffer(start, np.uint8)
    return content.size >= HEADER_BYTES and int(_key(content, 0, _COUNTS)) >= 0


def covered(start: bytes) -> float:
    """Part of a file's beginning that is sound packets of this tool; see `frames.coverage`."""
    return coverage(start, DIALECT)


def open_csi(path: Path) -> ForeignCsi:
    """Raises RecordError: no sound packet."""
    return open_frames(path, DIALECT)
