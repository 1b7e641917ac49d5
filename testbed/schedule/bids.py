"""Links bid for subcarriers: an auction without ε on candidate lists, or on full rows; compiled.

`held[i]` is the column of row i, `owner[m]` the row of column m, `value[m]` ≤ 0 the dual of column m. A row takes its
best column and lowers that column's value until its second best would do as well; who held it bids again. In the
words of Jonker and Volgenant (Computing 38, 1987) this is augmenting row reduction. Ties, and rows whose list cannot
tell their second best, are left to the path search.
"""

from __future__ import annotations

import numpy as np

from testbed.schedule.arrays import Floats, Ints, Shorts
from testbed.schedule.compiled import allocating, kernel
from testbed.schedule.dense import LANES, two_best_of_row

BIDS, FEWEST = 128, 4
"""Bids a waiting row may cause before the conflict goes to the path search, at first and at least.

Where rows want the same columns for the same reasons, bids rise in ever smaller steps: after a row that ran out of
bids the next may cause half as many (measured on Rayleigh costs, whole numbers, and products of two vectors).
"""


@kernel
def take_best(column: Shorts, weight: Floats, order: Ints, held: Ints, owner: Ints, waiting: Ints) -> int:
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


@allocating
def bid(
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
    """Waiting rows outbid each other while prices settle it; returns how many still wait, now first in `waiting`."""
    left, allowed = 0, BIDS
    lanes = np.empty((2, LANES))
    for k in range(crowd):
        row, turns = waiting[k], allowed
        while row >= 0:
            if column.shape[1] > 0:
                first, best, second = _two_best(row, column, price, weight[row], value)
            else:
                first, best, second = two_best_of_row(row, cost, weight[row], value, lanes)
            turns -= 1
            if not best < second or second == np.inf or turns < 0:
                first = _free_at(row, first, best, cost, column, price, weight[row], owner, value)
                if first >= 0 and best <= second:
                    owner[first], held[row] = row, first
                else:
                    waiting[left] = row
                    left += 1
                if turns < 0:
                    allowed = max(allowed // 2, FEWEST)
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
def _free_at(
    row: int,
    first: int,
    best: float,
    cost: Floats,
    column: Shorts,
    price: Floats,
    weight: float,
    owner: Ints,
    value: Floats,
) -> int:
    """A free column among those that are as good as the row's best, or −1."""
    if first < 0 or owner[first] < 0:
        return first
    if column.shape[1] > 0:
        for k in range(column.shape[1]):
            m = column[row, k]
            if m < 0 or weight * price[row, k] > best:
                return -1
            if owner[m] < 0 and weight * price[row, k] - value[m] == best:
                return m
        return -1
    for m in range(value.size):
        if owner[m] < 0 and weight * cost[row, m] - value[m] == best:
            return m
    return -1
