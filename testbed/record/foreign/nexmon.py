"""Broadcom chips with nexmon_csi, `.pcap` of its UDP datagrams (Gringoli et al., WiNTECH 2019).

Definition: README and `csi_extractor.c` of seemoo-lab/nexmon_csi, its pull request 46 (RSSI in the header),
`unpack_float.c`; libpcap file format. Port 5500, payload: magic 0x1111, RSSI and frame control (or 0x1111 again),
source, sequence number, core and stream, chanspec, chip, then one 4-byte value a tone in FFT order. Each core and
stream of a Wi-Fi frame makes a datagram of its own; they are put together again here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from testbed.compiled import kernel
from testbed.record.foreign.clock import Clock
from testbed.record.foreign.dialect import START, Dialect, Headers, Walk
from testbed.record.foreign.frames import open_frames
from testbed.record.foreign.grid import Layout
from testbed.record.foreign.nexmon_float import BITS, unpack_float
from testbed.record.foreign.pcap import Capture, find_datagrams, read_capture
from testbed.record.foreign.peek import Bytes, Rows, address, fields, int16_pairs
from testbed.record.foreign.power import rssi_scale, unknown_noise
from testbed.record.foreign.stream import START_BYTES, head
from testbed.record.foreign.tones import WIDE_HZ, channel_hz
from testbed.record.foreign.value import POWER_REFERENCE, RAW_REFERENCE, ForeignCsi

NAME = "nexmon"
HEADER_BYTES = 18
SAME_FRAME_S = 0.01
INT16, FLOAT_9_5, FLOAT_12_6 = 0, 1, 2
# 4339, 43455c0; 4358, and as its first firmware wrote it; 4366c0, and as that of the RT-AC86U did
CHIPS = {0x0001: INT16, 0x0065: INT16, 0x0003: FLOAT_9_5, 0xDEAD: FLOAT_9_5, 0x006A: FLOAT_12_6, 0xE834: FLOAT_12_6}
MANTISSA = {FLOAT_9_5: (9, 5), FLOAT_12_6: (12, 6)}
USED = {64: (1, 28), 128: (2, 58), 256: (2, 122), 512: (6, 250)}
SIZES = {2: 64, 3: 128, 4: 256, 5: 512}
HEADER = np.dtype([
    ("magic", "<u2"), ("rssi", "i1"), ("control", "u1"), ("source", "u1", 6), ("sequence", "<u2"),
    ("core", "u1", 2), ("channel", "<u2"), ("chip", "<u2"),
])  # fmt: skip
TIME = 3  # column of the capture's time, in nanoseconds


@kernel()
def _tone_bits(payload: int, channel: int) -> int:
    """log2 of the tones: what the channel width says, if so many 4-byte values are there; 0 = they do not agree."""
    for bits in range(6, 10):
        if payload == 4 << bits:
            return bits
    bits = 4 + ((channel >> 11) & 7)
    fits = 6 <= bits <= 9 and payload >= 4 << bits and payload - (4 << bits) <= 64
    return bits if fits else 0


@kernel()
def _all_tone_bits(found: Rows, channel: NDArray[np.uint16], out: Rows) -> None:
    """Fill out (datagrams,) with `_tone_bits`."""
    for n in range(out.size):
        out[n] = _tone_bits(found[n, 1] - HEADER_BYTES, int(channel[n]))


def _walk(content: Bytes, ends: bool, lost: bool, capture: Capture) -> Walk:
    """Datagrams of CSI; those of another port are no business of ours, those that contradict themselves are damaged."""
    found, consumed, skipped, lost = find_datagrams(content, ends, lost, capture)
    head_ = fields(content, found[:, START], HEADER)
    spatial = _core_and_stream(head_["core"])
    bits = np.empty(len(found), np.int64)
    _all_tone_bits(found, head_["channel"].astype(np.uint16), bits)
    form = np.array([CHIPS.get(chip, -1) for chip in head_["chip"].tolist()], np.int64)
    sound = (bits > 0) & (form >= 0) & (spatial >= 0)
    rows = np.empty((int(sound.sum()), 4), np.int64)
    rows[:, :2], rows[:, TIME] = found[sound, :2], found[sound, 2]
    rows[:, 2] = (head_["channel"].astype(np.int64) | (bits << 16) | (form << 20) | (spatial << 24))[sound]
    return Walk(rows, consumed, skipped + int((~sound).sum()), lost)


def _core_and_stream(octets: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Core (3 bits) and stream (3 bits); some routers swap the two octets; −1 where neither order is possible."""
    low, high = octets[:, 0].astype(np.int64), octets[:, 1].astype(np.int64)
    either = np.where(high == 0, low, np.where(low == 0, high, 64))
    return np.where(either < 64, either, -1)


def _layout(key: int) -> Layout:
    count = 1 << ((key >> 16) & 15)
    index = np.fft.fftfreq(count, 1 / count).astype(np.int64)
    first, last = USED[count]
    null = (np.abs(index) < first) | (np.abs(index) > last)
    if count == 512:
        null |= (np.abs(index) > 126) & (np.abs(index) < 130)
    center = channel_hz(key & 0xFF, five_ghz=bool(key & 0xC000))
    link = ((key >> 24) & 7, (key >> 27) & 7)
    return Layout((link,), index, null, np.zeros(count, np.bool_), WIDE_HZ, center, extra=(key >> 20) & 15)


def _headers(content: Bytes, rows: Rows) -> Headers:
    head_ = fields(content, rows[:, START], HEADER)
    core = (rows[:, 2] >> 24) & 7
    told = ~((head_["rssi"] == 0x11) & (head_["control"] == 0x11)) & (head_["rssi"] < 0)
    rssi = np.full((len(rows), 8), np.nan, np.float32)
    rssi[np.arange(len(rows)), core] = np.where(told, head_["rssi"].astype(np.float32), np.nan)
    unknown = np.full(len(rows), np.nan, np.float32)
    sources = address(head_["source"])
    return Headers(
        ticks=rows[:, TIME],
        rssi_dbm=rssi,
        noise_dbm=unknown,
        agc_db=unknown,
        address=sources,
        good=np.ones(len(rows), np.bool_),
        joins=_joins(rows, sources, head_["sequence"]),
    )


@kernel()
def _joins_rows(key: Rows, time: Rows, sources: NDArray[np.uint64], sequence: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """A datagram joins the packet before it: same source, sequence and channel, soon after, a link not yet seen."""
    joins = np.zeros(key.size, np.bool_)
    first, seen = 0, np.uint64(0)
    for n in range(key.size):
        link = np.uint64(1) << np.uint64((key[n] >> 24) & 63)
        same = n > 0 and sources[n] == sources[first] and sequence[n] == sequence[first]
        same = same and (key[n] & 0xFFFFFF) == (key[first] & 0xFFFFFF) and (seen & link) == 0
        step = time[n] - time[first]
        joins[n] = same and 0 <= step < np.int64(SAME_FRAME_S * 1e9)
        if not joins[n]:
            first, seen = n, np.uint64(0)
        seen |= link
    return joins


def _joins(rows: Rows, sources: NDArray[np.uint64], sequence: NDArray[np.uint16]) -> NDArray[np.bool_]:
    key, time = np.ascontiguousarray(rows[:, 2]), np.ascontiguousarray(rows[:, TIME])
    return np.asarray(_joins_rows(key, time, sources, sequence.astype(np.uint16)))


def _decode(content: Bytes, rows: Rows, layout: Layout) -> NDArray[np.complex64]:
    begins = rows[:, START] + HEADER_BYTES
    out = np.empty((len(rows), layout.tones.size), np.complex64)
    if layout.extra == INT16:
        int16_pairs(content, begins, out)
    else:
        unpack_float(content, begins, *MANTISSA[layout.extra], out)
    return out[:, None, :]


def _unscaled(h: NDArray[np.complex64], headers: Headers, layout: Layout) -> NDArray[np.float32]:
    """(frames, 1) factors to the numbers of the tool itself: it shifts each packet of floats to `BITS` bits."""
    if layout.extra == INT16:
        return np.ones(h.shape[:2], np.float32)
    largest = np.maximum(np.abs(h.real), np.abs(h.imag)).max(axis=2)
    _, exponent = np.frexp(np.maximum(largest, np.float32(1e-30)))
    return np.asarray(np.ldexp(np.float32(1), BITS + 1 - exponent), np.float32)


def _dialect(capture: Capture, absolute: bool) -> Dialect:
    return Dialect(
        name=NAME,
        hardware="Broadcom, nexmon_csi",
        begin=capture.begin,
        walk=lambda content, ends, lost: _walk(content, ends, lost, capture),
        layout=_layout,
        headers=_headers,
        decode=_decode,
        scale=rssi_scale if absolute else _unscaled,
        absolute=absolute,
        clock=Clock(1e-9, 63, False, "capture time of the host, since the first packet"),
        reference=POWER_REFERENCE if absolute else RAW_REFERENCE,
        noise=unknown_noise,
        remarks=("receive antennas are cores, transmit antennas spatial streams",),
    )


def recognised(start: bytes) -> bool:
    """Whether a file that starts so is a capture with at least one CSI datagram."""
    return _first(start) is not None


def _first(start: bytes) -> bool | None:
    """Whether the first CSI datagram carries an RSSI; None where there is no such datagram."""
    capture = read_capture(start)
    if capture is None:
        return None
    content = np.frombuffer(start, np.uint8)[capture.begin :]
    rows = _walk(content, True, False, capture).rows
    return bool(~np.isnan(_headers(content, rows).rssi_dbm[0]).all()) if len(rows) else None


def open_csi(path: Path) -> ForeignCsi:
    """Raises RecordError: no sound packet."""
    start = head(path, START_BYTES)
    capture = read_capture(start)
    assert capture is not None
    return open_frames(path, _dialect(capture, bool(_first(start))))
