"""From files of other people's tools to one file of the testbed: the one function that others call."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from testbed.errors import RecordError
from testbed.record.foreign.compose import compose
from testbed.record.foreign.mapping import parse_map
from testbed.record.foreign.recognise import open_foreign
from testbed.record.foreign.value import ForeignCsi, ImportSummary, Packets
from testbed.record.foreign.write import IMPORTED, CsiFile


def import_files(
    paths: Sequence[Path], out: Path | None, *, as_links: str | None = None, strict: bool = False
) -> list[ImportSummary]:
    """Read CSI files of any supported format; write one NetCDF-4 file if `out` is given.

    Args:
        paths: files; several only together with `as_links` or without `out`.
        out: file to write; None = read and summarise.
        as_links: rule by which antenna pairs, transmitters and moments become directed links between nodes,
            see `mapping.parse_map`.
        strict: a truncated or corrupt packet is an error instead of being counted.

    Returns:
        What was read, one summary a file.

    Raises:
        RecordError: unknown format, no sound packet, an impossible rule, an output that is an input, or (strict) a
            damaged packet.
    """
    if not paths:
        raise RecordError("no file to import; give at least one path")
    if out is not None and as_links is None and len(paths) > 1:
        raise RecordError(
            f"{len(paths)} files, one output: state with --as-links how they make the links of one network, "
            "or import them one by one"
        )
    if out is not None:
        _other_file(out, paths)
    sources = [open_foreign(Path(path)) for path in paths]
    if as_links is None:
        return [_copy(s, p, out, strict) for s, p in zip(sources, paths, strict=True)]
    rule = parse_map(as_links)
    with contextlib.ExitStack() as stack:
        parts = [_part(stack, out or Path(paths[0]), n) for n in range(len(paths))] if out else []
        summaries = [
            _copy(s, p, parts[n] if out else None, strict) for n, (s, p) in enumerate(zip(sources, paths, strict=True))
        ]
        if out is not None:
            compose(sources, parts, rule, out)
    return summaries


def _other_file(out: Path, paths: Sequence[Path]) -> None:
    """Raises RecordError: the output would take the place of an input."""
    for path in paths:
        if Path(out).resolve() == Path(path).resolve():
            raise RecordError(f"{path} would be overwritten by the import; choose another file with --out")


def _part(stack: contextlib.ExitStack, out: Path, number: int) -> Path:
    """Name of an intermediate file beside the output, removed at the end."""
    part = out.with_name(f".{out.name}.{number}.nc")
    stack.callback(part.unlink, missing_ok=True)
    return part


def _copy(source: ForeignCsi, path: Path, out: Path | None, strict: bool) -> ImportSummary:
    """Read everything, write it if there is a file to write to, and count."""
    tally = _Tally()
    chunks = _checked(source, path, strict, tally)
    if out is None:
        for _ in chunks:
            pass
        return tally.summary(source)
    rx, tx = np.array(source.links).T
    links = {"receive_antenna": (rx, "from 0"), "transmit_antenna": (tx, "antenna or stream, from 0")}
    names = tuple(f"rx{r}tx{t}" for r, t in source.links)
    with CsiFile(Path(out), IMPORTED, source.frequency_hz, source.used, links, names) as file:
        for chunk in chunks:
            rows = {name: getattr(chunk, name) for name in IMPORTED if name != "time"}
            file.append(rows | {"time": chunk.time_s - tally.begin_s})
        file.describe(attributes_of(source) | tally.attributes(source))
    return tally.summary(source)


def _checked(source: ForeignCsi, path: Path, strict: bool, tally: _Tally) -> Iterator[Packets]:
    for chunk in source.chunks():
        tally.add(chunk)
        if strict and tally.skipped:
            raise RecordError(
                f"{path}: damaged packet near packet {tally.packets}, refused by --strict; "
                "without --strict damaged packets are skipped and counted"
            )
        yield chunk
    if not tally.packets:
        raise RecordError(f"{path}: no sound {source.format} packet in it; nothing can be imported")


class _Tally:
    """Counts over the chunks of one file."""

    def __init__(self) -> None:
        self.packets = self.skipped = 0
        self.transmitters = 1
        self.begin_s = self.end_s = 0.0

    def add(self, chunk: Packets) -> None:
        if chunk.time_s.size:
            self.begin_s = self.begin_s if self.packets else float(chunk.time_s[0])
            self.end_s = float(chunk.time_s[-1])
            self.transmitters = max(self.transmitters, int(chunk.transmitter.max()) + 1)
        self.packets += chunk.time_s.size
        self.skipped += chunk.skipped

    def summary(self, source: ForeignCsi) -> ImportSummary:
        return ImportSummary(
            format=source.format,
            packets=self.packets,
            links=len(source.links),
            subcarriers=source.frequency_hz.size,
            skipped=self.skipped,
            duration_s=self.end_s - self.begin_s,
            absolute_scale=source.absolute,
            transmitters=self.transmitters,
        )

    def attributes(self, source: ForeignCsi) -> dict[str, Any]:
        return {
            "skipped": self.skipped,
            "transmitters": self.transmitters,
            "duration_s": self.end_s - self.begin_s,
        }


def attributes_of(source: ForeignCsi) -> dict[str, Any]:
    """Attributes that describe where the numbers come from and what they mean."""
    return {
        "source_format": source.format,
        "source_sha256": source.sha256,
        "hardware": source.hardware,
        "center_hz": np.nan if source.center_hz is None else source.center_hz,
        "spacing_hz": source.spacing_hz,
        "amplitude_scale": "absolute" if source.absolute else "relative",
        "amplitude_reference": source.amplitude_reference,
        "phase_calibrated": int(source.phase_calibrated),
        "clock": source.clock,
        "transmitters_known": int(source.transmitters_known),
        "remarks": "; ".join(source.remarks),
    }
