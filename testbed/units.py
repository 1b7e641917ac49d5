"""Conversions between linear and logarithmic quantities, on floats and arrays alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating[Any]]


def db(power_ratio: ArrayLike) -> Floats:
    """Power ratio → decibel; 0 becomes −inf without a warning."""
    with np.errstate(divide="ignore"):
        return np.asarray(10.0 * np.log10(power_ratio))


def from_db(decibel: ArrayLike) -> Floats:
    """Decibel → power ratio."""
    return np.asarray(10.0 ** (np.asarray(decibel, dtype=float) / 10.0))


def dbm_to_w(dbm: ArrayLike) -> Floats:
    """Power in dBm → watt."""
    return np.asarray(1e-3 * from_db(dbm))


def engineering(value: float, unit: str) -> str:
    """Three digits and the SI prefix that fits: 5.38e-8 J → "53.8 nJ"."""
    for exponent, prefix in ((0, ""), (-3, "m"), (-6, "µ"), (-9, "n"), (-12, "p")):
        if abs(value) >= 10.0**exponent:
            return f"{value / 10.0**exponent:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"
