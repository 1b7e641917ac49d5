"""Names for the arrays of this room, and their first check; shapes and units are said where they are used."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from testbed.errors import ProblemError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Shorts = NDArray[np.int32]
Bytes = NDArray[np.int8]
Bools = NDArray[np.bool_]

FLOAT64, INT64 = np.dtype(np.float64), np.dtype(np.int64)


def real_numbers(field: str, value: ArrayLike) -> Floats:
    """The value as a contiguous array of floats, itself if it is one; `ProblemError` if it holds no real numbers."""
    if type(value) is np.ndarray and value.dtype is FLOAT64 and value.flags.c_contiguous:
        return value
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ProblemError(f"{field} = {value!r:.80} has rows of different lengths") from error
    if array.dtype.kind not in "biuf":
        raise ProblemError(f"{field} = {value!r:.80} holds no real numbers; give numbers of one type")
    return np.asarray(array, FLOAT64, order="C")


def place_of(bad: Bools) -> tuple[int, ...]:
    """Index of the first entry that is True."""
    return tuple(int(k) for k in np.argwhere(bad)[0])


def named(field: str, array: NDArray[Any], index: tuple[int, ...]) -> str:
    """How a message names one entry: field[i, j] = value, or field = value for a single number."""
    where = f"[{', '.join(map(str, index))}]" if index else ""
    return f"{field}{where} = {array[index]}"


def whole_number(field: str, value: Any) -> int:  # noqa: ANN401
    """A whole number ≥ 1, or a `ProblemError`."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ProblemError(f"{field} = {value!r}: it must be a whole number ≥ 1")
    return int(value)


def relative_gap(value: Any) -> float:  # noqa: ANN401
    """A number in [0, 1), or a `ProblemError`."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)) or not 0.0 <= value < 1.0:
        raise ProblemError(f"gap = {value!r}: it must be at least 0 and below 1; 0 asks for the exact optimum")
    return float(value)
