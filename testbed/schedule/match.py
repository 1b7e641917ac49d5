"""The linear assignment in two steps, bidding and path search: the compiled heart of `assign`."""

from __future__ import annotations

import numpy as np

from testbed.schedule.arrays import Floats, Ints
from testbed.schedule.augment import augment_all
from testbed.schedule.bids import bid, take_best
from testbed.schedule.candidates import Candidates
from testbed.schedule.compiled import allocating


@allocating
def match(lists: Candidates, weight: Floats, held: Ints, duals: Floats) -> tuple[float, int]:
    """Serve all rows of positive weight, taken up in the order of the lists. Returns (total, rows not served).

    Lists of width 0 are empty: full rows are read. Fills held (L,), the column of each row or −1, and duals (M,) ≥ 0.
    The total does not depend on the order; which of several optimal duals is found does.
    """
    cost, column, price, order = lists
    rows, columns = cost.shape
    scratch = np.empty(columns + rows, dtype=np.int64)
    owner, waiting = scratch[:columns], scratch[columns:]
    owner[:] = -1
    held[:] = -1
    duals[:] = 0.0
    missing = 0
    crowd = take_best(column, weight, order, held, owner, waiting)
    if crowd > 0:
        # Both steps keep values, duals with the sign turned.
        crowd = bid(cost, column, price, weight, held, owner, duals, waiting, crowd)
        if crowd > 0:
            missing = augment_all(cost, column, price, weight, held, owner, duals, waiting[:crowd])
        for m in range(columns):
            duals[m] = abs(duals[m])
    total = 0.0
    for row in range(rows):
        if held[row] >= 0:
            total += weight[row] * cost[row, held[row]]
    return total, missing
