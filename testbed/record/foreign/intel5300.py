"""Intel 5300, `.dat` of the Linux 802.11n CSI Tool (Halperin et al., 2011).

Definition: `read_bf_file.m`, `read_bfee.c`, `get_scaled_csi.m` and `iwl_structs.h` of
dhalperi/linux-80211n-csitool-supplementary. Records: length (2 bytes, big-endian), code, body; code 0xBB is a
beamforming report: 20 bytes of header, then 30 groups of 3 padding bits and 8 + 8 bit per antenna pair.
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
from testbed.record.foreign.peek import NO, NOT_YET, YES, Bytes, Rows, fields, u8, u16, u16_big
from testbed.record.foreign.spread import link_power
from testbed.record.foreign.tones import WIDE_HZ
from testbed.record.foreign.value import SNR_REFERENCE, ForeignCsi

NAME = "intel5300"
BODY = 3
CSI = BODY + 20
GROUPS = 30
TONES_20 = np.array([*range(-28, -1, 2), -1, *range(1, 28, 2), 28])
TONES_40 = np.arange(-58, 59, 4)
FAT = 0x800
NOISE_UNKNOWN = -127
MOST_OTHER, MOST_BETWEEN = 4096, 64
CLOCK = Clock(1e-6, 32, False, "low 32 bits of the card's 1 MHz clock, since the first packet")
HEADER = np.dtype([
    ("ticks", "<u4"), ("count", "<u2"), ("reserved", "<u2"), ("nrx", "u1"), ("ntx", "u1"), ("rssi", "u1", 3),
    ("noise", "i1"), ("agc", "u1"), ("antennas", "u1"), ("size", "<u2"), ("rate", "<u2"),
])  # fmt: skip


@kernel()
def _is_report(b: Bytes, at: int) -> bool:
    """A beamforming report begins here, and all its lengths agree."""
    if at + CSI > b.size or b[at + 2] != 0xBB:
        return False
    nrx, ntx = u8(b, at + BODY + 8), u8(b, at + BODY + 9)
    if nrx < 1 or nrx > 3 or ntx < 1 or ntx > 3:
        return False
    size = 60 * nrx * ntx + 12  # ⌈30 (16 nrx ntx + 3) / 8⌉
    return u16(b, at + BODY + 16) == size and u16_big(b, at) == 21 + size


@kernel()
def _is_other(b: Bytes, at: int) -> bool:
    """A record of another kind that the tool writes begins here."""
    code = b[at + 2]
    known = code == 0xC0 or code == 0xC1 or code == 0xC3 or code == 0xC5 or code == 0x1C or 0xD0 <= code <= 0xD2
    return known and u16_big(b, at) > 1


@kernel()
def _kind(code: int) -> int:
    """A bit of its own for each code of `_is_other`."""
    return 1 << (code & 31)


@kernel()
def _may_begin(b: Bytes, at: int, kinds: int) -> bool:
    """The last bytes of a file begin a report, as far as they go, or another record of a kind that came before.

    The code alone is no proof: one in 32 random bytes is one of them.
    """
    if b[at + 2] != 0xBB:
        return _is_other(b, at) and bool(kinds & _kind(u8(b, at + 2)))
    each = u16_big(b, at) - 33
    streams = each // 60
    if each % 60 or not (1 <= streams <= 4 or streams == 6 or streams == 9):
        return False
    if at + BODY + 10 > b.size:
        return True
    nrx, ntx = u8(b, at + BODY + 8), u8(b, at + BODY + 9)
    agree = 1 <= nrx <= 3 and 1 <= ntx <= 3 and nrx * ntx == streams
    return agree and (at + BODY + 18 > b.size or u16(b, at + BODY + 16) == each + 12)


@kernel()
def _goes_on(b: Bytes, end: int, ends: bool, kinds: int) -> int:
    """What `peek.NOT_YET` says, behind a report that ends at `end`; other records may lie between, `kinds` before."""
    at = end
    for _ in range(MOST_BETWEEN):
        if at + CSI > b.size and not ends:
            return NOT_YET
        if at + BODY > b.size or _is_report(b, at):
            return YES
        size = u16_big(b, at)
        if size > MOST_OTHER or (b[at + 2] != 0xBB and not _is_other(b, at)):
            return NO
        if at + 2 + size > b.size and ends:
            return YES if _may_begin(b, at, kinds) else NO
        kinds |= _kind(u8(b, at + 2))
        at += 2 + size
    return YES


@kernel()
def _find(b: Bytes, ends: bool, lost: bool, rows: Rows) -> tuple[int, int, int, bool]:
    """Fill rows; number of them, bytes consumed, damaged stretches, still lost."""
    n, at, skipped, kinds = 0, 0, 0, 0
    while at + BODY <= b.size:
        end = at + 2 + u16_big(b, at)
        report = _is_report(b, at)
        begun = not ends and at + CSI > b.size
        follows = _goes_on(b, end, ends, kinds) if report and end <= b.size else NO
        if begun or follows == NOT_YET or (report and end > b.size and not ends):
            break
        report = follows == YES
        if end <= b.size and (report or (not lost and _is_other(b, at))):
            if report:
                rows[n, 0], rows[n, 1] = at, end - at
                rows[n, 2] = b[at + BODY + 8] | (b[at + BODY + 9] << 2) | ((b[at + BODY + 19] & 8) << 1)
                n += 1
            kinds |= _kind(u8(b, at + 2))
            lost, at = False, end
        elif not lost and not ends and not report and end > b.size and _is_other(b, at):
            break
        else:
            skipped += 0 if lost else 1
            lost, at = True, at + 1
    if ends and at < b.size and not lost:
        skipped += 1
    return n, at, skipped, lost


def _walk(content: Bytes, ends: bool, lost: bool) -> Walk:
    rows = np.empty((content.size // (CSI + 72) + 1, 3), np.int64)
    n, consumed, skipped, lost = _find(content, ends, lost, rows)
    return Walk(rows[:n], consumed, skipped, lost)


def _layout(key: int) -> Layout:
    nrx, ntx = key & 3, (key >> 2) & 3
    return all_sent(pairs(nrx, ntx), TONES_40 if key & 16 else TONES_20, WIDE_HZ)


def _headers(content: Bytes, rows: Rows) -> Headers:
    head = fields(content, rows[:, START] + BODY, HEADER)
    rssi = head["rssi"].astype(np.float32)
    agc = head["agc"].astype(np.float32)
    rssi_dbm = np.where(rssi == 0, np.nan, rssi - 44 - agc[:, None])
    noise = head["noise"].astype(np.float32)
    order = antenna_order(head["antennas"], head["nrx"])
    return Headers(
        ticks=head["ticks"].astype(np.int64),
        rssi_dbm=rssi_dbm.astype(np.float32),
        noise_dbm=np.where(noise == NOISE_UNKNOWN, -92, noise).astype(np.float32),
        agc_db=agc,
        address=np.zeros(len(rows), np.uint64),
        good=(order[:, 0] >= 0) & (~np.isnan(rssi_dbm)).any(axis=1),
        joins=np.zeros(len(rows), np.bool_),
    )


def antenna_order(selection: NDArray[np.uint8], nrx: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(frames, 3) antenna of each receive chain, by `read_bf_file.m` with its repairs; −1 where there is no order."""
    order = np.stack([selection & 3, (selection >> 2) & 3, (selection >> 4) & 3], axis=1).astype(np.int64)
    three = nrx == 3
    same = three & (order[:, 0] == 0) & (order[:, 1] == 0) & (order[:, 2] == 0)
    order[same] = [0, 1, 2]
    odd = three & (order.sum(axis=1) != 3)
    order[odd, 2] = 3 - order[odd, 0] - order[odd, 1]
    two = nrx == 2
    swapped = order[:, 1] < order[:, 0]
    order[two] = np.where(swapped[two, None], [1, 0, 2], [0, 1, 2])
    order[nrx == 1] = [0, 1, 2]
    order[(np.sort(order, axis=1) != [0, 1, 2]).any(axis=1)] = -1
    return order


@kernel()
def unpack_8_bit(b: Bytes, begins: Rows, order: Rows, ntx: int, out: NDArray[np.complex64]) -> None:
    """Fill out (frames, links, groups); chain r of frame p came from antenna order[p, r]."""
    nrx = out.shape[1] // ntx
    for p in range(begins.size):
        bit = begins[p] * 8
        for k in range(GROUPS):
            bit += 3
            for r in range(nrx):
                for t in range(ntx):
                    word = (u16(b, bit >> 3) | (u8(b, (bit >> 3) + 2) << 16)) >> (bit & 7)
                    re, im = np.int8(word & 255), np.int8((word >> 8) & 255)
                    out[p, order[p, r] * ntx + t, k] = np.complex64(complex(re, im))
                    bit += 16


def _decode(content: Bytes, rows: Rows, layout: Layout) -> NDArray[np.complex64]:
    head = fields(content, rows[:, START] + BODY, HEADER)
    out = np.empty((len(rows), len(layout.links), GROUPS), np.complex64)
    ntx = int(head["ntx"][0])
    unpack_8_bit(content, rows[:, START] + CSI, antenna_order(head["antennas"], head["nrx"]), ntx, out)
    return out


def _scale(h: NDArray[np.complex64], headers: Headers, layout: Layout) -> NDArray[np.float32]:
    """(frames, links) factors to the square root of SNR, `get_scaled_csi.m`: quantisation counts as noise."""
    signal = np.nansum(10.0 ** (headers.rssi_dbm.astype(float) / 10), axis=1)
    pairs_count, transmitters = len(layout.links), 1 + max(tx for _, tx in layout.links)
    numbers = link_power(h, ~layout.null).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        power = signal / numbers
        noise = 10.0 ** (headers.noise_dbm.astype(float) / 10) + power * pairs_count
        factor = np.sqrt(power / noise * {1: 1.0, 2: 2.0, 3: 10**0.45}[transmitters])
    return np.repeat(factor.astype(np.float32)[:, None], pairs_count, axis=1)


def _noise(headers: Headers) -> NDArray[np.float32]:
    return np.ones(headers.ticks.size, np.float32)


DIALECT = Dialect(
    name=NAME,
    hardware="Intel 5300, Linux 802.11n CSI Tool",
    begin=0,
    walk=_walk,
    layout=_layout,
    headers=_headers,
    decode=_decode,
    scale=_scale,
    clock=CLOCK,
    reference=SNR_REFERENCE,
    noise=_noise,
    transmitters_known=False,
    remarks=("transmit streams are as the card reports them, its spatial mapping not undone",),
)


def recognised(start: bytes) -> bool:
    """Whether a file that starts so is a log of this tool: known records up to the first sound report."""
    content = np.frombuffer(start, np.uint8)
    at = 0
    while at + BODY <= content.size:
        if _is_report(content, at):
            return True
        if not _is_other(content, at):
            return False
        at += 2 + int(u16_big(content, at))
    return False


def covered(start: bytes) -> float:
    """Part of a file's beginning that is sound packets of this tool; see `frames.coverage`."""
    return coverage(start, DIALECT)


def open_csi(path: Path) -> ForeignCsi:
    """Raises RecordError: no sound packet."""
    return open_frames(path, DIALECT)
