"""Atheros QCA93xx, `.dat` of the Atheros CSI Tool (Xie, Li, Li; MobiCom 2015).

Definition: `csi_fun.c` and `read_log_file.m` of xieyaxiongfly/Atheros-CSI-Tool-UserSpace-APP. Records: length
(2 bytes), 25 bytes of header, CSI, payload. The CSI is a stream of 10-bit numbers, lowest bit first: imaginary,
real, receive antenna fastest, then transmit antenna, then tone. Files of big-endian routers have big-endian headers;
some begin with one byte that says so.
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
from testbed.record.foreign.peek import NO, NOT_YET, YES, Bytes, Rows, address, fields, u8, u16, u16_big
from testbed.record.foreign.power import unknown_noise
from testbed.record.foreign.stream import START_BYTES, head
from testbed.record.foreign.tones import FILLED, HT, WIDE_HZ
from testbed.record.foreign.value import RAW_REFERENCE, ForeignCsi

NAME = "atheros"
HEADER_BYTES = 25
SLACK = 16
MOST_BYTES = 8192
RSSI_INVALID = 128
MOST_TICKS = (1 << 62) - 1
NOMINAL_NOISE_DBM = -95
# stored in 64 bits; some drivers count in all of them
CLOCK = Clock(1e-6, 32, False, "card's 1 MHz clock, since the first packet")


def _header(big: bool) -> np.dtype[np.void]:
    e = ">" if big else "<"
    return np.dtype([
        ("length", e + "u2"), ("ticks", e + "u8"), ("csi", e + "u2"), ("channel", e + "u2"), ("error", "u1"),
        ("noise", "u1"), ("rate", "u1"), ("wide", "u1"), ("tones", "u1"), ("nr", "u1"), ("nc", "u1"),
        ("rssi_all", "u1"), ("rssi", "u1", 3), ("payload", e + "u2"),
    ])  # fmt: skip


@kernel()
def _length(b: Bytes, at: int, big: bool) -> int:
    return u16_big(b, at) if big else u16(b, at)


@kernel()
def _kind(b: Bytes, at: int, big: bool) -> int:
    """2 = a record with CSI whose lengths agree begins here, 1 = one without CSI, 0 = neither."""
    size, csi, payload = _length(b, at, big), _length(b, at + 10, big), _length(b, at + 25, big)
    spare = size - HEADER_BYTES - csi - payload
    tones, nr, nc = u8(b, at + 18), u8(b, at + 19), u8(b, at + 20)
    if spare < 0 or spare > SLACK or nr > 3 or nc > 3 or b[at + 17] > 1:
        return 0
    if csi == 0:
        return 1
    sound = nr > 0 and nc > 0 and tones == (114 if b[at + 17] else 56)
    return 2 if sound and csi * 2 == tones * nr * nc * 5 else 0


@kernel()
def _may_begin(b: Bytes, at: int, end: int, big: bool) -> bool:
    """The last bytes of a file are the beginning of a record: its length, and a time near that of the one at `at`."""
    if end + 2 <= b.size and not HEADER_BYTES <= _length(b, end, big) <= MOST_BYTES:
        return False
    hours = 2 if big else 6  # where the upper half of the time is
    told = min(b.size - end - hours, 4)  # bytes of it that are there
    if told <= 0:
        return True
    now, then = 0, 0
    for k in range(told):
        place = 8 * (told - 1 - k) if big else 8 * k
        now |= u8(b, at + hours + k) << place
        then |= u8(b, end + hours + k) << place
    return (then - now) & ((1 << (8 * told)) - 1) <= 1


@kernel()
def _goes_on(b: Bytes, at: int, end: int, ends: bool, big: bool) -> int:
    """What `peek.NOT_YET` says, behind the record at `at`, which ends at `end`."""
    least = 2 + HEADER_BYTES
    if end + least > b.size:
        return NOT_YET if not ends else YES if _may_begin(b, at, end, big) else NO
    kind, after = _kind(b, end, big), end + 2 + _length(b, end, big)
    if kind == 2:
        return YES
    if _length(b, end, big) < HEADER_BYTES:
        return NO
    if after + least > b.size:
        return NOT_YET if not ends else YES if kind == 1 or after == b.size else NO
    return YES if _kind(b, after, big) == 2 or (kind == 1 and _kind(b, after, big) == 1) else NO


@kernel()
def _find(b: Bytes, ends: bool, lost: bool, big: bool, rows: Rows) -> tuple[int, int, int, bool]:
    """Fill rows; number of them, bytes consumed, damaged stretches, still lost."""
    n, at, skipped = 0, 0, 0
    while at + 2 + HEADER_BYTES <= b.size:
        kind, end = _kind(b, at, big), at + 2 + _length(b, at, big)
        sound = kind == 2 or (kind == 1 and not lost)
        follows = YES if kind == 1 else _goes_on(b, at, end, ends, big) if sound and end <= b.size else NO
        if sound and (follows == NOT_YET or (end > b.size and not ends)):
            break
        if sound and end <= b.size and follows == YES:
            if kind == 2:
                rows[n, 0], rows[n, 1] = at, end - at
                rows[n, 2] = b[at + 19] | (b[at + 20] << 2) | (b[at + 17] << 4) | (_length(b, at + 12, big) << 8)
                n += 1
            lost, at = False, end
        else:
            skipped += 0 if lost else 1
            lost, at = True, at + 1
    if ends and at < b.size and not lost:
        skipped += 1
    return n, at, skipped, lost


def _layout(key: int) -> Layout:
    tones = FILLED[HT, 40 if key & 16 else 20]
    return all_sent(pairs(key & 3, (key >> 2) & 3), tones, WIDE_HZ, center_hz=float(key >> 8) * 1e6)


def _headers(content: Bytes, rows: Rows, big: bool) -> Headers:
    head_ = fields(content, rows[:, START], _header(big))
    rssi = np.where(head_["rssi"] >= RSSI_INVALID, np.nan, head_["rssi"].astype(np.float32))
    source = np.zeros(len(rows), np.uint64)
    framed = head_["payload"] >= 16
    begins = rows[framed, START] + 2 + HEADER_BYTES + head_["csi"][framed] + 10  # address 2 of the MAC header
    source[framed] = address(content[begins[:, None] + np.arange(6)])
    unknown = np.full(len(rows), np.nan, np.float32)
    return Headers(
        ticks=(head_["ticks"] & np.uint64(MOST_TICKS)).astype(np.int64),
        rssi_dbm=(rssi + NOMINAL_NOISE_DBM).astype(np.float32),
        noise_dbm=unknown,
        agc_db=unknown,
        address=source,
        good=head_["error"] == 0,
        joins=np.zeros(len(rows), np.bool_),
    )


@kernel()
def unpack_10_bit(b: Bytes, begins: Rows, nr: int, nc: int, out: NDArray[np.complex64]) -> None:
    """Fill out (frames, links, tones) from 10-bit numbers."""
    for p in range(begins.size):
        bit = begins[p] * 8
        for k in range(out.shape[2]):
            for c in range(nc):
                for r in range(nr):
                    im = (u16(b, bit >> 3) >> (bit & 7)) & 1023
                    re = (u16(b, (bit + 10) >> 3) >> ((bit + 10) & 7)) & 1023
                    value = complex(re - 1024 if re > 511 else re, im - 1024 if im > 511 else im)
                    out[p, r * nc + c, k] = np.complex64(value)
                    bit += 20


def _decode(content: Bytes, rows: Rows, layout: Layout) -> NDArray[np.complex64]:
    out = np.empty((len(rows), len(layout.links), layout.tones.size), np.complex64)
    nr, nc = (1 + max(pair[side] for pair in layout.links) for side in (0, 1))
    unpack_10_bit(content, rows[:, START] + 2 + HEADER_BYTES, nr, nc, out)
    return out


def _dialect(begin: int, big: bool) -> Dialect:
    def walk(content: Bytes, ends: bool, lost: bool) -> Walk:
        rows = np.empty((content.size // (HEADER_BYTES + 142) + 1, 3), np.int64)
        n, consumed, skipped, still = _find(content, ends, lost, big, rows)
        return Walk(rows[:n], consumed, skipped, still)

    return Dialect(
        name=NAME,
        hardware="Atheros QCA93xx, Atheros CSI Tool",
        begin=begin,
        walk=walk,
        layout=_layout,
        headers=lambda content, rows: _headers(content, rows, big),
        decode=_decode,
        scale=None,
        absolute=False,
        clock=CLOCK,
        reference=RAW_REFERENCE,
        noise=unknown_noise,
        remarks=(
            f"RSSI is the card's ratio to its noise floor, taken as {NOMINAL_NOISE_DBM} dBm",
            "the carrier is that of the control channel",
        ),
    )


def _beginnings(start: bytes) -> list[tuple[int, bool]]:
    """(offset, big-endian) of a first sound record: at once, or after the one byte that tells the byte order."""
    content = np.frombuffer(start, np.uint8)
    tried = [(0, False), (0, True)] + [(1, start[:1] == b"\xff")] * (start[:1] in (b"\0", b"\xff"))
    return [(at, big) for at, big in tried if at + 2 + HEADER_BYTES <= content.size and _begins(content, at, big)]


def _begins(content: Bytes, at: int, big: bool) -> bool:
    """Records from here on are sound, the first with CSI within what is given."""
    while at + 2 + HEADER_BYTES <= content.size:
        kind = _kind(content, at, big)
        if kind != 1:
            return bool(kind == 2)
        at += 2 + int(_length(content, at, big))
    return False


def recognised(start: bytes) -> bool:
    """Whether a file that starts so is a log of this tool."""
    return len(_beginnings(start)) == 1


def covered(start: bytes) -> float:
    """Part of a file's beginning that is sound packets of this tool; see `frames.coverage`."""
    return max(coverage(start, _dialect(0, big)) for big in (False, True))


def open_csi(path: Path) -> ForeignCsi:
    """Raises RecordError: no sound packet."""
    start = head(path, START_BYTES)
    begins = _beginnings(start)
    if len(begins) != 1:  # the first record is damaged
        begins = [(0, coverage(start, _dialect(0, True)) > coverage(start, _dialect(0, False)))]
    return open_frames(path, _dialect(*begins[0]))
