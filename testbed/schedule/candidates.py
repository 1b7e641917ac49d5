"""The best few subcarriers of every link, found once per channel and reused by every assignment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from testbed.schedule.compiled import kernel

Floats = NDArray[np.float64]
Columns = NDArray[np.int32]

WIDTH = 16
"""Subcarriers listed for each link; a link that needs more is looked up in the full row."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """The cheapest subcarriers of each link, in rising cost.

    cost    (L, M)  cost per unit of weight; inf = unusable
    column  (L, T)  the T cheapest usable subcarriers of each link, padded with −1
    price   (L, T)  their costs, padded with inf
    order   (L,)    links in rising best cost, an order that does not depend on how they are numbered
    """

    cost: Floats
    column: Columns
    price: Floats

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """(L,) links in rising best cost."""
        return np.argsort(self.price[:, 0], kind="stable")


def candidate_lists(cost: Floats, width: int = WIDTH) -> Candidates:
    """The `width` cheapest subcarriers of each row of `cost` (L, M); equal costs keep the lower index first."""
    width = max(1, min(width, cost.shape[1]))
    column = np.full((cost.shape[0], width), -1, dtype=np.int32)
    price = np.full((cost.shape[0], width), np.inf)
    _fill(cost, column, price)
    return Candidates(cost, column, price)


@kernel
def _fill(cost: Floats, column: Columns, price: Floats) -> None:
    for link in range(cost.shape[0]):
        _fill_row(cost[link], column[link], price[link])


@kernel
def _fill_row(cost: Floats, column: Columns, price: Floats) -> None:
    last = price.size - 1
    for m in range(cost.size):
        c = cost[m]
        if c < price[last]:
            k = last
            while k > 0 and price[k - 1] > c:
                price[k] = price[k - 1]
                column[k] = column[k - 1]
                k -= 1
            price[k] = c
            column[k] = m
