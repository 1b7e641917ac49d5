"""The best few subcarriers of every link, found once per channel and reused by every assignment."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from testbed.errors import ProblemError
from testbed.schedule.arrays import Floats, Ints, Shorts, named, place_of, real_numbers
from testbed.schedule.compiled import UNSIGNED, allocating, kernel


class Candidates(NamedTuple):
    """The cheapest subcarriers of each link, in rising cost; a named tuple, which compiled code takes whole.

    cost    (L, M)  cost per unit of weight; inf = unusable
    column  (L, T)  the T cheapest usable subcarriers of each link, padded with −1
    price   (L, T)  their costs, padded with inf
    order   (L,)    links in rising best cost, an order that does not depend on how they are numbered
    """

    cost: Floats
    column: Shorts
    price: Floats
    order: Ints


def candidate_lists(cost: ArrayLike, width: int | None = None) -> Candidates:
    """The `width` cheapest subcarriers of each row of `cost` (L, M), by default as many as measured to be best.

    `ProblemError` for NaN and −inf, and for what is no matrix.
    """
    cost = real_matrix("cost", cost)
    width = list_width(*cost.shape) if width is None else max(0, min(width, cost.shape[1]))
    column, price, sound = fill_lists(cost, width)
    if not sound:
        raise ProblemError(unreal_cost(cost))
    order = np.argsort(price[:, 0], kind="stable") if width else np.arange(len(cost))
    return Candidates(cost, column, price, order)


def real_matrix(field: str, value: ArrayLike) -> Floats:
    """The value as contiguous floats (L, M), or a `ProblemError`."""
    cost = real_numbers(field, value)
    if cost.ndim != 2:
        raise ProblemError(f"{field} has shape {cost.shape}; it must be (L, M), a cost for each link and subcarrier")
    return cost


def unreal_cost(cost: Floats) -> str:
    """What to say of the first entry that is NaN or −inf."""
    place = place_of(~(cost > -np.inf))
    return f"{named('cost', cost, place)}: give a number, or inf for an unusable subcarrier"


@kernel
def list_width(links: int, subcarriers: int) -> int:
    """Long lists where links crowd: looking up a full row costs more than a longer list (measured, 12 … 992 links)."""
    if 2 * subcarriers >= 3 * links:
        width = 16
    elif 100 * subcarriers >= 103 * links:
        width = 32
    else:
        width = 64
    return min(width, subcarriers)


@allocating
def fill_lists(cost: Floats, width: int) -> tuple[Shorts, Floats, bool]:
    """Candidate lists of every row, and whether every cost is a number above −inf. Width 0 only checks."""
    links, subcarriers = cost.shape
    column = np.full((links, width), -1, dtype=np.int32)
    price = np.full((links, width), np.inf)
    if width == 0:
        return column, price, all_numbers(cost)
    pool, where = np.empty(subcarriers), np.empty(subcarriers, dtype=np.int32)
    strands = min(4 * width if width <= 16 else 2 * width, subcarriers)
    least, sample = np.empty(strands), np.empty(strands)
    bucket, rank = np.empty(width + 2, dtype=np.int64), np.empty(2 * width + 1, dtype=np.int64)
    sound = True
    for link in range(links):
        sound = _least_of_strands(cost, link, least) and sound
        count = _gather(cost, link, width, least, sample, pool, where)
        if count > 2 * width:
            keep_smallest(pool, where, count, width)
            count = width
        _sort_into(pool, where, count, link, column, price, bucket, rank)
    return column, price, sound


@kernel
def all_numbers(cost: Floats) -> bool:
    """Whether no cost is NaN or −inf."""
    wrong = 0
    for link in range(cost.shape[0]):
        for m in range(cost.shape[1]):
            wrong += not cost[link, m] > -np.inf
    return wrong == 0


@kernel
def _least_of_strands(cost: Floats, link: int, least: Floats) -> bool:
    """The least cost of every strand, the subcarriers that are equal modulo least.size; whether all are numbers."""
    strands, subcarriers = UNSIGNED(least.size), UNSIGNED(cost.shape[1])
    wrong = 0
    for q in range(strands):
        least[q] = np.inf
    for base in range(UNSIGNED(0), subcarriers, strands):
        for q in range(min(strands, subcarriers - base)):
            c = cost[link, base + q]
            least[q] = c if c < least[q] else least[q]
            wrong += not c > -np.inf
    return wrong == 0


@kernel
def _gather(cost: Floats, link: int, width: int, least: Floats, sample: Floats, pool: Floats, where: Shorts) -> int:
    """Collect the usable subcarriers that may be among the `width` best; returns how many.

    No more than `width` strands hold one below the `width`-th smallest of the strands' least costs.
    """
    strands, subcarriers = least.size, cost.shape[1]
    edge = np.inf
    if strands > width:
        for q in range(strands):
            sample[q] = least[q]
        edge = keep_smallest(sample, where, strands, width)
    count = 0
    for q in range(strands):
        if least[q] <= edge:
            for m in range(q, subcarriers, strands):
                pool[count] = cost[link, m]
                where[count] = m
                count += cost[link, m] <= edge and cost[link, m] < np.inf
                if count == subcarriers:
                    return count
    return count


@kernel
def keep_smallest(pool: Floats, where: Shorts, count: int, width: int) -> float:
    """Bring the `width` smallest of the pool to its front (Hoare's selection); returns the largest of them."""
    low, high = 0, count - 1
    while low < high:
        pivot = pool[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while pool[i] < pivot:
                i += 1
            while pool[j] > pivot:
                j -= 1
            if i <= j:
                pool[i], pool[j] = pool[j], pool[i]
                where[i], where[j] = where[j], where[i]
                i += 1
                j -= 1
        if width - 1 <= j:
            high = j
        elif width - 1 >= i:
            low = i
        else:
            break
    return pool[width - 1]


@kernel
def _sort_into(
    pool: Floats, where: Shorts, count: int, link: int, column: Shorts, price: Floats, bucket: Ints, rank: Ints
) -> None:
    """Write the pool into the link's row by cost, then by subcarrier: buckets of equal span first, then insertion."""
    width = price.shape[1]
    low, high = np.inf, -np.inf
    for k in range(count):
        low, high = min(low, pool[k]), max(high, pool[k])
    scale = (bucket.size - 2) / (high - low) if high > low else 0.0
    bucket[:] = 0
    for k in range(count):
        bucket[int((pool[k] - low) * scale) + 1] += 1
    for q in range(1, bucket.size):
        bucket[q] += bucket[q - 1]
    for k in range(count):
        q = int((pool[k] - low) * scale)
        rank[bucket[q]] = k
        bucket[q] += 1
    for at in range(count):
        k = rank[at]
        while at > 0 and _before(pool, where, k, rank[at - 1]):
            rank[at] = rank[at - 1]
            at -= 1
        rank[at] = k
    for at in range(min(count, width)):
        price[link, at], column[link, at] = pool[rank[at]], where[rank[at]]


@kernel
def _before(pool: Floats, where: Shorts, k: int, other: int) -> bool:
    return pool[k] < pool[other] or (pool[k] == pool[other] and where[k] < where[other])
