"""UDP datagrams to port 5500 in a libpcap capture of Ethernet (VLAN tags too), Linux cooked, or raw IP packets."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from testbed.compiled import kernel
from testbed.record.foreign.peek import NO, NOT_YET, YES, Bytes, Rows, u16_big, u32, u32_big

FILE_HEADER_BYTES = 24
RECORD_BYTES = 16
MOST_BYTES = 1 << 18
PORT = 5500
MONTH_S = 31 * 86_400
LEAST = 18
_MAGIC = {
    b"\xd4\xc3\xb2\xa1": (False, 1000),
    b"\xa1\xb2\xc3\xd4": (True, 1000),
    b"\x4d\x3c\xb2\xa1": (False, 1),
    b"\xa1\xb2\x3c\x4d": (True, 1),
}
MOST_TAGS = 2
_IP_AT = {1: 14, 12: 0, 101: 0, 113: 16, 228: 0, 276: 20}  # link type → offset of the IP header


@dataclass(frozen=True)
class Capture:
    """Header of a capture file.

    Attributes:
        begin: offset of the first record.
        big: numbers of the file (not of the packets) are big-endian.
        fraction_ns: nanoseconds in a unit of the fractional time.
        ip_at: offset of the IP header in a packet without VLAN tags.
    """

    begin: int
    big: bool
    fraction_ns: int
    ip_at: int


def read_capture(start: bytes) -> Capture | None:
    """The header; None for what is no libpcap capture of a known link type."""
    if len(start) < FILE_HEADER_BYTES or start[:4] not in _MAGIC:
        return None
    big, fraction_ns = _MAGIC[start[:4]]
    (link,) = struct.unpack(">I" if big else "<I", start[20:24])
    at = _IP_AT.get(link & 0xFFFF)
    return None if at is None else Capture(FILE_HEADER_BYTES, big, fraction_ns, at)


@kernel()
def _number(b: Bytes, at: int, big: bool) -> int:
    return u32_big(b, at) if big else u32(b, at)


@kernel()
def _is_record(b: Bytes, at: int, big: bool, fraction_ns: int) -> bool:
    """A record's header begins here: fraction below a second, lengths in order."""
    fraction, kept, whole = _number(b, at + 4, big), _number(b, at + 8, big), _number(b, at + 12, big)
    return fraction * fraction_ns < 1_000_000_000 and 0 < kept <= MOST_BYTES and kept <= whole <= MOST_BYTES


@kernel()
def _ip_begin(b: Bytes, at: int, end: int, ip_at: int) -> int:
    """Where the IP header of a packet begins: behind the VLAN tags (IEEE 802.1Q, 4 bytes each), if there are any."""
    ip = at + ip_at
    if ip_at >= 2:
        for _ in range(MOST_TAGS):
            kind = u16_big(b, ip - 2) if ip + 4 <= end else 0
            if kind != 0x8100 and kind != 0x88A8:
                break
            ip += 4
    return ip


@kernel()
def _ip_sum(b: Bytes, at: int, size: int) -> int:
    """Ones' complement sum over the IP header: 0xFFFF where its checksum is right (RFC 791)."""
    total = 0
    for k in range(at, at + size, 2):
        total += u16_big(b, k)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@kernel()
def _datagram(b: Bytes, at: int, end: int) -> tuple[int, int]:
    """Begin and size of the CSI payload in an IP packet; size 0: another packet; −1: a damaged one."""
    if at + 28 > end or (b[at] >> 4) != 4 or b[at + 9] != 17:
        return 0, 0
    size = (b[at] & 15) * 4
    udp = at + size
    if size < 20 or udp + 8 > end or u16_big(b, udp + 2) != PORT:
        return 0, 0
    payload = u16_big(b, udp + 4) - 8
    whole = at + u16_big(b, at + 2) == udp + 8 + payload and udp + 8 + payload <= end
    told = u16_big(b, at + 10) != 0
    if not whole or payload < LEAST or (told and _ip_sum(b, at, size) != 0xFFFF):
        return 0, -1
    if b[udp + 8] != 0x11 or b[udp + 9] != 0x11:
        return 0, -1
    return udp + 8, payload


@kernel()
def _strong(b: Bytes, at: int, big: bool, fraction_ns: int, ip_at: int) -> bool:
    """A record with a sound CSI datagram begins here; what a search through damage goes by."""
    if at + RECORD_BYTES + ip_at + 28 > b.size or not _is_record(b, at, big, fraction_ns):
        return False
    end = at + RECORD_BYTES + _number(b, at + 8, big)
    return end <= b.size and _datagram(b, _ip_begin(b, at + RECORD_BYTES, end, ip_at), end)[1] > 0


@kernel()
def _is_near(b: Bytes, at: int, end: int, big: bool) -> bool:
    """The seconds at `end` are within a month of those at `at`."""
    return abs(_number(b, end, big) - _number(b, at, big)) < MONTH_S


@kernel()
def _goes_on(b: Bytes, at: int, end: int, ends: bool, big: bool, fraction_ns: int) -> int:
    """What `peek.NOT_YET` says, behind the record at `at`, which ends at `end`."""
    if end + RECORD_BYTES > b.size:
        return NOT_YET if not ends else YES if end + 4 > b.size or _is_near(b, at, end, big) else NO
    if _is_near(b, at, end, big) and _is_record(b, end, big, fraction_ns):
        return YES
    if _number(b, end + 8, big) == 0:
        return NO
    after = end + RECORD_BYTES + _number(b, end + 8, big)
    if after == b.size or after + RECORD_BYTES > b.size:
        return YES if after == b.size else NO
    return YES if _is_near(b, at, after, big) and _is_record(b, after, big, fraction_ns) else NO


@kernel()
def _find(
    b: Bytes, ends: bool, lost: bool, big: bool, fraction_ns: int, ip_at: int, rows: Rows
) -> tuple[int, int, int, bool]:
    """Fill rows (begin, size, time in ns); number of them, bytes consumed, damaged stretches, still lost."""
    n, at, skipped = 0, 0, 0
    while at + RECORD_BYTES <= b.size:
        sound = _is_record(b, at, big, fraction_ns)
        end = at + RECORD_BYTES + _number(b, at + 8, big)
        follows = _goes_on(b, at, end, ends, big, fraction_ns) if sound and end <= b.size else NO
        if follows == NOT_YET or (sound and end > b.size and not ends):
            break
        if follows == YES and (not lost or _strong(b, at, big, fraction_ns, ip_at)):
            begin, size = _datagram(b, _ip_begin(b, at + RECORD_BYTES, end, ip_at), end)
            if size > 0:
                rows[n, 0], rows[n, 1] = begin, size
                rows[n, 2] = _number(b, at, big) * 1_000_000_000 + _number(b, at + 4, big) * fraction_ns
                n += 1
            skipped += 1 if size < 0 else 0
            lost, at = False, end
        else:
            skipped += 0 if lost else 1
            lost, at = True, at + 1
    if ends and at < b.size and not lost:
        skipped += 1
    return n, at, skipped, lost


def find_datagrams(content: Bytes, ends: bool, lost: bool, capture: Capture) -> tuple[Rows, int, int, bool]:
    """CSI payloads in a stretch of a capture.

    Args:
        content: bytes, beginning at a record.
        ends: the file ends with them.
        lost: they begin inside damage.
        capture: header of the file.

    Returns:
        (datagrams, 3) begin, size, time in ns; bytes consumed; damaged stretches and datagrams; ended in damage.
    """
    rows = np.empty((content.size // (RECORD_BYTES + 28 + LEAST) + 1, 3), np.int64)
    n, consumed, skipped, lost = _find(content, ends, lost, capture.big, capture.fraction_ns, capture.ip_at, rows)
    return rows[:n], consumed, skipped, lost
