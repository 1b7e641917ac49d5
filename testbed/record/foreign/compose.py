"""A K-node network put together from recordings of one receiver, by a stated rule.

No public recording holds several distributed links at one time. So antenna pairs, transmitters, and stretches of
time stand for links between nodes. Each link is a series of packets; at every moment of the result each link
shows its latest packet, and how old that is. The rule is written into the file, and a warning beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from testbed.errors import RecordError
from testbed.record.foreign.mapping import LinkSource, Rule, fill_rule
from testbed.record.foreign.value import ForeignCsi, letter
from testbed.record.foreign.write import COMPOSED, CsiFile

ROWS = 256


def compose(
    sources: Sequence[ForeignCsi], parts: Sequence[Path], rule: tuple[LinkSource, ...] | Rule, out: Path
) -> None:
    """Write the composition of imported files.

    Args:
        sources: the recordings.
        parts: the same, as written by an import.
        rule: from `parse_map`.
        out: file to write.

    Raises:
        RecordError: the rule asks for what is not in the recordings, or nothing overlaps.
    """
    files = [h5py.File(part, "r", locking=False) for part in parts]
    try:
        transmitters = [int(f.attrs["transmitters"]) for f in files]
        duration = min(float(f.attrs["duration_s"]) for f in files)
        steady = [_steady(f) for f in files]
        links = fill_rule(rule, sources, transmitters, steady, duration) if isinstance(rule, Rule) else rule
        links = tuple(_known(link, sources, transmitters) for link in links)
        _write(files, sources, links, out)
    finally:
        for file in files:
            file.close()


def _steady(file: h5py.File) -> list[int]:
    """Transmitters heard at the beginning and at the end of a recording, within a tenth of its length."""
    time_s, who = np.asarray(file["time"][:], float), np.asarray(file["transmitter"][:])
    margin = 0.1 * float(time_s[-1])
    early, late = np.unique(who[time_s <= margin]), np.unique(who[time_s >= time_s[-1] - margin])
    return [int(n) for n in np.intersect1d(early, late) if n >= 0]


def _known(link: LinkSource, sources: Sequence[ForeignCsi], transmitters: Sequence[int]) -> LinkSource:
    """The link, if its file, transmitter and antenna pair exist."""
    name = f"--as-links {link.link_from}>{link.link_to}"
    if not 0 <= link.file < len(sources):
        raise RecordError(f"{name}: file {link.file + 1} of {len(sources)}; files are counted from 1")
    if link.pair not in sources[link.file].links:
        have = ", ".join(f"rx{r}tx{t}" for r, t in sources[link.file].links)
        raise RecordError(f"{name}: rx{link.pair[0]}tx{link.pair[1]} is not in file {link.file + 1}; it has {have}")
    if link.transmitter is not None and link.transmitter >= transmitters[link.file]:
        have = ", ".join(letter(n) for n in range(transmitters[link.file]))
        raise RecordError(f"{name}: no transmitter {letter(link.transmitter)} in file {link.file + 1}; it has {have}")
    return replace(link, transmitter=None) if transmitters[link.file] == 1 else link


@dataclass(frozen=True, eq=False)
class Series:
    """Packets of one link: their rows in the file, and their times after the offset."""

    rows: NDArray[np.int64]
    time_s: NDArray[np.float64]


def _series(file: h5py.File, source: ForeignCsi, link: LinkSource) -> Series:
    """Packets of the link that were received at its offset or later, and the last one before."""
    good = np.asarray(file["valid"][:, source.links.index(link.pair)], np.bool_)
    if link.transmitter is not None:
        good &= np.asarray(file["transmitter"][:]) == link.transmitter
    rows = np.flatnonzero(good)
    return Series(rows, np.asarray(file["time"][:], float)[rows] - link.offset_s)


def _moments(series: Sequence[Series], links: Sequence[LinkSource]) -> NDArray[np.float64]:
    """Times at which any link gets a new packet, while all links have one."""
    for one, link in zip(series, links, strict=True):
        if not one.rows.size:
            raise RecordError(f"--as-links {link.link_from}>{link.link_to}: no packet of its transmitter and antennas")
    begin = max(float(s.time_s[0]) for s in series)
    end = min(float(s.time_s[-1]) for s in series)
    if max(begin, 0.0) > end:
        raise RecordError(
            f"--as-links: the links have no time in common (from {max(begin, 0.0):.3g} s to {end:.3g} s); "
            "take smaller offsets or longer recordings"
        )
    moments = np.unique(np.concatenate([s.time_s for s in series]))
    return moments[(moments >= max(begin, 0.0)) & (moments <= end)]


def _write(files: Sequence[h5py.File], sources: Sequence[ForeignCsi], links: tuple[LinkSource, ...], out: Path) -> None:
    series = [_series(files[k.file], sources[k.file], k) for k in links]
    moments = _moments(series, links)
    tones = _common_tones(sources, links)
    source = sources[links[0].file]
    used = np.logical_and.reduce([sources[k.file].used[_where(sources[k.file], tones)] for k in links])
    way = np.array([(k.link_from, k.link_to) for k in links]).T
    coordinates = {"link_from": (way[0], "transmitting node"), "link_to": (way[1], "receiving node")}
    names = tuple(f"{k.link_from}>{k.link_to}" for k in links)
    with CsiFile(out, COMPOSED, tones, used, coordinates, names) as file:
        for begin in range(0, moments.size, ROWS):
            file.append(_rows(files, sources, links, series, tones, moments[begin : begin + ROWS], moments[0]))
        file.describe(_attributes(sources, links, source, moments, used.size))


def _rows(
    files: Sequence[h5py.File],
    sources: Sequence[ForeignCsi],
    links: Sequence[LinkSource],
    series: Sequence[Series],
    tones: NDArray[np.float64],
    moments: NDArray[np.float64],
    origin: float,
) -> dict[str, NDArray[Any]]:
    """Every variable at some moments: the latest packet of each link, held."""
    shape = moments.size, len(links)
    values: dict[str, NDArray[Any]] = {
        name: np.zeros(shape + ((tones.size,) if name == "h" else ()), "bool" if line[0] == "bool" else line[0])
        for name, line in COMPOSED.items()
        if name != "time"
    }
    for n, (link, one) in enumerate(zip(links, series, strict=True)):
        held = np.searchsorted(one.time_s, moments, side="right") - 1
        at, inverse = np.unique(one.rows[held], return_inverse=True)
        number, file = sources[link.file].links.index(link.pair), files[link.file]
        span = slice(int(at[0]), int(at[-1]) + 1)
        place = (at - at[0])[inverse]
        where = _where(sources[link.file], tones)
        values["h"][:, n] = file["h"][span, number][:, where][place]
        for name in ("rssi_dbm", "noise", "scale", "valid"):
            values[name][:, n] = file[name][span, number][place]
        values["age_s"][:, n] = moments - one.time_s[held]
    return values | {"time": moments - origin}


def _common_tones(sources: Sequence[ForeignCsi], links: Sequence[LinkSource]) -> NDArray[np.float64]:
    """Tones that all inputs have, as offsets from their carriers.

    Raises:
        RecordError: none.
    """
    tones = sources[links[0].file].frequency_hz
    for link in links:
        tones = np.intersect1d(tones, sources[link.file].frequency_hz)
    if not tones.size:
        raise RecordError("--as-links: the files have no subcarrier in common; compose files of one grid")
    return tones


def _where(source: ForeignCsi, tones: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.searchsorted(source.frequency_hz, tones)


def _attributes(
    sources: Sequence[ForeignCsi],
    links: Sequence[LinkSource],
    first: ForeignCsi,
    moments: NDArray[np.float64],
    tones: int,
) -> dict[str, Any]:
    """What the composition is made of, and what it is not."""
    used = [sources[n] for n in sorted({k.file for k in links})]
    together = len({(k.file, k.transmitter, k.offset_s) for k in links}) == 1
    warnings = ["antenna pairs of one receiver stand for links between nodes that were never there"]
    if not together:
        warnings.insert(0, "these links were not measured at the same time")
    references = sorted({s.amplitude_reference for s in used})
    if len(references) > 1 or (len(used) > 1 and not all(s.absolute for s in used)):
        warnings.append("amplitudes of different files cannot be compared, and so no SNR where noise is unknown")
    same_center = len({s.center_hz for s in used}) == 1 and first.center_hz is not None
    return {
        "nodes": int(max(max(k.link_from, k.link_to) for k in links)) + 1,
        "composition": "\n".join(words(k, sources) for k in links),
        "warning": "; ".join(warnings),
        "measured_together": int(together),
        "source_format": ", ".join(dict.fromkeys(s.format for s in used)),
        "source_sha256": ", ".join(s.sha256 for s in used),
        "hardware": ", ".join(dict.fromkeys(s.hardware for s in used)),
        "center_hz": first.center_hz if same_center else np.nan,
        "spacing_hz": first.spacing_hz,
        "amplitude_scale": "absolute" if all(s.absolute for s in used) and len(references) == 1 else "relative",
        "amplitude_reference": ", ".join(references),
        "phase_calibrated": 0,
        "clock": first.clock,
        "duration_s": float(moments[-1] - moments[0]),
        "remarks": "; ".join(dict.fromkeys(r for s in used for r in s.remarks)),
    }


def words(link: LinkSource, sources: Sequence[ForeignCsi]) -> str:
    """One line about a link's source."""
    source = sources[link.file]
    who = "any transmitter" if link.transmitter is None else f"transmitter {letter(link.transmitter)}"
    return (
        f"{link.link_from}>{link.link_to} = file {link.file + 1} ({source.format}, sha256 {source.sha256[:12]}…), "
        f"receive antenna {link.pair[0]}, transmit antenna {link.pair[1]}, {who}, {link.offset_s:g} s later"
    )
