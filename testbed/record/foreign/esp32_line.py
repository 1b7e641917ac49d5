"""Lines of the ESP32 CSI Tool → numbers, compiled: text is slow to parse in any other way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from testbed.compiled import kernel
from testbed.record.foreign.peek import Bytes, Rows, u8

BEGIN = b"CSI_DATA,"
NAMES: tuple[str, ...] = (
    "type", "role", "mac", "rssi", "rate", "sig_mode", "mcs", "bandwidth", "smoothing", "not_sounding", "aggregation",
    "stbc", "fec_coding", "sgi", "noise_floor", "ampdu_cnt", "channel", "secondary_channel", "local_timestamp", "ant",
    "sig_len", "rx_state", "real_time_set", "real_timestamp", "len", "CSI_DATA",
)  # fmt: skip
WANTED = ("rssi", "noise_floor", "channel", "secondary_channel", "local_timestamp", "rx_state", "len")
RSSI, NOISE, CHANNEL, SECONDARY, TICKS, STATE, LENGTH = range(len(WANTED))
MAC, LIST = -2, -3
VALUES = 128
COMMA, OPEN, CLOSE, SPACE, MINUS, NEWLINE, RETURN, QUOTE, POINT = 44, 91, 93, 32, 45, 10, 13, 34, 46
ZERO, NINE = 48, 57


@dataclass(frozen=True, eq=False)
class Columns:
    """Fields of some lines.

    Attributes:
        good: (lines,) the line is whole and all its numbers are in range.
        number: by name, (lines,) integers; meaningless in a bad line.
        address: (lines,) transmitter as a number.
    """

    good: NDArray[np.bool_]
    number: dict[str, NDArray[np.int64]]
    address: NDArray[np.uint64]

    @staticmethod
    def names() -> tuple[bytes, ...]:
        """Header line of the tool."""
        return tuple(name.encode() for name in NAMES)


def column_order(start: bytes) -> Rows:
    """(fields,) what each field of a line is, up to the list; by the header line in `start`, or in the tool's order."""
    names = NAMES
    for line in start.split(b"\n"):
        told = tuple(part.strip() for part in line.decode("latin-1").split(","))
        if told[0] == "type" and set(WANTED) | {"mac", "CSI_DATA"} <= set(told):
            names = told[: told.index("CSI_DATA") + 1]
            break
    place = {name: n for n, name in enumerate(WANTED)} | {"mac": MAC, "CSI_DATA": LIST}
    return np.array([place.get(name, -1) for name in names], np.int64)


@kernel()
def _integer(b: Bytes, at: int, end: int) -> tuple[int, bool]:
    """A decimal integer that fills the stretch, blanks around it allowed."""
    while at < end and b[at] == SPACE:
        at += 1
    while end > at and (b[end - 1] == SPACE or b[end - 1] == RETURN):
        end -= 1
    negative = at < end and b[at] == MINUS
    at += 1 if negative else 0
    if at >= end or end - at > 18:
        return 0, False
    value = 0
    for k in range(at, end):
        if b[k] < ZERO or b[k] > NINE:
            return 0, False
        value = 10 * value + u8(b, k) - ZERO
    return (-value if negative else value), True


@kernel()
def _nibble(sign: int) -> int:
    if ZERO <= sign <= NINE:
        return sign - ZERO
    low = sign | 32
    return low - 87 if 97 <= low <= 102 else -1


@kernel()
def _mac(b: Bytes, at: int, end: int) -> int:
    """aa:bb:cc:dd:ee:ff as a number; −1 where it is none."""
    while at < end and (b[at] == SPACE or b[at] == QUOTE):
        at += 1
    while end > at and (b[end - 1] == SPACE or b[end - 1] == QUOTE):
        end -= 1
    if end - at != 17:
        return -1
    value = 0
    for k in range(17):
        if k % 3 == 2:
            if b[at + k] != 58:
                return -1
        else:
            digit = _nibble(u8(b, at + k))
            if digit < 0:
                return -1
            value = value * 16 + digit
    return value


@kernel()
def _list(b: Bytes, at: int, end: int, out: Rows) -> int:
    """Integers between brackets, the first ones into out; how many there are, −1 for anything else."""
    while end > at and (b[end - 1] == SPACE or b[end - 1] == RETURN or b[end - 1] == QUOTE):
        end -= 1
    while at < end and (b[at] == SPACE or b[at] == QUOTE):
        at += 1
    if end - at < 2 or b[at] != OPEN or b[end - 1] != CLOSE:
        return -1
    count, at, end = 0, at + 1, end - 1
    while True:
        while at < end and (b[at] == SPACE or b[at] == COMMA):
            at += 1
        if at >= end:
            return count
        stop = at
        while stop < end and b[stop] != SPACE and b[stop] != COMMA:
            stop += 1
        value, sound = _integer(b, at, stop)
        if not sound or value < -128 or value > 255:
            return -1
        if count < out.size:
            out[count] = value
        count, at = count + 1, stop


@kernel()
def _line(b: Bytes, at: int, end: int, order: Rows, number: Rows, values: Rows) -> int:
    """Fill a line's numbers and values; its address, or −1 where the line is damaged."""
    address, count, field = -1, -1, 0
    while field < order.size:
        stop = at
        if order[field] == LIST:
            stop = end
        else:
            while stop < end and b[stop] != COMMA:
                stop += 1
        if stop >= end and field != order.size - 1:
            return -1
        what = order[field]
        if what >= 0:
            value, sound = _integer(b, at, stop)
            if not sound:
                return -1
            number[what] = value
        elif what == MAC:
            address = _mac(b, at, stop)
        elif what == LIST:
            count = _list(b, at, end, values)
        field, at = field + 1, stop + 1
    return address if _in_range(number, count) else -1


@kernel()
def _in_range(number: Rows, count: int) -> bool:
    """Fields are what the card can report, and the list is as long as it says or as the tool cuts it."""
    told = number[LENGTH]
    if count < VALUES or told < VALUES or told > 1024 or (count != told and count != VALUES):
        return False
    if number[RSSI] < -128 or number[RSSI] > 0 or number[NOISE] < -128 or number[NOISE] > 127:
        return False
    if number[CHANNEL] < 1 or number[CHANNEL] > 196 or number[SECONDARY] < 0 or number[SECONDARY] > 2:
        return False
    return bool(0 <= number[TICKS] < 1 << 32 and number[STATE] == 0)


@kernel()
def _is_data(b: Bytes, at: int, end: int) -> bool:
    """The line begins with CSI_DATA and a comma."""
    begin = b"CSI_DATA,"
    if end - at < len(begin):
        return False
    differ = 0
    for k in range(len(begin)):
        differ += 1 if b[at + k] != begin[k] else 0
    return differ == 0


@kernel()
def _is_list_end(b: Bytes, at: int, end: int) -> bool:
    """The line ends like a data line: what comes before is damaged."""
    end -= 1 if end > at and b[end - 1] == QUOTE else 0
    return bool(end - at > VALUES and b[end - 1] == CLOSE)


@kernel()
def _without_time(b: Bytes, at: int, end: int) -> int:
    """End of a line without blanks, and without the time that the tool's `serial_append_time.py` puts behind it."""
    while end > at and (b[end - 1] == SPACE or b[end - 1] == RETURN):
        end -= 1
    begin = end
    while begin > at and (ZERO <= b[begin - 1] <= NINE or b[begin - 1] == POINT):
        begin -= 1
    timed = begin < end and begin - at > 1 and b[begin - 1] == COMMA
    return begin - 1 if timed and (b[begin - 2] == CLOSE or b[begin - 2] == QUOTE) else end


@kernel()
def _parse(
    b: Bytes, ends: bool, order: Rows, number: Rows, address: Rows, csi: NDArray[np.complex64]
) -> tuple[int, int]:
    """Fill one entry a data line, address −1 in damaged ones; how many, and bytes consumed."""
    n, at = 0, 0
    values = np.zeros(VALUES, np.int64)
    while at < b.size:
        end = at
        while end < b.size and b[end] != NEWLINE:
            end += 1
        if end == b.size and not ends:
            break
        told = _without_time(b, at, end)
        if _is_data(b, at, told):
            address[n] = _line(b, at, told, order, number[n], values)
            for k in range(VALUES // 2):
                csi[n, k] = np.complex64(complex(np.int8(values[2 * k + 1]), np.int8(values[2 * k])))
            n += 1
        elif _is_list_end(b, at, told):
            address[n] = -1
            n += 1
        at = end + 1
    return n, min(at, b.size)


def parse_lines(content: Bytes, order: Rows, ends: bool) -> tuple[Columns, NDArray[np.complex64], int]:
    """Data lines of a stretch of text.

    Args:
        content: text, beginning at a line.
        order: from `column_order`.
        ends: the file ends with it; else the last line may be cut.

    Returns:
        Fields; (lines, 64) CSI in the order of the file; bytes consumed.
    """
    most = content.size // 64 + 1
    number = np.zeros((most, len(WANTED)), np.int64)
    address = np.full(most, -1, np.int64)
    csi = np.zeros((most, VALUES // 2), np.complex64)
    n, consumed = _parse(content, ends, order, number, address, csi)
    columns = {name: number[:n, k] for k, name in enumerate(WANTED)}
    return Columns(address[:n] >= 0, columns, address[:n].astype(np.uint64)), csi[:n], consumed
