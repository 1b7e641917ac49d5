"""Samples and their description as SigMF says: raw little-endian samples, and JSON beside them.

Format: SigMF 1.2 (https://sigmf.org). A recording holds all that one node heard, or all that it sent, one capture
after the other; each capture has a segment (centre, gain, time, overflow) and an annotation (what it was for), whose
own fields bear the prefix `dmoe:`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from testbed.radio.base import Samples
from testbed.radio.tape import Occasion

SampleFormat = Literal["ci16", "cf32"]
Direction = Literal["rx", "tx"]

SPECIFICATION: Final = "1.2.0"
EXTENSION: Final = {"name": "dmoe", "version": "1.0.0", "optional": True}
CODES: Final = 32768
"""Full scale 1.0 in ci16; the 12-bit converters of radios fit in without loss."""
DTYPE: Final[dict[SampleFormat, np.dtype[Any]]] = {"ci16": np.dtype("<i2"), "cf32": np.dtype("<f4")}
META: Final = ".sigmf-meta"
DATA: Final = ".sigmf-data"
Json = dict[str, Any]


class Header(msgspec.Struct, frozen=True):
    """What holds for a whole recording.

    Attributes:
        node: whose radio; direction: what it heard ("rx") or sent ("tx").
        sample_format: "ci16" or "cf32".
        sample_rate_hz: of all of it.
        hardware: address of the radio.
    """

    node: int
    direction: Direction
    sample_format: SampleFormat
    sample_rate_hz: float
    hardware: str


class Entry(msgspec.Struct, frozen=True):
    """One capture, or one period of a transmission, within a recording.

    Attributes:
        start, count: place in samples.
        centre_hz, gain_db: settings in force.
        time_s: start on the radio's own clock; None where it has no meaning.
        overflow: samples were lost inside.
        occasion: what it was for, None where that was not said.
    """

    start: int
    count: int
    centre_hz: float
    gain_db: float
    time_s: float | None
    overflow: bool
    occasion: Occasion | None


def sample_bytes(sample_format: SampleFormat) -> int:
    """Bytes of one complex sample."""
    return 2 * DTYPE[sample_format].itemsize


def encode_samples(samples: Samples, sample_format: SampleFormat) -> bytes:
    """(n,) samples as raw bytes; ci16 rounds to steps of 1/32768 and clips at full scale."""
    parts = np.ascontiguousarray(samples, np.complex64).view(np.float32)
    if sample_format == "cf32":
        return parts.astype("<f4").tobytes()
    codes: NDArray[np.int16] = np.rint(parts * np.float32(CODES)).clip(-CODES, CODES - 1).astype("<i2")
    return codes.tobytes()


def decode_samples(data: bytes, sample_format: SampleFormat) -> Samples:
    """What `encode_samples` made, as (n,) complex64."""
    parts: NDArray[Any] = np.frombuffer(data, DTYPE[sample_format])
    real = parts.astype(np.float32)
    if sample_format == "ci16":
        real /= np.float32(CODES)
    return real.view(np.complex64)


def metadata(header: Header, entries: Sequence[Entry], sha512: str | None) -> Json:
    """The whole description; without a sum while the samples still grow."""
    hears = header.direction == "rx"
    top: Json = {
        "core:datatype": f"{header.sample_format}_le",
        "core:sample_rate": header.sample_rate_hz,
        "core:version": SPECIFICATION,
        "core:num_channels": 1,
        "core:description": f"{'received' if hears else 'transmitted (one period each)'} by node {header.node}",
        "core:hw": header.hardware,
        "core:recorder": "dmoe-testbed",
        "core:extensions": [EXTENSION],
        "dmoe:node": header.node,
        "dmoe:direction": header.direction,
    }
    if sha512 is not None:
        top["core:sha512"] = sha512
    rate = header.sample_rate_hz
    return {
        "global": top,
        "captures": [_segment(one) for one in entries],
        "annotations": [_annotation(one, header.node, rate) for one in entries],
    }


def _segment(entry: Entry) -> Json:
    segment: Json = {
        "core:sample_start": entry.start,
        "core:frequency": entry.centre_hz,
        "dmoe:gain_db": entry.gain_db,
        "dmoe:overflow": entry.overflow,
    }
    return segment if entry.time_s is None else segment | {"dmoe:time_s": entry.time_s}


def _annotation(entry: Entry, node: int, rate_hz: float) -> Json:
    what = entry.occasion
    about: Json = {
        "core:sample_start": entry.start,
        "core:sample_count": entry.count,
        "core:freq_lower_edge": entry.centre_hz - rate_hz / 2,
        "core:freq_upper_edge": entry.centre_hz + rate_hz / 2,
        "core:generator": "dmoe-testbed",
        "core:label": "capture" if what is None else f"{what.kind} {what.frame}",
        "dmoe:node": node,
    }
    return (
        about if what is None else about | {f"dmoe:{name}": value for name, value in msgspec.to_builtins(what).items()}
    )


def described(meta: Json) -> tuple[Header, list[Entry]]:
    """What `metadata` was made of.

    Raises:
        KeyError, TypeError, ValueError, msgspec.ValidationError: it is none of ours.
    """
    top = meta["global"]
    header = msgspec.convert(
        {
            "node": top["dmoe:node"],
            "direction": top["dmoe:direction"],
            "sample_format": str(top["core:datatype"]).removesuffix("_le"),
            "sample_rate_hz": top["core:sample_rate"],
            "hardware": top.get("core:hw", ""),
        },
        Header,
        strict=False,
    )
    return header, [_entry(one, about) for one, about in zip(meta["captures"], meta["annotations"], strict=True)]


def _entry(segment: Json, about: Json) -> Entry:
    own = {name.removeprefix("dmoe:"): value for name, value in about.items() if name.startswith("dmoe:")}
    start, count = int(about["core:sample_start"]), int(about["core:sample_count"])
    if start != segment["core:sample_start"] or count < 0:
        raise ValueError(f"capture at sample {start} has no segment of its own")
    return Entry(
        start=start,
        count=count,
        centre_hz=float(segment["core:frequency"]),
        gain_db=float(segment["dmoe:gain_db"]),
        time_s=segment.get("dmoe:time_s"),
        overflow=bool(segment["dmoe:overflow"]),
        occasion=msgspec.convert(own, Occasion) if "frame" in own else None,
    )
