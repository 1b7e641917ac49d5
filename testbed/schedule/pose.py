"""From a problem's arrays to the point where the joint search begins; compiled."""

from __future__ import annotations

import numpy as np

from testbed.schedule.arrays import Bools, Floats, Ints
from testbed.schedule.batch import choose_all, group
from testbed.schedule.bounds import Multipliers
from testbed.schedule.branch import RELAXED, sort_reachable
from testbed.schedule.candidates import Candidates
from testbed.schedule.compiled import allocating
from testbed.schedule.rounds import MAX_PASSES, Round, Scratch, State, count_loads

FLOOR_NODES = 200_000
"""Nodes a token may take in the relaxation, whose sum is the bound."""

SEARCH_NODES = 2_000
"""Nodes a token may take inside the joint search, which asks for the same token many times."""


@allocating
def pose(
    score: Floats,
    source: Ints,
    need: Floats,
    limit: int,
    compute: Floats,
    hops: int,
    there: Candidates,
    back: Candidates,
    selected: Bools,
    frozen: Bools,
) -> tuple[Round, State, Scratch]:
    """Solve the relaxation (LB), in which every link has its own best subcarrier, and start from it.

    Fills selected (N, K), which is the state's from now on, and frozen (N,), the tokens that miss their QoS even so.
    The relaxation's choice is left in the state, bounds on its energy in scratch.bounds.
    """
    tokens, K = score.shape
    w = _scratch(tokens, K, limit)
    ideal = ideal_prices(compute, hops, there, back)
    choose_all(score, ideal, source, need, limit, 0.0, FLOOR_NODES, 0, selected, w.energies, w.bounds, w.nodes, w.ended)
    line = source.copy()
    for n in range(tokens):
        frozen[n] = w.ended[n] == RELAXED
        if frozen[n]:
            line[n] = K
    first, members = group(line, K + 1)
    load, fixed = np.zeros((K, K)), np.zeros((K, K))
    count_loads(selected, source, load)
    for n in members[first[K] :]:
        for j in range(K):
            fixed[source[n], j] += selected[n, j]
    s = State(
        selected, ideal.copy(), load,
        np.full(K * K, -1), np.zeros(there.cost.shape[1]), np.full(K * K, -1), np.zeros(back.cost.shape[1]),
    )  # fmt: skip
    r = Round(
        score, need, first, members, fixed, source, frozen, limit, SEARCH_NODES, compute, ideal, hops, there, back
    )
    return r, s, w


@allocating
def ideal_prices(compute: Floats, hops: int, there: Candidates, back: Candidates) -> Floats:
    """(K, K) pair prices on every link's own best subcarriers, summed in the order of `rounds.current_prices`."""
    K = compute.size
    price = np.empty((K, K))
    for i in range(K):
        for j in range(K):
            price[i, j] = compute[j]
            if i != j:
                price[i, j] += there.price[i * K + j, 0]
                if hops == 2:
                    price[i, j] += back.price[j * K + i, 0]
    return price


@allocating
def multipliers(r: Round, s: State, chosen: Bools, proven: Floats) -> Multipliers:
    """The bound search at its start: what the relaxation chose, (N, K), at the prices it was asked, and its bounds."""
    N, K = r.score.shape
    price, order, sorted_order = np.empty((N, K)), np.empty((N, K), dtype=np.int64), np.empty((K, K), dtype=np.int64)
    for i in range(K):
        sort_reachable(r.ideal, i, sorted_order)
    for n in range(N):
        for j in range(K):
            price[n, j], order[n, j] = r.ideal[r.source[n], j], sorted_order[r.source[n], j]
    return Multipliers(
        s.dual_0.copy(), s.dual_1.copy(), np.empty((N, K)), np.empty((N, K)), price,
        np.empty((N, K)), chosen, proven, order, np.ones(2),
    )  # fmt: skip


@allocating
def _scratch(tokens: int, K: int, limit: int) -> Scratch:
    return Scratch(
        np.empty((6, K + 1)), np.empty((6, K + 1), dtype=np.int64), np.empty((K + 1, limit + 1)),
        np.empty((K, K), dtype=np.int64), np.zeros(tokens), np.zeros(tokens), np.zeros(tokens, dtype=np.int64),
        np.zeros(tokens, dtype=np.int8), np.zeros(tokens, dtype=np.int64), np.zeros(1), np.zeros(MAX_PASSES + 1),
    )  # fmt: skip
