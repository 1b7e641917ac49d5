"""Shortest augmenting paths on candidate lists: the compiled heart of `assign`.

`held[i]` is the column of row i, `owner[m]` the row of column m, `value[m]` ≤ 0 the dual of column m. A row that
holds column h has the dual u_i = w_i c_ih − value[h], and every reduced cost w_i c_im − value[m] − u_i is ≥ 0.
One path search grows a tree of rows: `base[i]` is the tree's depth at row i less u_i, so that column m is reached
from it at base[i] + w_i c_im − value[m]. A column outside i's list is no nearer than `horizon[i]`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from testbed.schedule.compiled import kernel
from testbed.schedule.heap import ABSENT, SETTLED, lower, settle_first

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Columns = NDArray[np.int32]
Search = tuple[Floats, Ints, Ints, Ints, Ints]
"""(M,) each: distance, row that reached the column, place in the heap, heap, columns touched."""
Tree = tuple[Ints, Floats, Floats]
"""(L,) each: rows of the tree, depth less dual, horizon."""


@kernel
def assign_rows(
    cost: Floats, column: Columns, price: Floats, weight: Floats, order: Ints
) -> tuple[Ints, Floats, float, int]:
    """Serve all rows of positive weight, in the given order: (held (L,), duals (M,) ≥ 0, total, rows not served).

    The total does not depend on the order; which of several optimal duals is returned does.
    """
    rows, columns = cost.shape
    held = np.full(rows, -1, dtype=np.int64)
    owner = np.full(columns, -1, dtype=np.int64)
    value = np.zeros(columns)
    waiting = np.empty(rows, dtype=np.int64)
    crowd = _take_best(column, weight, order, held, owner, waiting)
    missing = 0
    if crowd > 0:
        missing = _augment_all(cost, column, price, weight, held, owner, value, waiting[:crowd])
    total = 0.0
    for row in range(rows):
        if held[row] >= 0:
            total += weight[row] * cost[row, held[row]]
    return held, np.abs(value), total, missing


@kernel
def _take_best(column: Columns, weight: Floats, order: Ints, held: Ints, owner: Ints, waiting: Ints) -> int:
    """Each active row takes its best column if that is free; the others wait. Returns how many wait."""
    crowd = 0
    for row in order:
        if weight[row] > 0.0:
            best = column[row, 0] if column.shape[1] > 0 else -1
            if best >= 0 and owner[best] < 0:
                owner[best] = row
                held[row] = best
            else:
                waiting[crowd] = row
                crowd += 1
    return crowd


@kernel
def _augment_all(
    cost: Floats, column: Columns, price: Floats, weight: Floats, held: Ints, owner: Ints, value: Floats, waiting: Ints
) -> int:
    """Serve the waiting rows one by one; returns how many could not be."""
    rows, columns = cost.shape
    dist = np.full(columns, np.inf)
    via = np.empty(columns, dtype=np.int64)
    place = np.full(columns, ABSENT, dtype=np.int64)
    search = (dist, via, place, np.empty(columns, dtype=np.int64), np.empty(columns, dtype=np.int64))
    tree = (np.empty(rows, dtype=np.int64), np.empty(rows), np.empty(rows))
    missing = 0
    for row in waiting:
        end, seen = _find_path(row, cost, column, price, weight, held, owner, value, search, tree)
        if end >= 0:
            _lower_values(end, value, search, seen)
            _switch(row, end, held, owner, via)
        else:
            missing += 1
        _forget(search, seen)
    return missing


@kernel
def _find_path(
    start: int,
    cost: Floats,
    column: Columns,
    price: Floats,
    weight: Floats,
    held: Ints,
    owner: Ints,
    value: Floats,
    search: Search,
    tree: Tree,
) -> tuple[int, int]:
    """Dijkstra from an unserved row. Returns (the nearest free column or −1, number of columns touched)."""
    dist, _via, place, heap, _touched = search
    grown, base, horizon = tree
    size, seen, count = 0, 0, 0
    nearest = np.inf
    row, depth, dual = start, 0.0, 0.0
    while True:
        grown[count], base[row], horizon[row] = (
            row,
            depth - dual,
            _horizon(row, depth - dual, column, price, weight),
        )
        count += 1
        size, seen, nearest = _scan_list(row, column, price, weight, owner, value, search, base, size, seen, nearest)
        while True:
            far = dist[heap[0]] if size > 0 else np.inf
            short = _shortest(grown, horizon, count)
            if not horizon[short] < far:
                break
            horizon[short] = np.inf
            size, seen, nearest = _scan_row(short, cost, weight, owner, value, search, base, size, seen, nearest)
        if size == 0:
            return -1, seen
        end = settle_first(heap, place, dist, size)
        size -= 1
        if owner[end] < 0:
            return end, seen
        row, depth = owner[end], dist[end]
        dual = weight[row] * cost[row, end] - value[end]


@kernel
def _horizon(row: int, base: float, column: Columns, price: Floats, weight: Floats) -> float:
    """No column outside the row's list is nearer than this; inf if the list is complete."""
    last = column.shape[1] - 1
    if last < 0 or column[row, last] < 0:
        return np.inf
    return base + weight[row] * price[row, last]


@kernel
def _shortest(grown: Ints, horizon: Floats, count: int) -> int:
    best = grown[0]
    for k in range(1, count):
        if horizon[grown[k]] < horizon[best]:
            best = grown[k]
    return best


@kernel
def _scan_list(
    row: int,
    column: Columns,
    price: Floats,
    weight: Floats,
    owner: Ints,
    value: Floats,
    search: Search,
    base: Floats,
    size: int,
    seen: int,
    nearest: float,
) -> tuple[int, int, float]:
    """Reach columns from a row over its list."""
    for k in range(column.shape[1]):
        m = column[row, k]
        plain = base[row] + weight[row] * price[row, k]
        if m < 0 or plain >= nearest:
            break
        size, seen, nearest = _reach(row, m, plain - value[m], owner, search, size, seen, nearest)
    return size, seen, nearest


@kernel
def _scan_row(
    row: int,
    cost: Floats,
    weight: Floats,
    owner: Ints,
    value: Floats,
    search: Search,
    base: Floats,
    size: int,
    seen: int,
    nearest: float,
) -> tuple[int, int, float]:
    """Reach columns from a row over all subcarriers, when its list proved too short."""
    for m in range(cost.shape[1]):
        if cost[row, m] < np.inf:
            reached = base[row] + weight[row] * cost[row, m] - value[m]
            size, seen, nearest = _reach(row, m, reached, owner, search, size, seen, nearest)
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
    """Columns nearer than the end of the path become dearer by the difference."""
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
