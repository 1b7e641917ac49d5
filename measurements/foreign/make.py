"""Cut the excerpts of this folder from the public recordings and take out what identifies a device.

    python make.py FOLDER_OF_THE_RECORDINGS

Packets are copied byte for byte, except: every MAC address becomes 02:00:00:00:00:01, :02, … by device, and payloads
of frames become zeros.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).parent
Ends = Callable[[bytes, int], int]


class Names:
    """Addresses → made-up ones, the same for the same device."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {b"\xff" * 6: b"\xff" * 6, bytes(6): bytes(6)}

    def __call__(self, address: bytes) -> bytes:
        """The made-up address of a device."""
        made = bytes([2, 0, 0, 0, 0, len(self._known) - 1])
        return self._known.setdefault(bytes(address), made)


def records(content: bytes, begin: int, count: int, size: Ends) -> Iterator[tuple[int, int]]:
    """(begin, end) of the first records."""
    at = begin
    for _ in range(count):
        if at >= len(content):
            return
        yield at, at + size(content, at)
        at += size(content, at)


def rename(data: bytearray, at: int, names: Names) -> None:
    """Replace the address at an offset."""
    data[at : at + 6] = names(bytes(data[at : at + 6]))


def frame(data: bytearray, at: int, end: int, names: Names) -> None:
    """Addresses of an 802.11 frame replaced, its body zeroed."""
    for place in (4, 10, 16):
        if at + place + 6 <= end:
            rename(data, at + place, names)
    data[at + 24 : end] = bytes(max(0, end - at - 24))


def intel(content: bytes) -> bytes:
    """The first 300 records; they hold no address."""
    *_, (_, end) = records(content, 0, 300, lambda b, p: 2 + int.from_bytes(b[p : p + 2], "big"))
    return content[:end]


def atheros(content: bytes) -> bytes:
    """The first 80 records, their frames made anonymous."""
    out, names = bytearray(), Names()
    for begin, end in records(content, 0, 80, lambda b, p: 2 + int(struct.unpack_from("<H", b, p)[0])):
        data = bytearray(content[begin:end])
        frame(data, 27 + struct.unpack_from("<H", data, 10)[0], len(data), names)
        out += data
    return bytes(out)


def nexmon(content: bytes) -> bytes:
    """The first 150 records, sources replaced."""
    out, names = bytearray(content[:24]), Names()
    for begin, end in records(content, 24, 150, lambda b, p: 16 + int(struct.unpack_from("<I", b, p + 8)[0])):
        data = bytearray(content[begin:end])
        rename(data, 16 + 42 + 4, names)
        out += data
    return bytes(out)


def feitcsi(content: bytes, count: int) -> bytes:
    """The first frames, sources replaced."""
    out, names = bytearray(), Names()
    for begin, end in records(content, 0, count, lambda b, p: 272 + int(struct.unpack_from("<I", b, p)[0])):
        data = bytearray(content[begin:end])
        rename(data, 68, names)
        out += data
    return bytes(out)


def picoscenes(content: bytes) -> bytes:
    """The first 160 frames; addresses in three kinds of segments and in the received frame replaced."""
    out, names = bytearray(), Names()
    for begin, end in records(content, 0, 160, lambda b, p: 4 + int(struct.unpack_from("<I", b, p)[0])):
        data = bytearray(content[begin:end])
        at = 11
        for _ in range(data[10]):
            body = at + 7 + data[at + 4]
            name = bytes(data[at + 5 : at + 13])
            if name == b"MVMExtra":
                rename(data, body + 2 + 68, names)
            if name[:8] == b"ExtraInf":
                for place in (14, 20):  # after feature code, length and version: current and burnt-in address
                    rename(data, body + place, names)
            at += 4 + struct.unpack_from("<I", data, at)[0]
        frame(data, at, len(data), names)
        out += data
    return bytes(out)


def esp32(content: bytes, count: int) -> bytes:
    """The first lines, sources replaced."""
    names, lines = Names(), []
    for line in content.split(b"\n")[: count + 1]:
        parts = line.split(b",")
        if parts[0] == b"CSI_DATA":
            parts[2] = names(bytes.fromhex(parts[2].replace(b":", b"").decode())).hex(":").upper().encode()
        lines.append(b",".join(parts))
    return b"\n".join(lines) + b"\n"


MAKE: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "intel5300.dat": ("iwl5300_ap_3rx2tx.dat", intel),
    "atheros.dat": ("atheros_qca9300_3rx2tx.dat", atheros),
    "nexmon.pcap": ("nexmon_bcm43455c0_80mhz.pcap", nexmon),
    "feitcsi_vht80.csi": ("feitcsi_ax2xx_vht80_2rx.csi", lambda b: feitcsi(b, 40)),
    "feitcsi_he160.csi": ("feitcsi_ax2xx_hesu160_2rx.csi", lambda b: feitcsi(b, 6)),
    "picoscenes.csi": ("picoscenes_ax200_2rx.csi", picoscenes),
    "esp32.csv": ("esp32_csitool_100hz.csv", lambda b: esp32(b, 300)),
    "esp32_stbc.csv": ("esp32_csitool_short.csv", lambda b: esp32(b, 30)),
}

if __name__ == "__main__":
    for name, (origin, make) in MAKE.items():
        HERE.joinpath(name).write_bytes(make(Path(sys.argv[1], origin).read_bytes()))
