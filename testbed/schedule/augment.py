"""Shortest augmenting paths on candidate lists: the compiled heart of `assign`.

`held[i]` is the column of row i, `owner[m]` the row of column m, `value[m]` ≤ 0 the dual of column m. A row that
holds column h has the dual u_i = w_i c_ih − value[h], and every reduced cost w_i c_im − value[m] − u_i is ≥ 0.
One path search grows a tree of rows: `base[i]` is the tree's depth at row i less u_i, so that column m is reached
from it at base[i] + w_i c_im − value[m]. A column outside i's list is no nearer than `horizon[i]`.
"""

from __future__ import annotations

import numpy as np

from testbed.schedule.arrays import Floats, Ints, Shorts
from testbed.schedule.compiled import kernel
from testbed.schedule.heap import ABSENT, SETTLED, lower, settle_first

BIDS = 512
"""Bids a waiting row may cause before its conflict goes to the path search."""

Search = tuple[Floats, Ints, Ints, Ints, Ints]
"""(M,) each: distance, row that reached the column, place in the heap, heap, columns touched."""
Tree = tuple[Ints, Floats, Floats]
"""(L,) each: rows of the tree, depth less dual, horizon."""


@kernel
def assign_rows(
    cost: Floats, column: Shorts, price: Floats, weight: Floats, order: Ints
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
        crowd = _bid(cost, column, price, weight, held, owner, value, waiting, crowd)
    if crowd > 0:
        missing = _augment_all(cost, column, price, weight, held, owner, value, waiting[:crowd])
    total = 0.0
    for row in range(rows):
        if held[row] >= 0:
            total += weight[row] * cost[row, held[row]]
    return held, np.abs(value), total, missing


@kernel
def _take_best(column: Shorts, weight: Floats, order: Ints, held: Ints, owner: Ints, waiting: Ints) -> int:
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
def _bid(
    cost: Floats,
    column: Shorts,
    price: Floats,
    weight: Floats,
    held: Ints,
    owner: Ints,
    value: Floats,
    waiting: Ints,
    crowd: int,
) -> int:
    """Waiting rows outbid each other on their lists, while prices settle it; returns how many still wait.

    A row takes its best column and lowers the column's value until its second best would do as well (an auction
    without ε, or augmenting row reduction). A row whose list cannot tell, or a tie, is left to the path search.
    """
    left, turns = 0, BIDS * crowd
    k = 0
    while k < crowd:
        row = waiting[k]
        k += 1
        while row >= 0:
            if column.shape[1] > 0:
                first, best, second = _two_best(row, column, price, weight[row], value)
            else:
                first, best, second = _two_best_of_all(row, cost, weight[row], value)
            turns -= 1
            if not best < second or second == np.inf or turns < 0:
                if first >= 0 and best <= second and owner[first] < 0:
                    owner[first], held[row] = row, first
                else:
                    waiting[left] = row
                    left += 1
                break
            loser = owner[first]
            if loser >= 0:
                value[first] -= second - best
                held[loser] = -1
            owner[first], held[row] = row, first
            row = loser
    return left


@kernel
def _two_best(row: int, column: Shorts, price: Floats, weight: float, value: Floats) -> tuple[int, float, float]:
    """The best column of a row by cost less value, that difference, and a bound on the second best.

    Values are never positive, so a column outside the list comes to no less than the list's last cost.
    """
    first, best, second = -1, np.inf, np.inf
    for k in range(column.shape[1]):
        m = column[row, k]
        plain = weight * price[row, k]
        if m < 0 or plain >= second:
            return first, best, second
        reduced = plain - value[m]
        if reduced < best:
            first, best, second = m, reduced, best
        elif reduced < second:
            second = reduced
    return first, best, min(second, plain)


@kernel
def _two_best_of_all(row: int, cost: Floats, weight: float, value: Floats) -> tuple[int, float, float]:
    """As `_two_best`, over the full row."""
    first, best, second = -1, np.inf, np.inf
    for m in range(value.size):
        reduced = weight * cost[row, m] - value[m]
        if reduced < second:
            if reduced < best:
                first, best, second = m, reduced, best
            else:
                second = reduced
    return first, best, second


@kernel
def _augment_all(
    cost: Floats, column: Shorts, price: Floats, weight: Floats, held: Ints, owner: Ints, value: Floats, waiting: Ints
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
    column: Shorts,
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
def _horizon(row: int, base: float, column: Shorts, price: Floats, weight: Floats) -> float:
    """No column outside the row's list is nearer than this; inf if the list is complete."""
    last = column.shape[1] - 1
    if last < 0:
        return -np.inf
    if column[row, last] < 0:
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
    column: Shorts,
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
