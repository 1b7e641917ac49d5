"""PicoScenes, `.csi`: Intel AX200/AX210, and the Atheros QCA9300 and Intel 5300 under the same tool.

Definition: rxs_parsing_core of PicoScenes (`ModularPicoScenesFrame.hxx`, `RxSBasicSegment.cxx`, `CSISegment.cxx`),
segment versions RxSBasic 1–5 and CSI 1–3; CSI 4 has one more byte, the firmware version, after the device type.
Frames: length, magic, version, segments with names and versions, then the received MAC frame.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from testbed.record.foreign.atheros import unpack_10_bit
from testbed.record.foreign.clock import Clock
from testbed.record.foreign.dialect import START, Dialect, Headers, Walk
from testbed.record.foreign.feitcsi import decode as decode_int16
from testbed.record.foreign.frames import coverage, open_frames
from testbed.record.foreign.grid import Layout, all_sent, pairs
from testbed.record.foreign.intel5300 import TONES_20, TONES_40, antenna_order, unpack_8_bit
from testbed.record.foreign.peek import Bytes, Rows, address
from testbed.record.foreign.picoscenes_walk import (
    ADDRESS,
    ANTENNAS,
    BASIC,
    COLUMNS,
    CSI,
    DEVICE,
    FAMILY,
    IWL5300,
    MICROS,
    MVM,
    QCA9300,
    RX,
    SYSTEM,
    TX,
    VERSION,
    WIDTH,
    find_frames,
    is_frame,
)  # fmt: skip
from testbed.record.foreign.power import noise_milliwatt, rssi_scale
from testbed.record.foreign.tones import FILLED, WIDE_HZ, is_pilot, spacing_hz
from testbed.record.foreign.value import POWER_REFERENCE, ForeignCsi

NAME = "picoscenes"
MHZ = (20, 40, 80, 160)
CLOCK = Clock(1e-6, 32, False, "card's 1 MHz clock, since the first packet")
NOISE_AT = {1: 21, 2: 23, 3: 27, 4: 35, 5: 37}  # version of RxSBasic → offset of the noise floor; RSSI follows
ANTENNA_RSSI = {5: 8}
UNKNOWN_DBM = -128
_COUNTS = np.zeros((8, 4), np.int64)
for (_family, _mhz), _tones in FILLED.items():
    _COUNTS[_family, MHZ.index(_mhz)] = _tones.size


def _walk(content: Bytes, ends: bool, lost: bool) -> Walk:
    rows = np.zeros((content.size // 96 + 1, COLUMNS), np.int64)
    n, consumed, skipped, lost = find_frames(content, ends, lost, _COUNTS, rows)
    return Walk(rows[:n], consumed, skipped, lost)


def _field(key: int, place: tuple[int, int]) -> int:
    return (key >> place[0]) & ((1 << place[1]) - 1)


def _layout(key: int) -> Layout:
    family, mhz, device = _field(key, FAMILY), MHZ[_field(key, WIDTH)], _field(key, DEVICE)
    links = pairs(_field(key, RX), _field(key, TX))
    center = float(key >> 24) * 1e6 or None
    if device == IWL5300:
        return all_sent(links, TONES_40 if mhz == 40 else TONES_20, WIDE_HZ, center, extra=device << 8)
    tones = FILLED[family, mhz]
    unfit = is_pilot(family, mhz) if device == MVM else None
    return all_sent(links, tones, spacing_hz(family), center, unfit=unfit, extra=device << 8)


def _headers(content: Bytes, rows: Rows) -> Headers:
    rssi, noise = _powers(content, rows)
    counter = np.where(rows[:, MICROS] >= 0, rows[:, MICROS], rows[:, SYSTEM])
    source = np.zeros(len(rows), np.uint64)
    framed = rows[:, ADDRESS] > 0
    source[framed] = address(content[rows[framed, ADDRESS][:, None] + np.arange(6)])
    return Headers(
        ticks=counter & 0xFFFFFFFF,
        rssi_dbm=rssi,
        noise_dbm=noise,
        agc_db=np.full(len(rows), np.nan, np.float32),
        address=source,
        good=np.ones(len(rows), np.bool_),
        joins=np.zeros(len(rows), np.bool_),
    )


def _powers(content: Bytes, rows: Rows) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """RSSI of each antenna (frames, 8) and noise floor (frames,), dBm."""
    rssi = np.full((len(rows), 8), np.nan, np.float32)
    noise = np.full(len(rows), np.nan, np.float32)
    for version in np.unique(rows[:, VERSION]).tolist():
        at = rows[:, VERSION] == version
        count = ANTENNA_RSSI.get(version, 3)
        begin = rows[at, BASIC] + NOISE_AT[version]
        dbm = content[begin[:, None] + np.arange(2 + count)].view(np.int8).astype(np.float32)
        floor, each = dbm[:, 0], dbm[:, 2:]
        missing = (each == UNKNOWN_DBM) | (each == 0)
        noise[at] = np.where((floor == UNKNOWN_DBM) | (floor == 0), np.nan, floor)
        if version < 3:
            each = each + noise[at][:, None]  # older versions count from the noise floor
        rssi[at, :count] = np.where(missing, np.nan, each)
    return rssi, noise


def _decode(content: Bytes, rows: Rows, layout: Layout) -> NDArray[np.complex64]:
    device = layout.extra >> 8
    if device == MVM:
        return decode_int16(content, rows[:, CSI], all_sent(layout.links, layout.tones, layout.spacing_hz))
    out = np.empty((len(rows), len(layout.links), layout.tones.size), np.complex64)
    nrx, ntx = (1 + max(pair[side] for pair in layout.links) for side in (0, 1))
    if device == QCA9300:
        unpack_10_bit(content, rows[:, CSI], nrx, ntx, out)
    else:
        selection = rows[:, ANTENNAS].astype(np.uint8)
        unpack_8_bit(content, rows[:, CSI], antenna_order(selection, np.full(len(rows), nrx, np.uint8)), ntx, out)
    return out


DIALECT = Dialect(
    name=NAME,
    hardware="PicoScenes, Intel AX200/AX210, QCA9300 or Intel 5300",
    begin=0,
    walk=_walk,
    layout=_layout,
    headers=_headers,
    decode=_decode,
    scale=rssi_scale,
    clock=CLOCK,
    reference=POWER_REFERENCE,
    noise=noise_milliwatt,
    remarks=("Intel AX numbers on pilot tones are too low to be the channel",),
)


def recognised(start: bytes) -> bool:
    """Whether a file that starts so is a log of this tool: length, magic number and version of the first frame."""
    content = np.frombuffer(start, np.uint8)
    return content.size > START + 11 and bool(is_frame(content, 0))


def covered(start: bytes) -> float:
    """Part of a file's beginning that is sound packets of this tool; see `frames.coverage`."""
    return coverage(start, DIALECT)


def open_csi(path: Path) -> ForeignCsi:
    """Raises RecordError: no sound packet."""
    return open_frames(path, DIALECT)
