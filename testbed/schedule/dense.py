"""Full rows, read many columns at a time: the two best of a row, and shortest augmenting paths; compiled.

Columns are compared in LANES that are folded at the end, so that the loops run in vector registers. The signs are
those of `augment`: a column is reached at base + w·c − value.
"""

from __future__ import annotations

import numpy as np

from testbed.schedule.arrays import Floats, Ints
from testbed.schedule.compiled import UNSIGNED, inlined, kernel

LANES = 32
"""Columns compared side by side: four vectors of AVX-512, eight of AVX2."""

Front = tuple[Floats, Ints, Ints, Floats, Floats]
"""(M,) each: distance, −inf once settled; row that reached the column; settled columns and their distances. (LANES,)"""


@inlined
def two_best_of_row(row: int, cost: Floats, weight: float, value: Floats, lanes: Floats) -> tuple[int, float, float]:
    """The best column of a row by cost less value, that difference, the second best; lanes (2, LANES) is scratch."""
    whole = value.size // LANES * LANES
    lane, best, second = -1, np.inf, np.inf
    if whole > 0:
        _two_best_of_lanes(row, cost, weight, value, whole, lanes)
        for q in range(LANES):
            if lanes[0, q] < best:
                lane, best, second = q, lanes[0, q], min(best, lanes[1, q])
            else:
                second = min(second, lanes[0, q])
    first = -1
    for m in range(lane, whole if lane >= 0 else 0, LANES):
        if weight * cost[row, m] - value[m] == best:
            first = m
            break
    for m in range(whole, value.size):
        reduced = weight * cost[row, m] - value[m]
        if reduced < best:
            first, best, second = m, reduced, best
        elif reduced < second:
            second = reduced
    return first, best, second


@inlined
def _two_best_of_lanes(row: int, cost: Floats, weight: float, value: Floats, whole: int, lanes: Floats) -> None:
    """The least and the second least reduced cost among the columns that are equal modulo LANES, for each of them."""
    lanes[:] = np.inf
    for base in range(UNSIGNED(0), UNSIGNED(whole), UNSIGNED(LANES)):
        for q in range(UNSIGNED(LANES)):
            reduced = weight * cost[row, base + q] - value[base + q]
            worse = reduced if reduced > lanes[0, q] else lanes[0, q]
            lanes[1, q] = worse if worse < lanes[1, q] else lanes[1, q]
            lanes[0, q] = reduced if reduced < lanes[0, q] else lanes[0, q]


@kernel
def find_full_path(
    start: int, cost: Floats, weight: Floats, owner: Ints, value: Floats, front: Front
) -> tuple[int, float, int]:
    """Dijkstra from an unserved row. Returns (the nearest free column or −1, its distance, columns settled)."""
    dist, via, settled, depths, lanes = front
    dist[:] = np.inf
    _relax(start, 0.0, cost, weight[start], value, dist, via)
    count, done = 0, 0
    while True:
        if done == count:
            depth = _least(dist, lanes)
            if depth == np.inf:
                return -1, depth, count
            end, count = _settle_at(depth, dist, owner, settled, depths, lanes, count)
            if end >= 0:
                return end, depth, count
        m = settled[done]
        row = owner[m]
        _relax(row, depths[done] - (weight[row] * cost[row, m] - value[m]), cost, weight[row], value, dist, via)
        done += 1


@kernel
def _relax(row: int, base: float, cost: Floats, weight: float, value: Floats, dist: Floats, via: Ints) -> None:
    """Reach all columns from a row; settled ones are at −inf and stay."""
    for m in range(UNSIGNED(value.size)):
        reached = base + weight * cost[row, m] - value[m]
        nearer = reached < dist[m]
        dist[m] = reached if nearer else dist[m]
        via[m] = row if nearer else via[m]


@kernel
def _least(dist: Floats, lanes: Floats) -> float:
    """The least distance that is not settled; the least of each lane is left in lanes."""
    whole = dist.size // LANES * LANES
    lanes[:] = np.inf
    for base in range(UNSIGNED(0), UNSIGNED(whole), UNSIGNED(LANES)):
        for q in range(UNSIGNED(LANES)):
            open_at = dist[base + q] if dist[base + q] > -np.inf else np.inf
            lanes[q] = open_at if open_at < lanes[q] else lanes[q]
    least = np.inf
    for q in range(LANES):
        least = min(least, lanes[q])
    for m in range(whole, dist.size):
        if dist[m] > -np.inf:
            least = min(least, dist[m])
    return least


@kernel
def _settle_at(
    depth: float, dist: Floats, owner: Ints, settled: Ints, depths: Floats, lanes: Floats, count: int
) -> tuple[int, int]:
    """Settle all columns at this distance, or find a free one among them: (that one or −1, columns settled)."""
    whole = dist.size // LANES * LANES
    before = count
    for q in range(LANES + 1):
        # The last turn is for the columns that fill no lane.
        first, last, step = (q, whole, LANES) if q < LANES else (whole, dist.size, 1)
        if q < LANES and lanes[q] > depth:
            continue
        for m in range(first, last, step):
            if dist[m] == depth:
                if owner[m] < 0:
                    return m, before
                settled[count], depths[count] = m, depth
                count += 1
    for k in range(before, count):
        dist[settled[k]] = -np.inf
    return -1, count


@kernel
def lower_settled(value: Floats, front: Front, count: int, depth: float) -> None:
    """Settled columns, all nearer than the end of the path at `depth`, become dearer by the difference."""
    _dist, _via, settled, depths, _lanes = front
    for k in range(count):
        value[settled[k]] += depths[k] - depth
