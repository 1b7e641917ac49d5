"""A hidden state as bytes on the air: float16, or int8 with a scale of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from testbed.errors import ModelError
from testbed.experts.model import Floats

Bytes = NDArray[np.uint8]

KINDS = ("float16", "int8")

_LARGEST = float(np.finfo(np.float16).max)
_SCALE_BYTES = 2


def payload_bytes(width: int, kind: str) -> int:
    """Bytes B of one hidden state of `width` values. ModelError for an unknown kind."""
    _check_kind(kind)
    return 2 * width if kind == "float16" else width + _SCALE_BYTES


def quantise(states: Floats, kind: str) -> Bytes:
    """States (n, d) → bytes (n, B), little-endian.

    float16: rounded to nearest. int8: a float16 scale s ≥ max|x| / 127, then round(x / s); the error of a
    value is at most s / 2. ModelError for an unknown kind, and for values that are not finite or too large.
    """
    _check_kind(kind)
    peak = np.abs(states).max(axis=-1, initial=0.0)
    limit = _LARGEST if kind == "float16" else 127 * _LARGEST
    if not (peak <= limit).all():  # also where it is NaN
        worst = float(np.abs(states).max(initial=0.0))
        raise ModelError(f"states: value {worst} does not fit {kind} (at most {limit}, finite); check the weights")
    if kind == "float16":
        return np.ascontiguousarray(states, dtype="<f2").view(np.uint8)
    scale = _scale(peak)
    steps = np.rint(states / np.where(scale > 0, scale, 1)[:, None]).astype(np.int8)
    return np.concatenate((scale.astype("<f2")[:, None].view(np.uint8), steps.view(np.uint8)), axis=1)


def dequantise(payload: Bytes, width: int, kind: str) -> Floats:
    """Bytes (n, B) → states (n, d) float32. ModelError for an unknown kind or rows of another length.

    Bytes that no `quantise` made are read as what they say, so that the result of damaged bytes need not
    be finite.
    """
    size = payload_bytes(width, kind)
    if payload.ndim != 2 or payload.shape[1] != size or payload.dtype != np.uint8:
        raise ModelError(
            f"payload: {payload.dtype} of shape {payload.shape} is not uint8 of shape (n, {size}), "
            f"as {kind} states of width {width} are"
        )
    payload = np.ascontiguousarray(payload)
    if kind == "float16":
        return payload.view("<f2").astype(np.float32)
    scale = np.ascontiguousarray(payload[:, :_SCALE_BYTES]).view("<f2").astype(np.float32)
    with np.errstate(invalid="ignore"):  # 0 · ∞, if the scale was damaged
        return np.asarray(payload[:, _SCALE_BYTES:].view(np.int8) * scale, dtype=np.float32)


def _scale(peak: NDArray[np.floating]) -> Floats:
    """Smallest float16 at or above peak / 127, as float32, so that no value needs clipping."""
    exact = peak.astype(np.float64) / 127  # of the least float32, no 127th is left in float32
    nearest = exact.astype(np.float16)
    above = np.nextafter(nearest, np.float16(np.inf))
    return np.where(nearest < exact, above, nearest).astype(np.float32)


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ModelError(f"payload: there is no kind {kind!r}; known are {list(KINDS)}")
