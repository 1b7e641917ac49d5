"""Compiled inner loops of link adaptation: effective SNR and schemes of many links at once."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from testbed.compiled import kernel

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@kernel()
def effective_db(snr: Doubles, link: Ints, links: int, first_db: float, step_db: float, table: Doubles) -> Doubles:
    """(links, C) SNR in dB of the flat channel that carries as much information as each link's subcarriers do.

    snr (Q,) is linear, link (Q,) says whose it is. table (G, C) holds the information that C constellations get at
    first_db, first_db + step_db, …; it rises until it stays, and is interpolated.
    """
    effective, count = np.zeros((links, table.shape[1])), np.zeros(links)
    for q in range(snr.size):
        _add_information(snr[q], first_db, step_db, table, effective[link[q]])
        count[link[q]] += 1.0
    for n in range(links):
        for c in range(table.shape[1]):
            effective[n, c] = first_db + step_db * _place_of(effective[n, c] / count[n], table[:, c])
    return effective


@kernel()
def _add_information(snr: float, first_db: float, step_db: float, table: Doubles, total: Doubles) -> None:
    last = table.shape[0] - 1
    at = (10.0 * math.log10(max(snr, 1e-30)) - first_db) / step_db
    at = min(max(at, 0.0), float(last))
    row = min(int(at), last - 1)
    for c in range(total.size):
        total[c] += table[row, c] + (at - row) * (table[row + 1, c] - table[row, c])


@kernel()
def _place_of(value: float, rising: Doubles) -> float:
    """Where a rising table takes a value, in rows; the first of several."""
    value = min(value, rising[-1])
    high = np.searchsorted(rising, value)
    if high == 0:
        return 0.0
    return float(high - (rising[high] - value) / (rising[high] - rising[high - 1]))


@kernel()
def steps_reached(values: Floats, thresholds: Floats, steps: Doubles) -> Doubles:
    """(n,) steps[i] with i the number of rising thresholds that values (n,) reach; NaN reaches none."""
    count = np.zeros(values.size, np.uint8)
    for threshold in thresholds:
        for n in range(values.size):  # without a branch, so it runs in SIMD lanes
            count[n] += values[n] >= threshold
    reached = np.empty(values.size)
    for n in range(values.size):
        reached[n] = steps[count[n]]
    return reached
