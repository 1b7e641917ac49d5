"""Shortest augmenting paths on candidate lists, for rows that bidding could not settle; compiled.

`held[i]` is the column of row i, `owner[m]` the row of column m, `value[m]` ≤ 0 the dual of column m. A row that
holds column h has the dual u_i = w_i c_ih − value[h], and every reduced cost w_i c_im − value[m] − u_i is ≥ 0.
One path search grows a tree of rows: `base` is the tree's depth at row i less u_i, so that column m is reached
from it at base + w_i c_im − value[m]. A column outside i's list is no nearer than i's horizon: when that is not
enough to prove the next column nearest, the path is searched again over full rows, and the answer stays exact.
"""

from __future__ import annotations

import numpy as np

from testbed.schedule.arrays import Floats, Ints, Shorts
from testbed.schedule.compiled import allocating, kernel
from testbed.schedule.dense import LANES, find_full_path, lower_settled
from testbed.schedule.heap import ABSENT, SETTLED, lower, settle_first

Search = tuple[Floats, Ints, Ints, Ints, Ints]
"""(M,) each: distance, row that reached the column, place in the heap, heap, columns touched."""

SHORT_ROW = 8
"""Rows of up to so many times their list are as fast to search in full."""

CROWDED = 1.03
"""With fewer columns than this times the active rows, paths grow past what lists can prove, so rows are searched in
full from the first: twice as fast at 992 × 992, as fast at 992 × 1024.
"""

NO_PATH, LIST_TOO_SHORT = -1, -2


@allocating
def augment_all(
    cost: Floats, column: Shorts, price: Floats, weight: Floats, held: Ints, owner: Ints, value: Floats, waiting: Ints
) -> int:
    """Serve the waiting rows one by one; returns how many could not be."""
    columns = cost.shape[1]
    active = waiting.size + np.sum(held >= 0)
    listed = columns if 0 < SHORT_ROW * column.shape[1] < columns and columns >= CROWDED * active else 0
    via = np.empty(columns, dtype=np.int64)
    search = (
        np.full(listed, np.inf), via, np.full(listed, ABSENT, dtype=np.int64),
        np.empty(listed, dtype=np.int64), np.empty(listed, dtype=np.int64),
    )  # fmt: skip
    front = (np.empty(columns), via, np.empty(columns, dtype=np.int64), np.empty(columns), np.empty(LANES))
    missing = 0
    for row in waiting:
        end = LIST_TOO_SHORT
        if listed > 0:
            end, seen = _find_path(row, cost, column, price, weight, owner, value, search)
            if end >= 0:
                _lower_values(end, value, search, seen)
            _forget(search, seen)
        if end == LIST_TOO_SHORT:
            end, depth, count = find_full_path(row, cost, weight, owner, value, front)
            if end >= 0:
                lower_settled(value, front, count, depth)
        if end >= 0:
            _switch(row, end, held, owner, via)
        else:
            missing += 1
    return missing


@kernel
def _find_path(
    start: int, cost: Floats, column: Shorts, price: Floats, weight: Floats, owner: Ints, value: Floats, search: Search
) -> tuple[int, int]:
    """Dijkstra from an unserved row. Returns (the nearest free column or why there is none, columns touched)."""
    dist, _via, place, heap, _touched = search
    size, seen = 0, 0
    nearest, horizon = np.inf, np.inf
    row, base = start, 0.0
    while True:
        horizon = min(horizon, _horizon(row, base, column, price, weight, value.size))
        size, seen, nearest = _scan_list(row, base, column, price, weight, owner, value, search, size, seen, nearest)
        if horizon < (dist[heap[0]] if size > 0 else np.inf):
            return LIST_TOO_SHORT, seen
        if size == 0:
            return NO_PATH, seen
        end = settle_first(heap, place, dist, size)
        size -= 1
        if owner[end] < 0:
            return end, seen
        row = owner[end]
        base = dist[end] - (weight[row] * cost[row, end] - value[end])


@kernel
def _horizon(row: int, base: float, column: Shorts, price: Floats, weight: Floats, columns: int) -> float:
    """No column outside the row's list is nearer than this; inf if the list is complete."""
    last = column.shape[1] - 1
    return np.inf if column[row, last] < 0 or last + 1 == columns else base + weight[row] * price[row, last]


@kernel
def _scan_list(
    row: int,
    base: float,
    column: Shorts,
    price: Floats,
    weight: Floats,
    owner: Ints,
    value: Floats,
    search: Search,
    size: int,
    seen: int,
    nearest: float,
) -> tuple[int, int, float]:
    """Reach columns from a row over its list."""
    for k in range(column.shape[1]):
        m = column[row, k]
        plain = base + weight[row] * price[row, k]
        if m < 0 or plain >= nearest:
            break
        size, seen, nearest = _reach(row, m, plain - value[m], owner, search, size, seen, nearest)
    return size, seen, nearest


@kernel
def _reach(
    row: int, m: int, reached: float, owner: Ints, search: Search, size: int, seen: int, nearest: float
) -> tuple[int, int, float]:
    """Column m is at distance `reached` through this row; keep it if that is news."""
    dist, via, place, heap, touched = search
    if reached < dist[m] and reached < nearest and place[m] != SETTLED:
        if place[m] == ABSENT:
            touched[seen] = m
            seen += 1
        size = lower(heap, place, dist, size, m, reached)
        via[m] = row
        if owner[m] < 0:
            nearest = reached
    return size, seen, nearest


@kernel
def _lower_values(end: int, value: Floats, search: Search, seen: int) -> None:
    """Shorts nearer than the end of the path become dearer by the difference."""
    dist, _via, place, _heap, touched = search
    for k in range(seen):
        m = touched[k]
        if place[m] == SETTLED and m != end:
            value[m] += min(0.0, dist[m] - dist[end])


@kernel
def _switch(start: int, end: int, held: Ints, owner: Ints, via: Ints) -> None:
    """Give each column on the path to the row that reached it."""
    m = end
    while True:
        row = via[m]
        owner[m] = row
        m, held[row] = held[row], m
        if row == start:
            return


@kernel
def _forget(search: Search, seen: int) -> None:
    dist, _via, place, _heap, touched = search
    for k in range(seen):
        m = touched[k]
        dist[m] = np.inf
        place[m] = ABSENT
