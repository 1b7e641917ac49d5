"""What every reader yields, whatever the tool and the hardware were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

SNR_REFERENCE = "square root of SNR: |h|² is the signal-to-noise ratio of the tone"
POWER_REFERENCE = "square root of milliwatt: |h|², summed over transmit streams, has the mean of the RSSI over tones"
RAW_REFERENCE = "relative: receiver's own numbers, flattened by its gain control"


@dataclass(frozen=True, eq=False)
class Packets:
    """Consecutive packets of one file.

    Attributes:
        h: (packets, links, tones) complex64, channel frequency response; 0 where nothing was measured.
        time_s: (packets,) float64, s since the first packet by the receiver's clock, wrap-around undone, never falling.
        rssi_dbm: (packets, links) float32, at the receive antenna of the link; NaN = unknown.
        noise: (packets, links) float32, noise variance of a tone in units of |h|²; NaN = unknown.
        agc_db: (packets,) float32, receiver's gain; NaN = unknown.
        scale: (packets, links) float32, h = scale × the numbers in the file.
        valid: (packets, links) bool, the link was measured in this packet.
        transmitter: (packets,) int32, 0 for A, 1 for B, …; −1 = unknown
        skipped: truncated and corrupt packets met between the last chunk and the end of this one.
    """

    h: NDArray[np.complex64]
    time_s: NDArray[np.float64]
    rssi_dbm: NDArray[np.float32]
    noise: NDArray[np.float32]
    agc_db: NDArray[np.float32]
    scale: NDArray[np.float32]
    valid: NDArray[np.bool_]
    transmitter: NDArray[np.int32]
    skipped: int = 0


@dataclass(frozen=True, eq=False)
class ForeignCsi:
    """One recording: what holds for the whole file, and its packets in chunks.

    Attributes:
        format: short name of the file format.
        hardware: receiver and tool, in words.
        sha256: of the file, hexadecimal.
        links: (receive, transmit) antenna or stream of each link, from 0.
        frequency_hz: (tones,) offset of each tone from `center_hz`, rising.
        used: (tones,) the tone carries channel information; guard, null and defective pilot tones do not.
        spacing_hz: distance of neighbouring tones of the OFDM grid.
        center_hz: carrier; None where the format does not say.
        absolute: amplitudes of different packets can be compared.
        amplitude_reference: what |h| is relative to.
        clock: what `time_s` counts.
        chunks: opens the file anew and yields its packets; memory does not grow with the file.
        phase_calibrated: phases of different packets can be compared.
        transmitters_known: the format tells transmitters apart.
        remarks: what a user of the numbers must know.
    """

    format: str
    hardware: str
    sha256: str
    links: tuple[tuple[int, int], ...]
    frequency_hz: NDArray[np.float64]
    used: NDArray[np.bool_]
    spacing_hz: float
    center_hz: float | None
    absolute: bool
    amplitude_reference: str
    clock: str
    chunks: Callable[[], Iterator[Packets]]
    phase_calibrated: bool = False
    transmitters_known: bool = True
    remarks: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class ImportSummary:
    """What was read from one file.

    Attributes:
        format: short name of the file format.
        packets: moments at which CSI was measured.
        links: antenna pairs, or directed links after a composition.
        subcarriers: tones of the frequency axis, unused ones included.
        skipped: truncated and corrupt packets left out.
        duration_s: from the first packet to the last.
        absolute_scale: amplitudes of different packets can be compared.
        transmitters: how many were told apart; 1 where the format does not tell.
    """

    format: str
    packets: int
    links: int
    subcarriers: int
    skipped: int
    duration_s: float
    absolute_scale: bool
    transmitters: int


def letter(index: int) -> str:
    """Name of a transmitter: A … Z, AA, AB, … in the order in which they were first heard."""
    name = ""
    number = index + 1
    while number:
        number, rest = divmod(number - 1, 26)
        name = chr(65 + rest) + name
    return name


def index_of(name: str) -> int:
    """Inverse of `letter`.

    Raises:
        ValueError: not a name of capital letters.
    """
    number = 0
    for sign in name:
        if not "A" <= sign <= "Z":
            raise ValueError(f"{name!r} is not a transmitter; they are named A, B, … Z, AA, …")
        number = 26 * number + ord(sign) - 64
    return number - 1


def empty_packets(links: int, tones: int, skipped: int, count: int = 0) -> Packets:
    """`count` packets in which nothing was measured."""
    unknown = np.full((count, links), np.nan, np.float32)
    return Packets(
        h=np.zeros((count, links, tones), np.complex64),
        time_s=np.zeros(count),
        rssi_dbm=unknown,
        noise=unknown.copy(),
        agc_db=np.full(count, np.nan, np.float32),
        scale=unknown.copy(),
        valid=np.zeros((count, links), np.bool_),
        transmitter=np.zeros(count, np.int32),
        skipped=skipped,
    )


class Letters:
    """Addresses → transmitter numbers, in the order of first appearance. Addresses never leave this object."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}

    def number(self, address: NDArray[np.uint64]) -> NDArray[np.int32]:
        """(packets,) addresses → (packets,) numbers from 0; −1 for the address 0, which is nobody's."""
        values, first, inverse = np.unique(address, return_index=True, return_inverse=True)
        for n in np.argsort(first):
            if values[n]:
                self._known.setdefault(int(values[n]), len(self._known))
        table = np.array([self._known.get(int(v), -1) for v in values], np.int32)
        return np.asarray(table[inverse], np.int32) if values.size else np.zeros(0, np.int32)
