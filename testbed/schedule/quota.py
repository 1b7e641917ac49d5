"""When links outnumber subcarriers and nodes are few: share out the links exactly, source by source; compiled.

At given pair prices, f_i(S) is the least energy of source i's tokens when only the experts in S (and its own) are open.
It comes from all subsets of experts: the least energy of a set that meets a token's need, minimised over subsets.
A dynamic program over the sources then finds open sets of least total energy with at most M pairs in all. Which
subcarrier serves which link is left to the assignment.
"""

from __future__ import annotations

import numpy as np

from testbed.schedule.arrays import Floats, Ints
from testbed.schedule.compiled import allocating, kernel
from testbed.schedule.rounds import Round

MAX_NODES = 10


@allocating
def open_by_quota(r: Round, price: Floats, links: int) -> bool:
    """Close pairs in `price` (K, K), setting them to inf, so that at most `links` stay open at least energy.

    False if no choice of that many pairs lets every token meet its QoS; prices are then left as they were.
    """
    K = r.compute.size
    room = min(links, K * (K - 1))
    value = np.full((K + 1, room + 1), np.inf)
    value[0, :] = 0.0
    sets = np.zeros((K, K), dtype=np.int64)
    pick = np.zeros((K, room + 1), dtype=np.int64)
    for i in range(K):
        cost = _best_by_size(r, i, price, sets)
        for total in range(room + 1):
            for size in range(min(total, K - 1) + 1):
                found = value[i, total - size] + cost[size]
                if found < value[i + 1, total]:
                    value[i + 1, total], pick[i, total] = found, size
    if value[K, room] == np.inf:
        return False
    total = room
    for i in range(K - 1, -1, -1):
        size = pick[i, total]
        total -= size
        for j in range(K):
            if j != i and not (sets[i, size] >> j) & 1:
                price[i, j] = np.inf
    return True


@allocating
def _best_by_size(r: Round, i: int, price: Floats, sets: Ints) -> Floats:
    """Least f_i(S) over open sets of each number of strangers, (K,); the sets go into sets[i]."""
    K = r.compute.size
    f = source_costs(r, i, price)
    best = np.full(K, np.inf)
    for mask in range(f.size):
        if (mask >> i) & 1:
            size = -1
            for j in range(K):
                size += (mask >> j) & 1
            if f[mask] < best[size]:
                best[size], sets[i, size] = f[mask], mask
    return best


@allocating
def source_costs(r: Round, i: int, price: Floats) -> Floats:
    """f_i(S) for every set of open experts, a bit mask with bit i set, (2^K,); inf where a token is unserved."""
    K = r.compute.size
    forced = 0
    for j in range(K):
        if r.fixed[i, j] > 0.0 and j != i:
            forced |= 1 << j
    cost, score, least = np.zeros(1 << K), np.zeros(1 << K), np.empty(1 << K)
    _spread_costs(price, i, r.limit, cost)
    f = np.zeros(1 << K)
    for mask in range(1 << K):
        if mask & forced != forced:
            f[mask] = np.inf
    for k in range(r.first[i], r.first[i + 1]):
        n = r.members[k]
        _spread(r.score, n, score)
        for mask in range(1 << K):
            least[mask] = cost[mask] if score[mask] >= r.need[n] else np.inf
        _minimise_over_subsets(least)
        for mask in range(1 << K):
            f[mask] += least[mask]
    return f


@kernel
def _spread_costs(price: Floats, i: int, limit: int, cost: Floats) -> None:
    """Energy of every set of experts at price[i]; inf above the limit."""
    _spread(price, i, cost)
    for mask in range(cost.size):
        size, rest = 0, mask
        while rest:
            rest &= rest - 1
            size += 1
        if size > limit:
            cost[mask] = np.inf


@kernel
def _spread(value: Floats, row: int, total: Floats) -> None:
    """Sum of value[row] over every set, by doubling."""
    total[0] = 0.0
    for j in range(value.shape[1]):
        top = 1 << j
        for mask in range(top):
            total[top + mask] = total[mask] + value[row, j]


@kernel
def _minimise_over_subsets(least: Floats) -> None:
    """least[S] becomes the minimum of least over all subsets of S."""
    top = 1
    while top < least.size:
        for base in range(0, least.size, 2 * top):
            for mask in range(base, base + top):
                least[mask + top] = min(least[mask + top], least[mask])
        top *= 2
