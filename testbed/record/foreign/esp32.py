"""ESP32, `.csv` of the ESP32 CSI Tool (Hernandez and Bulut, WoWMoM 2020).

Definition: `csi_component.h` of StevenMHernandez/ESP32-CSI-Tool, and "Wi-Fi Channel State Information" in the
ESP-IDF documentation. A line a packet, beginning with CSI_DATA; the last field is a list of bytes, imaginary and
real, of the legacy training field and then of others. The legacy field is in every packet and is what is read:
64 tones of the primary 20 MHz channel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from testbed.errors import RecordError
from testbed.record.foreign.clock import Clock, Reading, undo_wrap
from testbed.record.foreign.dialect import Headers
from testbed.record.foreign.esp32_line import BEGIN, Columns, column_order, parse_lines
from testbed.record.foreign.grid import Layout
from testbed.record.foreign.power import noise_milliwatt, rssi_scale
from testbed.record.foreign.stream import Window, head, sha256
from testbed.record.foreign.tones import WIDE_HZ, channel_hz
from testbed.record.foreign.value import POWER_REFERENCE, ForeignCsi, Letters, Packets, empty_packets

NAME = "esp32"
TONES = 64
CLOCK = Clock(1e-6, 32, True, "card's 1 MHz clock, since the first packet")
INDEX = np.arange(-32, 32)
NULL = (INDEX == 0) | (np.abs(INDEX) > 26)
FIRST_WORD = INDEX == 1  # the first four bytes are often not CSI, and the tool does not record when
MOST_HEAD = 1 << 16


def recognised(start: bytes) -> bool:
    """Whether a file that starts so is a log of this tool: its header line, or a whole line of its data."""
    text = start[:MOST_HEAD]
    lines = text.split(b"\n")
    if any(line.strip() == b",".join(Columns.names()) for line in lines):
        return True
    block = np.frombuffer(text, np.uint8)
    return BEGIN in text and bool(parse_lines(block, column_order(text), True)[0].good.any())


def open_csi(path: Path) -> ForeignCsi:
    """Raises RecordError: no sound packet, or packets of several channels."""
    order = column_order(head(path, MOST_HEAD))
    channel = _channel(path, order)
    layout = Layout(((0, 0),), INDEX, NULL, FIRST_WORD & ~NULL, WIDE_HZ, channel_hz(channel, five_ghz=channel > 14))
    return ForeignCsi(
        format=NAME,
        hardware="ESP32, ESP32 CSI Tool",
        sha256=sha256(path),
        links=layout.links,
        frequency_hz=np.asarray(INDEX * WIDE_HZ, float),
        used=~(NULL | FIRST_WORD),
        spacing_hz=WIDE_HZ,
        center_hz=layout.center_hz,
        absolute=True,
        amplitude_reference=POWER_REFERENCE,
        clock=CLOCK.name,
        chunks=lambda: _packets(path, order, layout, channel),
        remarks=(
            "legacy training field of the primary channel; tone 1 is masked, the card often overwrites it",
            "packets of another channel than the first one's are counted as skipped",
        ),
    )


def _blocks(path: Path, order: NDArray[np.int64]) -> Iterator[tuple[Columns, NDArray[np.complex64], int, bool]]:
    """Parsed lines, their CSI in the order of the file, damaged lines, and whether the file ends."""
    window = Window(path)
    while (more := window.grow()) is not None:
        content, ends = more
        columns, csi, consumed = parse_lines(content, order, ends)
        if not consumed and not ends and content.size > MOST_HEAD * 256:
            raise RecordError(f"{path}: a line of more than {content.size} bytes; this is no log of the ESP32 CSI Tool")
        yield columns, csi, int((~columns.good).sum()), ends
        window.consume(consumed)


def _channel(path: Path, order: NDArray[np.int64]) -> int:
    for columns, _, _, _ in _blocks(path, order):
        if columns.good.any():
            return int(columns.number["channel"][columns.good][0])
    raise RecordError(f"{path}: no sound {NAME} packet in it; nothing can be imported")


def _packets(path: Path, order: NDArray[np.int64], layout: Layout, channel: int) -> Iterator[Packets]:
    letters, last, waiting = Letters(), None, 0
    for columns, csi, damaged, ends in _blocks(path, order):
        good = columns.good & (columns.number["channel"] == channel)
        waiting += damaged + int((columns.good & ~good).sum())
        if not good.any():
            continue
        chunk, last = _chunk(columns, csi, np.flatnonzero(good), layout, letters, last, ends)
        yield replace(chunk, skipped=chunk.skipped + waiting)
        waiting = 0
    if waiting:
        yield empty_packets(1, TONES, waiting)


def _chunk(
    columns: Columns,
    csi: NDArray[np.complex64],
    index: NDArray[np.int64],
    layout: Layout,
    letters: Letters,
    last: Reading | None,
    ends: bool,
) -> tuple[Packets, Reading]:
    seconds, keep, state = undo_wrap(CLOCK, columns.number["local_timestamp"][index], last, ends)
    index = index[keep]
    headers = _headers(columns, index)
    h = _in_order(csi[index], columns.number["secondary_channel"][index])[:, None, :]
    factor = rssi_scale(h, headers, layout)
    fine = np.isfinite(factor[:, 0]) & (factor[:, 0] > 0)
    h, factor, index = h[fine] * factor[fine, :, None], factor[fine], index[fine]
    h[:, :, layout.null] = 0
    packets = Packets(
        h=h,
        time_s=seconds[fine],
        rssi_dbm=headers.rssi_dbm[fine],
        noise=noise_milliwatt(headers)[fine, None],
        agc_db=np.full(index.size, np.nan, np.float32),
        scale=factor,
        valid=np.ones((index.size, 1), np.bool_),
        transmitter=letters.number(columns.address[index]),
        skipped=int((~keep).sum() + (~fine).sum()),
    )
    return packets, state


def _headers(columns: Columns, index: NDArray[np.int64]) -> Headers:
    number = {name: values[index] for name, values in columns.number.items()}
    unknown = np.full(index.size, np.nan, np.float32)
    noise = number["noise_floor"].astype(np.float32)
    return Headers(
        ticks=number["local_timestamp"],
        rssi_dbm=np.where(number["rssi"] < 0, number["rssi"], np.nan).astype(np.float32)[:, None],
        noise_dbm=np.where(noise < 0, noise, np.nan).astype(np.float32),
        agc_db=unknown,
        address=columns.address[index],
        good=np.ones(index.size, np.bool_),
        joins=np.zeros(index.size, np.bool_),
    )


def _in_order(csi: NDArray[np.complex64], secondary: NDArray[np.int64]) -> NDArray[np.complex64]:
    """(packets, 64) tones −32 … 31: stored from 0 up, then from −32 up; rising where there is a second channel."""
    return np.where((secondary == 0)[:, None], np.fft.fftshift(csi, axes=1), csi)
