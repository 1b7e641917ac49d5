"""Finding the segments of PicoScenes frames, and what the layout key of a frame is made of."""

from __future__ import annotations

from testbed.compiled import kernel
from testbed.record.foreign.peek import NO, NOT_YET, YES, Bytes, Rows, u8, u16, u32

MAGIC = 0x20150315
MOST_BYTES = 1 << 22
# columns of a row after start, length and key
BASIC, VERSION, CSI, MICROS, SYSTEM, ADDRESS, ANTENNAS, COLUMNS = 3, 4, 5, 6, 7, 8, 9, 10
# key: (lowest bit, bits); above them the carrier in MHz
FAMILY, WIDTH, RX, TX, DEVICE = (0, 3), (3, 2), (5, 4), (9, 4), (13, 2)
MVM, QCA9300, IWL5300 = 0, 1, 2


@kernel()
def is_frame(b: Bytes, at: int) -> bool:
    """A frame header begins here."""
    if at + 11 > b.size or u32(b, at + 4) != MAGIC or u16(b, at + 8) != 1:
        return False
    return 7 <= u32(b, at) <= MOST_BYTES


@kernel()
def _is_named(b: Bytes, at: int, length: int, first: int, last: int, letters: int) -> bool:
    """The segment's name has so many letters (and perhaps a zero byte), with this first and last one."""
    if length != letters and (length != letters + 1 or b[at + letters] != 0):
        return False
    return bool(b[at] == first and b[at + letters - 1] == last)


@kernel()
def _basic_size(version: int) -> int:
    return 26 if version == 1 else 28 if version == 2 else 32 if version == 3 else 40 if version == 4 else 47


@kernel()
def _note_basic(b: Bytes, at: int, version: int, size: int, row: Rows) -> None:
    """RxSBasic: where it is, which version; hardware time in µs, or the host's."""
    if version < 1 or version > 5 or size != _basic_size(version):
        return
    row[BASIC], row[VERSION] = at, version
    if row[MICROS] < 0 and (u32(b, at + 2) or u32(b, at + 6)):
        row[MICROS] = u32(b, at + 2)
    if version >= 4:
        row[SYSTEM] = ((u32(b, at + 10) | (u32(b, at + 14) << 32)) & 0x7FFFFFFFFFFFFFFF) // 1000


@kernel()
def _device(code: int) -> int:
    if code == 0x2000 or code == 0x2100:
        return MVM
    return QCA9300 if code == 0x9300 else IWL5300 if code == 0x5300 else -1


@kernel()
def _note_csi(b: Bytes, at: int, version: int, size: int, counts: Rows, row: Rows) -> None:
    """CSI segment: layout key, begin of the numbers; nothing where its lengths do not agree."""
    shift = 1 if version == 4 else 0
    whole = 35 + shift + (2 if version >= 2 else 0) + (2 if version >= 3 else 0)
    if version < 1 or version > 4 or size < whole:
        return
    device, family, mhz = _device(u16(b, at)), u8(b, at + 2 + shift) + 1, u16(b, at + 3 + shift)
    family -= 1 if family == 5 else 0  # HE-MU is filled as HE-SU
    family -= 1 if family == 6 else 0
    width = 0 if mhz == 20 else 1 if mhz == 40 else 2 if mhz == 80 else 3 if mhz == 160 else -1
    if device < 0 or width < 0 or family < 1 or family > 5:
        return
    hertz = u32(b, at + 5 + shift) | (u32(b, at + 9 + shift) << 32)
    tones, tx = u16(b, at + 25 + shift), u8(b, at + 27 + shift)
    rx, more = u8(b, at + 28 + shift), u8(b, at + 29 + shift)
    tail = at + whole - 4
    bytes_ = u32(b, tail)
    if (version >= 3 and u16(b, at + 30 + shift) != 1) or (version >= 2 and u16(b, tail - 2) != 0):
        return
    tx += more
    if rx < 1 or rx > 8 or tx < 1 or tx > 8 or not _agree(device, family, width, tones, rx * tx, bytes_, counts):
        return
    if size != whole + bytes_ or hertz % 1_000_000 != 0 or hertz > 10_000_000_000:
        return
    row[2] = family | (width << 3) | (rx << 5) | (tx << 9) | (device << 13) | ((hertz // 1_000_000) << 24)
    row[CSI] = at + whole
    row[ANTENNAS] = b[tail - (3 if version >= 2 else 1)]


@kernel()
def _agree(device: int, family: int, width: int, tones: int, streams: int, size: int, counts: Rows) -> bool:
    """Tones fit the packet format, and bytes fit the tones."""
    if device == IWL5300:
        return tones == 30 and size == 60 * streams + 12 and width <= 1
    if tones == 0 or tones != counts[family, width]:
        return False
    return size == 4 * streams * tones if device == MVM else size * 2 == 5 * streams * tones


@kernel()
def _note(b: Bytes, at: int, end: int, counts: Rows, row: Rows) -> bool:
    """Fill a row from the frame at `at`; False where its segments do not fit into it."""
    row[:] = 0
    row[MICROS] = -1
    place = at + 11
    for _ in range(u8(b, at + 10)):
        if place + 7 > end:
            return False
        after, letters = place + 4 + u32(b, place), u8(b, place + 4)
        body = place + 7 + letters
        if letters < 1 or body > after or after > end:
            return False
        version = u16(b, body - 2)
        if _is_named(b, place + 5, letters, 82, 99, 8):  # RxSBasic
            _note_basic(b, body, version, after - body, row)
        elif _is_named(b, place + 5, letters, 77, 97, 8) and after - body >= 94 and u16(b, body) >= 92:  # MVMExtra
            row[MICROS] = u32(b, body + 2 + 88)
        elif _is_named(b, place + 5, letters, 67, 73, 3):  # CSI
            _note_csi(b, body, version, after - body, counts, row)
        place = after
    if place + 16 <= end and not (b[place] & 0x0C == 4 and (b[place] >> 4 == 12 or b[place] >> 4 == 13)):
        row[ADDRESS] = place + 10  # neither CTS nor ACK: these do not say who sent them
    row[0], row[1] = at, end - at
    return bool(row[BASIC] > 0 and row[CSI] > 0)


@kernel()
def _may_begin(b: Bytes, at: int) -> bool:
    """The last bytes of a file, fewer than a header, are the beginning of one as far as they go."""
    if at + 4 <= b.size and not 7 <= u32(b, at) <= MOST_BYTES:
        return False
    for k in range(4, min(8, b.size - at)):
        if u8(b, at + k) != (MAGIC >> (8 * (k - 4))) & 255:
            return False
    return at + 10 > b.size or u16(b, at + 8) == 1


@kernel()
def _goes_on(b: Bytes, end: int, ends: bool) -> int:
    """What `peek.NOT_YET` says, behind a frame that ends at `end`."""
    if end + 11 > b.size:
        return NOT_YET if not ends else YES if _may_begin(b, end) else NO
    if is_frame(b, end):
        return YES
    after = end + 4 + u32(b, end)
    leads = 7 <= u32(b, end) <= MOST_BYTES and (after == b.size or is_frame(b, after))
    return YES if leads else NO


@kernel()
def find_frames(b: Bytes, ends: bool, lost: bool, counts: Rows, rows: Rows) -> tuple[int, int, int, bool]:
    """Fill rows; number of them, bytes consumed, damaged stretches and frames of no known CSI, still lost."""
    n, at, skipped = 0, 0, 0
    while at + 11 <= b.size:
        sound = is_frame(b, at)
        end = at + 4 + u32(b, at)
        follows = _goes_on(b, end, ends) if sound and end <= b.size else NO
        if follows == NOT_YET or (sound and end > b.size and not ends):
            break
        if follows == YES:
            if _note(b, at, end, counts, rows[n]):
                n += 1
                lost, at = False, end
                continue
            if not lost and (end == b.size or is_frame(b, end)):
                skipped, at = skipped + 1, end
                continue
        skipped += 0 if lost else 1
        lost, at = True, at + 1
    if ends and at < b.size and not lost:
        skipped += 1
    return n, at, skipped, lost
