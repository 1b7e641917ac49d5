"""CSI that lies in named arrays already: which array is what, and how it is read in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from testbed.errors import RecordError
from testbed.record.foreign.axes import Axes, arranged, beside, each_link, in_order, links, part_of, vector
from testbed.record.foreign.content import Content, Lazy, joined
from testbed.record.foreign.value import POWER_REFERENCE, RAW_REFERENCE, SNR_REFERENCE, ForeignCsi, Packets

H = ("h", "csi", "H", "CSI")
TIME = ("time", "time_s", "timestamps", "timestamp")
TONE = ("subcarrier", "frequency_hz", "frequency", "frequencies")
BESIDE = {
    "rssi_dbm": ("rssi_dbm", "rssi"), "noise": ("noise",), "scale": ("scale",), "valid": ("valid",),
    "agc_db": ("agc_db",), "transmitter": ("transmitter",),
}  # fmt: skip
_SECONDS = {
    "s": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "milliseconds": 1e-3, "us": 1e-6, "µs": 1e-6,
    "microseconds": 1e-6, "ns": 1e-9, "nanoseconds": 1e-9, "minutes": 60.0, "hours": 3600.0, "days": 86_400.0,
}  # fmt: skip
_HERTZ = {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9}
_ABSOLUTE = {"sqrt(SNR)", SNR_REFERENCE, POWER_REFERENCE}
PIECE_BYTES, TIMES_AT_ONCE = 16 << 20, 1 << 18
LARGEST = 1e15  # a time in s or a frequency in Hz beyond is damage


def _first(content: Content, names: tuple[str, ...], what: str) -> str:
    found = [name for name in names if name in content.arrays]
    in_hertz = [name for name in found if _units(content, name) in _HERTZ]
    if len(found) > 1 and len(in_hertz) == 1:
        found = in_hertz  # beside numbers of tones
    if len(found) != 1:
        have = ", ".join(sorted(content.arrays)[:20]) or "nothing"
        raise RecordError(
            f"{content.path}: {len(found)} arrays of {what}, one is needed, named one of {', '.join(names)}; "
            f"the file has {have} (structures, cells and groups are not looked into)"
        )
    return found[0]


def _units(content: Content, name: str) -> str:
    """What the attribute says, or else the end of the name."""
    return str(content.arrays[name].attributes.get("units", "Hz" if name.endswith("_hz") else ""))


def describe(found: Content) -> ForeignCsi:
    """A recording from named arrays: h, time, and the frequencies of the tones.

    Raises:
        RecordError: an array is missing, or an axis cannot be told.
    """
    content = Content(found.path, found.format, found.sha256, joined(found.arrays, H), found.attributes, found.used)
    times = _times(content)
    frequency, center, spacing = _frequency(content)
    h, axes = arranged(content, content.arrays[_first(content, H, "CSI")], times.size, frequency.size)
    order = np.argsort(frequency)
    reference = str(content.attributes.get("amplitude_reference", RAW_REFERENCE))
    told = content.attributes.get("amplitude_scale")
    absolute = reference in _ABSOLUTE if told is None else str(told) == "absolute"
    phase = int(_number(content, ("phase_calibrated",)) or 0)
    side, left_out = _side(content, h, axes)
    return ForeignCsi(
        format=content.format,
        hardware=str(content.attributes.get("hardware", "unknown")),
        sha256=content.sha256,
        links=links(h, axes),
        frequency_hz=frequency[order],
        used=_used(content, frequency.size)[order],
        spacing_hz=spacing,
        center_hz=center,
        absolute=absolute,
        amplitude_reference=reference,
        clock=str(content.attributes.get("clock", "the file's time, since the first packet")),
        chunks=lambda: _chunks(content, h, axes, times, order, side),
        phase_calibrated=phase == 1,
        transmitters_known="transmitter" in side,
        remarks=left_out,
    )


def _side(content: Content, h: Lazy, axes: Axes) -> tuple[dict[str, tuple[Lazy, Axes]], tuple[str, ...]]:
    """Arrays beside the CSI with what their axes are, and a remark on each that cannot be used."""
    side: dict[str, tuple[Lazy, Axes]] = {}
    left_out = []
    for what, names in BESIDE.items():
        for name in (name for name in names if name in content.arrays):
            array = content.arrays[name]
            own = beside(array, h, axes)
            if own is None:
                left_out.append(
                    f"{name} of shape {array.shape} is left out: not one number a packet, or a packet and link"
                )
            else:
                side.setdefault(what, (array, own))
    return side, tuple(left_out)


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


def _real_numbers(content: Content, name: str) -> NDArray[Any]:
    """All numbers of a small array in one row.

    Raises:
        RecordError: they are not real numbers.
    """
    values = content.arrays[name].all()
    if values.dtype.kind not in "fiub":
        raise RecordError(f"{content.path}: {name} is of type {values.dtype}; it must be real numbers")
    return values.reshape(-1)


@dataclass(frozen=True, eq=False)
class _Times:
    """The times of all packets, read a span at a time.

    Attributes:
        array: one number a packet, in one row.
        axes: what its axes are.
        unit_s: seconds of a count.
        begin: first sound number.
    """

    array: Lazy
    axes: Axes
    unit_s: float
    begin: Any = 0

    @property
    def size(self) -> int:
        return self.array.size

    def numbers(self, span: slice) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """What is in the file, and which of it are times."""
        values = self.array.take(part_of(self.array.shape, self.axes, span)).reshape(-1)
        values = values.astype(np.int64) if values.dtype.kind in "iu" else values.astype(float)
        return values, np.abs(values.astype(float) * self.unit_s) < LARGEST

    def at(self, span: slice) -> NDArray[np.float64]:
        """Seconds since the first sound time, NaN where one is none; whole numbers lose nothing on the way."""
        values, sound = self.numbers(span)
        with np.errstate(invalid="ignore"):
            return np.where(sound, (values - self.begin) * self.unit_s, np.nan)


def _times(content: Content) -> _Times:
    """Raises RecordError: not real numbers in one row, or of an unknown unit."""
    name = _first(content, TIME, "time")
    array = content.arrays[name]
    units = str(array.attributes.get("units", "s")).split(" since ")[0].strip()
    if units not in _SECONDS:
        raise RecordError(f"{content.path}: {name}: unit {units!r}; give seconds, or one of {', '.join(_SECONDS)}")
    axes = vector(array, array.size)
    if axes is None or array.take(part_of(array.shape, axes, slice(0, 1))).dtype.kind not in "fiub":
        raise RecordError(f"{content.path}: {name} of shape {array.shape}; it must be real numbers, one a packet")
    found = _Times(array, axes, _SECONDS[units])
    for at in range(0, array.size, TIMES_AT_ONCE):
        values, sound = found.numbers(slice(at, min(at + TIMES_AT_ONCE, array.size)))
        if sound.any():
            return replace(found, begin=values[sound][0])
    return found


def _frequency(content: Content) -> tuple[NDArray[np.float64], float | None, float]:
    """Offsets from the carrier, the carrier, the spacing.

    Raises:
        RecordError: neither Hz nor tone numbers with a spacing.
    """
    name = _first(content, TONE, "frequencies")
    values, units = _real_numbers(content, name).astype(float), _units(content, name)
    center = _number(content, ("center_hz", "centre_hz", "center_frequency_hz"))
    spacing = _number(content, ("spacing_hz", "subcarrier_spacing_hz"))
    if units in ("", "1") and spacing:
        values = values * spacing
    elif units in _HERTZ:
        values = values * _HERTZ[units]
    else:
        raise RecordError(
            f"{content.path}: {name}: unit {units!r}; give Hz as frequency_hz or by the attribute units, or tone "
            "numbers and spacing_hz"
        )
    if not values.size or not (np.abs(values) < LARGEST).all() or np.unique(values).size != values.size:
        raise RecordError(f"{content.path}: {name}: frequencies must be finite and different from each other")
    if values.min() > 1e8:
        center = center or float(values.min() + values.max()) / 2
        values = values - center
    steps = np.diff(np.sort(values))
    return values, center, float(spacing or (steps.min() if steps.size else 0.0))


def _used(content: Content, tones: int) -> NDArray[np.bool_]:
    if "used" not in content.arrays or content.arrays["used"].shape != (tones,):
        return np.ones(tones, np.bool_)
    return np.asarray(content.arrays["used"].all() != 0)


def _chunks(
    content: Content,
    h: Lazy,
    axes: Axes,
    times: _Times,
    order: NDArray[np.int64],
    side: dict[str, tuple[Lazy, Axes]],
) -> Iterator[Packets]:
    """Packets in pieces; those without a finite, rising time or with infinite numbers are skipped."""
    latest, rows = -np.inf, max(1, PIECE_BYTES // (8 * h.size // times.size))
    with content.used():
        for begin in range(0, times.size, rows):
            span = slice(begin, min(begin + rows, times.size))
            part = h.take(part_of(h.shape, axes, span))
            if part.dtype.kind not in "fciub":
                raise RecordError(f"{content.path}: h is of type {part.dtype}; CSI must be numbers")
            with np.errstate(invalid="ignore", over="ignore"):
                piece = in_order(part, axes)[:, :, order].astype(np.complex64)
            time_s = times.at(span)
            good = _rising(time_s, latest) & ~np.isinf(piece).any(axis=(1, 2))
            latest = float(time_s[good][-1]) if good.any() else latest
            told = {name: _told(array, own, h, axes, span)[good] for name, (array, own) in side.items()}
            yield _packets(piece[good], time_s[good], told, int((~good).sum()))


def _rising(times: NDArray[np.float64], latest: float) -> NDArray[np.bool_]:
    """Times that are finite and not before any earlier one."""
    before = np.maximum.accumulate(np.concatenate([[latest], np.nan_to_num(times, nan=-np.inf, posinf=-np.inf)]))[:-1]
    return np.isfinite(times) & (times >= before)


def _told(array: Lazy, own: Axes, h: Lazy, axes: Axes, span: slice) -> NDArray[np.float32]:
    """(packets, links) numbers beside the CSI in single precision; NaN = unknown where one is beyond it, or none."""
    values = each_link(array.take(part_of(array.shape, own, span)), own, h, axes)
    if values.dtype.kind not in "fiub":
        return np.full(values.shape, np.nan, np.float32)
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32)
    return np.where(np.isfinite(numbers), numbers, np.float32(np.nan))


def _packets(
    h: NDArray[np.complex64], time_s: NDArray[np.float64], told: dict[str, NDArray[np.float32]], skipped: int
) -> Packets:
    h = np.where(np.isnan(h), 0, h).astype(np.complex64)
    shape = h.shape[:2]
    unknown = np.full(shape, np.nan, np.float32)
    measured = (h != 0).any(axis=2)
    who = told.get("transmitter", np.zeros(shape, np.float32))[:, 0]
    return Packets(
        h=h,
        time_s=time_s,
        rssi_dbm=told.get("rssi_dbm", unknown),
        noise=told.get("noise", unknown),
        agc_db=told.get("agc_db", unknown)[:, 0],
        scale=told.get("scale", np.ones(shape, np.float32)),
        valid=measured & (told["valid"] != 0) if "valid" in told else measured,
        transmitter=np.clip(np.nan_to_num(who, nan=-1), -1, 10_000).astype(np.int32),
        skipped=skipped,
    )
