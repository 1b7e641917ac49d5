"""CSI that lies in named arrays already: which array is what, which axis is what, and how it is read in pieces."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from testbed.errors import RecordError
from testbed.record.foreign.scratch import Take
from testbed.record.foreign.value import POWER_REFERENCE, RAW_REFERENCE, SNR_REFERENCE, ForeignCsi, Packets

H = ("h", "csi", "H", "CSI")
TIME = ("time", "time_s", "timestamps", "timestamp")
TONE = ("subcarrier", "frequency_hz", "frequency", "frequencies")
RSSI = ("rssi_dbm", "rssi")
AXES = {
    "time": "time", "packet": "time", "packets": "time",
    "subcarrier": "tone", "frequency": "tone", "frequency_hz": "tone", "tone": "tone",
    "link": "link", "rx": "rx", "tx": "tx", "receive_antenna": "rx", "transmit_antenna": "tx",
    "link_from": "tx", "link_to": "rx",
}  # fmt: skip
_SECONDS = {"s": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_HERTZ = {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9}
_ABSOLUTE = {"sqrt(SNR)", SNR_REFERENCE, POWER_REFERENCE}
ORDER = ("time", "link", "rx", "tx", "tone")
PIECE_BYTES = 16 << 20
MOST_SMALL = 64 << 20
LARGEST = 1e15  # a time in s or a frequency in Hz beyond is damage


@dataclass(frozen=True, eq=False)
class Lazy:
    """An array that is read when asked for.

    Attributes:
        shape: of the array.
        take: reads a part, given one slice an axis.
        dims: names of the axes; empty where the format has none.
        attributes: what is written beside it.
    """

    shape: tuple[int, ...]
    take: Take
    dims: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def all(self) -> NDArray[Any]:
        """The whole of a small array.

        Raises:
            ValueError: it is not small.
        """
        if int(np.prod(self.shape, dtype=np.int64)) * 8 > MOST_SMALL * 8:
            raise ValueError(f"array of shape {self.shape} where a small one is expected")
        return self.take(tuple(slice(0, n) for n in self.shape))


@dataclass(frozen=True, eq=False)
class Content:
    """All arrays of a file by name, and its attributes; `used` is entered while they are read one after another."""

    path: Path
    format: str
    sha256: str
    arrays: Mapping[str, Lazy]
    attributes: Mapping[str, Any]
    used: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext


def _first(content: Content, names: tuple[str, ...], what: str) -> str:
    found = [name for name in names if name in content.arrays]
    if len(found) != 1:
        have = ", ".join(sorted(content.arrays)[:20]) or "nothing"
        raise RecordError(
            f"{content.path}: {len(found)} arrays of {what}, one is needed, named one of {', '.join(names)}; "
            f"the file has {have}"
        )
    return found[0]


def describe(content: Content) -> ForeignCsi:
    """A recording from named arrays: h, time, and the frequencies of the tones.

    Raises:
        RecordError: an array is missing, or an axis cannot be told.
    """
    h = content.arrays[_first(content, H, "CSI")]
    time_s = _time(content)
    name = _first(content, TONE, "frequencies")
    center = _number(content, ("center_hz", "centre_hz", "center_frequency_hz"))
    frequency, center, spacing = _frequency(content, name, center)
    axes = _axes(content, h, time_s.size, frequency.size)
    _axis_lengths(content, h, axes, time_s.size, frequency.size)
    order = np.argsort(frequency)
    links = _links(h, axes)
    reference = str(content.attributes.get("amplitude_reference", RAW_REFERENCE))
    told = content.attributes.get("amplitude_scale")
    absolute = reference in _ABSOLUTE if told is None else str(told) == "absolute"
    phase = int(_number(content, ("phase_calibrated",)) or 0)
    return ForeignCsi(
        format=content.format,
        hardware=str(content.attributes.get("hardware", "unknown")),
        sha256=content.sha256,
        links=links,
        frequency_hz=frequency[order],
        used=_used(content, frequency.size)[order],
        spacing_hz=spacing,
        center_hz=center,
        absolute=absolute,
        amplitude_reference=reference,
        clock=str(content.attributes.get("clock", "the file's time, since the first packet")),
        chunks=lambda: _chunks(content, h, axes, time_s, order, len(links)),
        phase_calibrated=phase == 1,
        transmitters_known="transmitter" in content.arrays,
    )


def _number(content: Content, names: tuple[str, ...]) -> float | None:
    """A single number among attributes or arrays; None where there is none, or it is not finite."""
    for name in names:
        value = content.attributes.get(name)
        if value is None and name in content.arrays and np.prod(content.arrays[name].shape, dtype=np.int64) == 1:
            value = content.arrays[name].all()
        if value is not None:
            number = float(np.asarray(value).reshape(-1)[0])
            return number if abs(number) < LARGEST else None
    return None


def _real(content: Content, name: str) -> NDArray[np.float64]:
    """All numbers of a small array in one row; NaN where one is no time and no frequency.

    Raises:
        RecordError: they are not real numbers.
    """
    values = content.arrays[name].all()
    if values.dtype.kind not in "fiub":
        raise RecordError(f"{content.path}: {name} is of type {values.dtype}; it must be real numbers")
    numbers = values.astype(float).reshape(-1)
    return np.where(np.abs(numbers) < LARGEST, numbers, np.nan)


def _time(content: Content) -> NDArray[np.float64]:
    name = _first(content, TIME, "time")
    array = content.arrays[name]
    units = str(array.attributes.get("units", "s")).split(" since ")[0]
    if units not in _SECONDS:
        raise RecordError(f"{content.path}: {name}: unit {units!r}; give seconds, or one of {', '.join(_SECONDS)}")
    values = _real(content, name) * _SECONDS[units]
    finite = values[np.isfinite(values)]
    return values - (finite[0] if finite.size else 0.0)


def _frequency(content: Content, name: str, center: float | None) -> tuple[NDArray[np.float64], float | None, float]:
    """Offsets from the carrier, the carrier, the spacing.

    Raises:
        RecordError: neither Hz nor tone numbers with a spacing.
    """
    array = content.arrays[name]
    values = _real(content, name)
    units = str(array.attributes.get("units", "Hz" if name.endswith("_hz") else ""))
    spacing = _number(content, ("spacing_hz", "subcarrier_spacing_hz"))
    if units in ("", "1") and spacing:
        values = values * spacing
    elif units in _HERTZ:
        values = values * _HERTZ[units]
    else:
        raise RecordError(
            f"{content.path}: {name}: unit {units!r}; give Hz in the attribute units, or tone numbers and spacing_hz"
        )
    if not values.size or not np.isfinite(values).all() or np.unique(values).size != values.size:
        raise RecordError(f"{content.path}: {name}: frequencies must be finite and different from each other")
    if values.min() > 1e8:
        center = center or float(values.min() + values.max()) / 2
        values = values - center
    steps = np.diff(np.sort(values))
    return values, center, float(spacing or (steps.min() if steps.size else 0.0))


def _axes(content: Content, h: Lazy, times: int, tones: int) -> tuple[str, ...]:
    """What each axis of h is: by names, by the array `dims`, or by lengths that allow one answer only.

    Raises:
        RecordError: it cannot be told.
    """
    names = h.dims or _dims_array(content)
    if names:
        unknown = [name for name in names if name not in AXES]
        axes = tuple(AXES.get(name, "?") for name in names)
        if not unknown and len(set(axes)) == len(axes) == len(h.shape) and {"time", "tone"} <= set(axes):
            return axes
        raise RecordError(
            f"{content.path}: dimensions {', '.join(names)} of an array of shape {h.shape}; they must be time, "
            f"subcarrier, and link or rx and tx"
        )
    fits_time = [n for n, size in enumerate(h.shape) if size == times]
    fits_tone = [n for n, size in enumerate(h.shape) if size == tones]
    if not 2 <= len(h.shape) <= 3 or len(fits_time) != 1 or len(fits_tone) != 1 or fits_time == fits_tone:
        raise RecordError(
            f"{content.path}: shape {h.shape} with {times} times and {tones} frequencies does not tell which axis is "
            "which; add an array dims, e.g. ['time', 'link', 'subcarrier']"
        )
    return tuple("time" if [n] == fits_time else "tone" if [n] == fits_tone else "link" for n in range(len(h.shape)))


def _dims_array(content: Content) -> tuple[str, ...]:
    if "dims" not in content.arrays:
        return ()
    values = content.arrays["dims"].all()
    words = "".join(values.reshape(-1).tolist()) if values.dtype.kind == "U" and values.dtype.itemsize == 4 else None
    named = words.split(",") if words is not None else [str(v) for v in values.reshape(-1)]
    return tuple(name.strip() for name in named)


def _axis_lengths(content: Content, h: Lazy, axes: tuple[str, ...], times: int, tones: int) -> None:
    for name, expected in (("time", times), ("tone", tones)):
        if h.shape[axes.index(name)] != expected:
            raise RecordError(f"{content.path}: h has {h.shape[axes.index(name)]} entries along {name}, not {expected}")
    if not times or int(np.prod(h.shape, dtype=np.int64)) == 0:
        raise RecordError(f"{content.path}: no packet in it; nothing can be imported")
    if int(np.prod(h.shape, dtype=np.int64)) // times > 1 << 20:
        raise RecordError(f"{content.path}: {h.shape} has more than a million numbers a packet; this is not CSI")


def _links(h: Lazy, axes: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    size = dict(zip(axes, h.shape, strict=True))
    if "link" in size:
        return tuple((n, 0) for n in range(size["link"]))
    return tuple((rx, tx) for rx in range(size.get("rx", 1)) for tx in range(size.get("tx", 1)))


def _used(content: Content, tones: int) -> NDArray[np.bool_]:
    if "used" not in content.arrays or content.arrays["used"].shape != (tones,):
        return np.ones(tones, np.bool_)
    return np.asarray(content.arrays["used"].all() != 0)


def _chunks(
    content: Content, h: Lazy, axes: tuple[str, ...], time_s: NDArray[np.float64], order: NDArray[np.int64], links: int
) -> Iterator[Packets]:
    """Packets in pieces; those without a finite, rising time or with infinite numbers are skipped."""
    at, latest = axes.index("time"), -np.inf
    rows = max(1, PIECE_BYTES // (8 * int(np.prod(h.shape, dtype=np.int64)) // h.shape[at]))
    with content.used():
        for begin in range(0, time_s.size, rows):
            end = min(begin + rows, time_s.size)
            part = h.take(tuple(slice(begin, end) if n == at else slice(0, size) for n, size in enumerate(h.shape)))
            if part.dtype.kind not in "fciub":
                raise RecordError(f"{content.path}: h is of type {part.dtype}; CSI must be numbers")
            with np.errstate(invalid="ignore", over="ignore"):
                piece = _arranged(part, axes).reshape(end - begin, links, -1)[:, :, order].astype(np.complex64)
            times = time_s[begin:end]
            good = _rising(times, latest) & ~np.isinf(piece).any(axis=(1, 2))
            latest = float(times[good][-1]) if good.any() else latest
            yield _packets(content, piece[good], times[good], slice(begin, end), good)


def _rising(times: NDArray[np.float64], latest: float) -> NDArray[np.bool_]:
    """Times that are finite and not before any earlier one."""
    before = np.maximum.accumulate(np.concatenate([[latest], np.nan_to_num(times, nan=-np.inf, posinf=-np.inf)]))[:-1]
    return np.isfinite(times) & (times >= before)


def _arranged(part: NDArray[Any], axes: tuple[str, ...]) -> NDArray[Any]:
    """Axes in the order time, link or rx and tx, tone."""
    return np.ascontiguousarray(np.transpose(part, [axes.index(name) for name in ORDER if name in axes]))


def _packets(
    content: Content, h: NDArray[np.complex64], time_s: NDArray[np.float64], span: slice, good: NDArray[np.bool_]
) -> Packets:
    h = np.where(np.isnan(h), 0, h).astype(np.complex64)
    shape = h.shape[:2]
    told = _beside(content, ("valid",), span, good, shape)
    measured = (h != 0).any(axis=2)
    valid = measured if told is None else measured & (told != 0)
    rssi, noise, scale = (_beside(content, names, span, good, shape) for names in (RSSI, ("noise",), ("scale",)))
    who = _single(_beside(content, ("transmitter",), span, good, shape[:1]), shape[:1], 0)
    return Packets(
        h=h,
        time_s=time_s,
        rssi_dbm=_single(rssi, shape, np.nan),
        noise=_single(noise, shape, np.nan),
        agc_db=np.full(shape[0], np.nan, np.float32),
        scale=_single(scale, shape, 1),
        valid=valid,
        transmitter=np.clip(np.nan_to_num(who, nan=-1), -1, 10_000).astype(np.int32),
        skipped=int((~good).sum()),
    )


def _single(values: NDArray[Any] | None, shape: tuple[int, ...], missing: float) -> NDArray[np.float32]:
    """Single precision; NaN = unknown where a number is beyond it, `missing` where there are none."""
    if values is None:
        return np.full(shape, missing, np.float32)
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32)
    return np.where(np.isfinite(numbers), numbers, np.float32(np.nan))


def _beside(
    content: Content, names: tuple[str, ...], span: slice, good: NDArray[np.bool_], shape: tuple[int, ...]
) -> NDArray[Any] | None:
    """Rows of an array beside h that has one number a packet (and link); None where there is none of that shape."""
    for name in names:
        array = content.arrays.get(name)
        if array is not None and array.shape[1:] == shape[1:] and array.shape[:1] and array.shape[0] >= span.stop:
            values = array.take((span, *(slice(0, n) for n in array.shape[1:])))
            if values.dtype.kind in "fiub":
                return values[good]
    return None
