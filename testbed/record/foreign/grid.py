"""One grid of links and tones for all packets of a file, whatever each of them measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from testbed.errors import RecordError

MOST_TONES = 16_384
MOST_LINKS = 64


@dataclass(frozen=True, eq=False)
class Layout:
    """What frames of one kind hold.

    Attributes:
        links: (receive, transmit) antenna or stream, from 0, in the order of decoding.
        tones: (tones,) indices on the OFDM grid, 0 = carrier, in the order of decoding.
        null: (tones,) guard and carrier tones: nothing is sent there.
        unfit: (tones,) sent, but the receiver's number is not the channel (some pilots).
        spacing_hz: of the OFDM grid.
        center_hz: carrier; None = unknown.
        extra: what else `decode` needs.
    """

    links: tuple[tuple[int, int], ...]
    tones: NDArray[np.int64]
    null: NDArray[np.bool_]
    unfit: NDArray[np.bool_]
    spacing_hz: float
    center_hz: float | None
    extra: int = 0


def all_sent(
    links: tuple[tuple[int, int], ...], tones: NDArray[np.int64], spacing_hz: float, center_hz: float | None = None,
    unfit: NDArray[np.bool_] | None = None, extra: int = 0,
) -> Layout:  # fmt: skip
    """A layout without null tones."""
    none = np.zeros(tones.size, np.bool_)
    return Layout(links, tones, none, none if unfit is None else unfit, spacing_hz, center_hz, extra)


def pairs(receivers: int, transmitters: int) -> tuple[tuple[int, int], ...]:
    """All antenna pairs, transmit antenna fastest."""
    return tuple((rx, tx) for rx in range(receivers) for tx in range(transmitters))


@dataclass(frozen=True, eq=False)
class Grid:
    """Links and tones that hold every layout of a file; attributes as in `ForeignCsi`."""

    links: tuple[tuple[int, int], ...]
    frequency_hz: NDArray[np.float64]
    used: NDArray[np.bool_]
    spacing_hz: float
    center_hz: float | None
    remarks: tuple[str, ...]

    def place(self, layout: Layout) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(links,) and (tones,) positions of a layout in this grid."""
        link = np.array([self.links.index(pair) for pair in layout.links])
        return link, np.searchsorted(self.frequency_hz, _frequencies(layout, self.center_hz))


def _frequencies(layout: Layout, center_hz: float | None) -> NDArray[np.float64]:
    """(tones,) Hz from the common carrier; exact multiples of 1 Hz / 8."""
    shift = 0.0 if center_hz is None or layout.center_hz is None else layout.center_hz - center_hz
    return np.round((layout.tones * layout.spacing_hz + shift) * 8) / 8


def common_grid(path: Path, layouts: Mapping[int, Layout], counts: Mapping[int, int]) -> Grid:
    """Union of all layouts, around the carrier that most frames have.

    Raises:
        RecordError: more tones or links than a recording can sensibly hold.
    """
    most = layouts[max(counts, key=lambda key: (counts[key], -key))]
    centers = {layout.center_hz for layout in layouts.values()}
    center_hz = None if None in centers else most.center_hz
    filled: dict[float, bool] = {}
    for layout in layouts.values():
        fit = ~(layout.null | layout.unfit)
        for f, ok in zip(_frequencies(layout, center_hz).tolist(), fit.tolist(), strict=True):
            filled[f] = filled.get(f, False) or ok
    links = tuple(sorted({pair for layout in layouts.values() for pair in layout.links}))
    if len(filled) > MOST_TONES or len(links) > MOST_LINKS:
        raise RecordError(
            f"{path}: {len(links)} links × {len(filled)} tones from {len(layouts)} kinds of packets, at most "
            f"{MOST_LINKS} × {MOST_TONES} fit in one file; split the file by channel before importing it"
        )
    frequency = np.array(sorted(filled))
    used = np.array([filled[f] for f in frequency.tolist()], np.bool_)
    mixed = () if len(layouts) == 1 else (f"{len(layouts)} kinds of packets share the tone axis",)
    return Grid(links, frequency, used, most.spacing_hz, center_hz, mixed)
