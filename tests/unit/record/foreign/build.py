"""Files of every format, written from the formats' definitions and not from the readers.

Numbers are drawn; what was drawn comes back beside the bytes, so that a reader can be held against it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Csi = NDArray[np.complex128]
MAC_A, MAC_B, MAC_C = bytes([2, 0, 0, 0, 0, 1]), bytes([2, 0, 0, 0, 0, 2]), bytes([2, 0, 0, 0, 0, 3])


def integers(rng: np.random.Generator, shape: tuple[int, ...], low: int, high: int) -> Csi:
    """Complex numbers with whole parts in low … high."""
    parts = rng.integers(low, high, (2, *shape), endpoint=True)
    return np.asarray(parts[0] + 1j * parts[1])


def bits(values: Iterable[tuple[int, int]]) -> bytes:
    """(value, width) one after the other, lowest bit first."""
    word = at = 0
    for value, width in values:
        word |= (value & ((1 << width) - 1)) << at
        at += width
    return word.to_bytes(-(-at // 8), "little")


# Intel 5300 ---------------------------------------------------------------------------------------------------------


def intel_payload(h: Csi) -> bytes:
    """Packed CSI of (receive chains, streams, 30)."""
    fields: list[tuple[int, int]] = []
    for group in range(30):
        fields.append((0, 3))
        for pair in h[:, :, group].reshape(-1):
            fields += [(int(pair.real), 8), (int(pair.imag), 8)]
    return bits(fields)


def intel_record(
    h: Csi, ticks: int = 0, rssi: Sequence[int] = (33, 34, 35), noise: int = -92, agc: int = 40,
    order: Sequence[int] = (0, 1, 2), rate: int = 0x1101, count: int = 0,
) -> bytes:  # fmt: skip
    """One 0xBB record; `order` is the antenna of each chain."""
    payload = intel_payload(h)
    selection = order[0] | order[1] << 2 | order[2] << 4
    head = struct.pack(
        "<IHHBBBBBbBBHH", ticks & 0xFFFFFFFF, count, 0, h.shape[0], h.shape[1], *rssi, noise, agc, selection,
        len(payload), rate,
    )  # fmt: skip
    return other_record(0xBB, head + payload)


def other_record(code: int, body: bytes) -> bytes:
    """A record of another code, e.g. the 0xC1 packets that the tool may log between reports."""
    return struct.pack(">HB", 1 + len(body), code) + body


# Atheros ------------------------------------------------------------------------------------------------------------


def atheros_payload(h: Csi) -> bytes:
    """Packed CSI of (receive, transmit, tones)."""
    fields: list[tuple[int, int]] = []
    for tone in range(h.shape[2]):
        for tx in range(h.shape[1]):
            for rx in range(h.shape[0]):
                fields += [(int(h[rx, tx, tone].imag), 10), (int(h[rx, tx, tone].real), 10)]
    return bits(fields)


def atheros_record(
    h: Csi | None, ticks: int = 0, big: bool = False, rssi: Sequence[int] = (40, 41, 42), error: int = 0,
    frame: bytes = b"", channel: int = 5240, slack: bytes = b"",
) -> bytes:  # fmt: skip
    """One record; without `h` one that has no CSI."""
    packed = b"" if h is None else atheros_payload(h)
    nr, nc, tones = (0, 0, 0) if h is None else h.shape
    e = ">" if big else "<"
    head = struct.pack(
        e + "QHHBBBBBBBB3BH", ticks, len(packed), channel, error, 0, 0x8B, int(tones == 114), tones, nr, nc,
        max(rssi), *rssi, len(frame),
    )  # fmt: skip
    body = head + packed + frame + slack
    return struct.pack(e + "H", len(body)) + body


def mac_frame(source: bytes, size: int = 60) -> bytes:
    """A data frame of 802.11 from `source`."""
    return (struct.pack("<HH", 0x0008, 0) + MAC_C + source + MAC_C + bytes(2)).ljust(size, b"\0")


# nexmon -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pcap:
    """How a capture file is written."""

    big: bool = False
    nano: bool = False
    link: int = 1
    vlan: int = 0

    def head(self) -> bytes:
        """File header."""
        magic = 0xA1B23C4D if self.nano else 0xA1B2C3D4
        return struct.pack((">" if self.big else "<") + "IHHiIII", magic, 2, 4, 0, 0, 65535, self.link)

    def record(self, time_ns: int, payload: bytes, port: int = 5500) -> bytes:
        """One UDP datagram."""
        udp = struct.pack(">HHHH", 5500, port, 8 + len(payload), 0) + payload
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 1, 17, 0, bytes([10, 10, 10, 10]), b"\xff" * 4)
        packet = self._outside() + ip[:10] + struct.pack(">H", ip_checksum(ip)) + ip[12:] + udp
        fraction = time_ns % 10**9 if self.nano else time_ns % 10**9 // 1000
        order = ">" if self.big else "<"
        return struct.pack(order + "IIII", time_ns // 10**9, fraction, len(packet), len(packet)) + packet

    def _outside(self) -> bytes:
        if self.link == 113:
            return bytes(14) + b"\x08\x00"
        if self.link in (12, 101, 228):
            return b""
        return b"\xff" * 6 + b"NEXMON" + b"\x81\x00\x00\x05" * self.vlan + b"\x08\x00"


def ip_checksum(header: bytes) -> int:
    """RFC 791."""
    total = sum(struct.unpack(">10H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def nexmon_payload(
    values: bytes, core: int = 0, stream: int = 0, sequence: int = 0, channel: int = 0xE06A, chip: int = 0x65,
    rssi: int | None = -50, source: bytes = MAC_A, swapped: bool = False,
) -> bytes:  # fmt: skip
    """Payload of a CSI datagram; `rssi` None as the stock firmware writes it."""
    told = b"\x11\x11" if rssi is None else struct.pack("<bB", rssi, 0x80)
    spatial = core | stream << 3
    where = struct.pack(">H" if swapped else "<H", spatial)
    return (
        b"\x11\x11"
        + told
        + source
        + struct.pack("<H", sequence << 4)
        + where
        + struct.pack("<HH", channel, chip)
        + values
    )


def int16_values(h: Csi) -> bytes:
    """(tones,) in FFT order."""
    return np.stack([h.real, h.imag], axis=-1).astype("<i2").tobytes()


def float_word(real: int, imag: int, exponent: int, man: int, exp: int) -> int:
    """One number of the packed-float chips: real with sign, imaginary with sign, exponent."""

    def part(value: int) -> int:
        return (int(value < 0) << (man - 1)) | abs(value)

    return part(real) << (exp + man) | part(imag) << exp | (exponent & ((1 << exp) - 1))


# FeitCSI ------------------------------------------------------------------------------------------------------------

WIDTHS = {20: 0, 40: 1, 80: 2, 160: 3}
FAMILIES = {"legacy": 1, "ht": 2, "vht": 3, "he": 4, "eht": 5}


def feitcsi_frame(
    h: Csi, family: str, mhz: int, micros: int = 0, rssi: tuple[int, int] = (45, 47), source: bytes = MAC_A,
    junk: int = 0,
) -> bytes:  # fmt: skip
    """One frame of (receive, transmit, tones); `junk` values between the halves."""
    tones = h.shape[2] + junk
    rows = h.reshape(-1, h.shape[2])
    half = h.shape[2] // 2
    filled = np.concatenate([rows[:, :half], np.full((len(rows), junk), 999 - 999j), rows[:, half:]], axis=1)
    body = np.stack([filled.real, filled.imag], axis=-1).astype("<i2").tobytes()
    head = bytearray(272)
    struct.pack_into("<I", head, 0, len(body))
    struct.pack_into("<BB", head, 46, h.shape[0], h.shape[1])
    struct.pack_into("<I", head, 52, tones)
    struct.pack_into("<II", head, 60, *rssi)
    head[68:74] = source
    struct.pack_into("<II", head, 88, micros & 0xFFFFFFFF, FAMILIES[family] << 8 | WIDTHS[mhz] << 11)
    return bytes(head) + body


# ESP32 --------------------------------------------------------------------------------------------------------------

ESP32_FIELDS = (
    "type,role,mac,rssi,rate,sig_mode,mcs,bandwidth,smoothing,not_sounding,aggregation,stbc,fec_coding,sgi,noise_floor,"
    "ampdu_cnt,channel,secondary_channel,local_timestamp,ant,sig_len,rx_state,real_time_set,real_timestamp,len,CSI_DATA"
)


@dataclass(frozen=True)
class Esp32:
    """Fields of one line that matter."""

    values: Sequence[int]
    rssi: int = -60
    noise: int = -93
    channel: int = 6
    secondary: int = 0
    ticks: int = 0
    mac: str = "02:00:00:00:00:01"
    length: int | None = None
    state: int = 0

    def line(self) -> str:
        """As the tool prints it."""
        told = len(self.values) if self.length is None else self.length
        return (
            f"CSI_DATA,AP,{self.mac},{self.rssi},11,1,7,0,1,1,0,0,0,0,{self.noise},0,{self.channel},{self.secondary},"
            f"{self.ticks},0,80,{self.state},1,1.5,{told},[{' '.join(map(str, self.values))} ]\n"
        )


def esp32_values(h: Csi) -> list[int]:
    """Imaginary, real of numbers in the order of the card."""
    return [int(part) for value in h for part in (value.imag, value.real)]


# PicoScenes ---------------------------------------------------------------------------------------------------------


def segment(name: str, version: int, body: bytes) -> bytes:
    """Length without itself, name with its length, version, body."""
    inside = struct.pack("<B", len(name)) + name.encode() + struct.pack("<H", version) + body
    return struct.pack("<I", len(inside)) + inside


def rxs_basic(version: int, device: int, ticks: int, rssi: Sequence[int], noise: int, system_ns: int = 0) -> bytes:
    """Receive status of version 1 … 3; before 3, powers count from the noise floor."""
    head = struct.pack("<HQ", device, ticks)
    tail = struct.pack("<bb3b", noise, max(rssi), *rssi)
    streams = struct.pack("<BBBB", 7, 1, 0, len(rssi))
    if version < 3:
        users = b"" if version == 1 else struct.pack("<BB", 1, 0)
        return segment("RxSBasic", version, head + struct.pack("<HbHH", 5240, 1, 20, 800) + streams + users + tail)
    channel = struct.pack("<HHHBHH", 5240, 5240, 20, 1, 20, 800)
    return segment("RxSBasic", version, head + channel + streams + struct.pack("<BB", 1, 0) + tail)


@dataclass(frozen=True)
class PicoCsi:
    """A CSI segment."""

    device: int
    family: int
    mhz: int
    tones: int
    streams: int
    receivers: int
    payload: bytes
    version: int = 3
    extra_streams: int = 0
    antennas: int = 0
    carrier_hz: int = 5_240_000_000
    offset: int = 0
    more: bytes = field(default=b"")

    def bytes(self) -> bytes:
        """As the tool writes it."""
        v = self.version
        body = struct.pack("<H", self.device) + (b"\x01" if v >= 4 else b"")
        body += struct.pack("<bHQQI", self.family, self.mhz, self.carrier_hz, self.mhz * 1_000_000, 312_500)
        body += struct.pack("<HBBB", self.tones, self.streams, self.receivers, self.extra_streams)
        body += (struct.pack("<H", 1) if v >= 3 else b"") + struct.pack("<B", self.antennas)
        body += struct.pack("<h", self.offset) if v >= 2 else b""
        return segment("CSI", v, body + struct.pack("<I", len(self.payload)) + self.payload + self.more)


def pico_frame(segments: Sequence[bytes], mac: bytes = b"") -> bytes:
    """A modular frame."""
    body = struct.pack("<IHB", 0x20150315, 1, len(segments)) + b"".join(segments) + mac
    return struct.pack("<I", len(body)) + body


def mvm_payload(h: Csi) -> bytes:
    """(receive, transmit, tones) int16, tone fastest."""
    return np.stack([h.real, h.imag], axis=-1).astype("<i2").tobytes()
