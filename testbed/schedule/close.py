"""When links outnumber subcarriers: close pairs by regret until the rest can be served; compiled.

The regret of a pair is the energy that its source's tokens lose without it. It is infinite when one of them would
miss its QoS, and for pairs that fixed tokens use.
"""

from __future__ import annotations

import numpy as np

from testbed.schedule.arrays import Floats
from testbed.schedule.compiled import allocating, kernel
from testbed.schedule.rounds import Round, Scratch, State, assign, reselect

UNKNOWN = -1.0


@allocating
def close_until_served(r: Round, s: State, w: Scratch, spare: State, price: Floats, keep: int) -> float:
    """Close pairs of a state, lowest regret first, until every phase can be assigned. Returns its energy.

    price (K, K) is what open pairs are expected to cost; closed ones become inf there. Pair i·K + j = keep is not
    closed. inf = a dead end: some link cannot be served, and no pair can be closed without a token missing its QoS.
    """
    K = r.compute.size
    regret = np.full((K, K), UNKNOWN)
    while True:
        energy = np.inf if _crowded(r, s) else assign(r, s, w)
        if energy < np.inf:
            return energy
        pair = _least_regret(r, s, w, spare, price, regret, keep)
        if pair < 0:
            return np.inf
        i, j = pair // K, pair % K
        price[i, j] = np.inf
        reselect(r, s, w, i, price)
        regret[i, :] = UNKNOWN


@kernel
def _crowded(r: Round, s: State) -> bool:
    """Whether links in use outnumber subcarriers, so that no assignment need be tried."""
    links = 0
    for i in range(r.compute.size):
        for j in range(r.compute.size):
            links += i != j and s.load[i, j] > 0.0
    return links > min(r.there.cost.shape[1], r.back.cost.shape[1])


@kernel
def _least_regret(r: Round, s: State, w: Scratch, spare: State, price: Floats, regret: Floats, keep: int) -> int:
    """The pair in use that is missed least, or −1; unknown regrets are found on the way."""
    K = r.compute.size
    best, least = -1, np.inf
    for row in r.there.order:
        i, j = row // K, row % K
        if i == j or s.load[i, j] == 0.0 or r.fixed[i, j] > 0.0 or row == keep:
            continue
        if regret[i, j] == UNKNOWN:
            regret[i, j] = _regret(r, s, w, spare, price, i, j)
        if regret[i, j] < least:
            best, least = row, regret[i, j]
    return best


@kernel
def _regret(r: Round, s: State, w: Scratch, spare: State, price: Floats, i: int, j: int) -> float:
    """What closing pair (i, j) costs the tokens of source i at these prices. The state is left as it was."""
    save_source(r, s, spare, i)
    before = _energy_at(r, s, price, i)
    old = price[i, j]
    price[i, j] = np.inf
    met = reselect(r, s, w, i, price)
    after = _energy_at(r, s, price, i) if met else np.inf
    price[i, j] = old
    save_source(r, spare, s, i)
    return max(after - before, 0.0)


@kernel
def _energy_at(r: Round, s: State, price: Floats, i: int) -> float:
    """Energy of the free tokens of source i at price[i]."""
    energy = 0.0
    for j in range(r.compute.size):
        if s.load[i, j] > r.fixed[i, j]:
            energy += (s.load[i, j] - r.fixed[i, j]) * price[i, j]
    return energy


@kernel
def save_source(r: Round, source: State, target: State, i: int) -> None:
    """Copy what belongs to the tokens of source i: their sets, and the loads and prices of its pairs."""
    for k in range(r.first[i], r.first[i + 1]):
        n = r.members[k]
        for j in range(r.compute.size):
            target.selected[n, j] = source.selected[n, j]
    for j in range(r.compute.size):
        target.load[i, j] = source.load[i, j]
        target.asked[i, j] = source.asked[i, j]
