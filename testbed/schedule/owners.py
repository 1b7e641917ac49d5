"""Branch and bound on the joint problem: who may use a subcarrier that several links want; compiled.

With every link on its own best subcarrier the problem falls apart into tokens (the LB), but some links in use share
one. Of these links, the one that would lose most by moving either owns the subcarrier, and all others are barred
from it, or is barred from it itself. Either way what is left falls apart again, and its energy bounds all decisions
under these rules; its selection, with subcarriers assigned, is a decision to compare. A tree that ends proves the
optimum. Where subcarriers are many, conflicts are few and a handful of nodes suffices; where they are scarce the tree
is large, and the Lagrangian bound (`bounds`) says more for the same time.
"""

from __future__ import annotations

import numpy as np

from testbed.schedule.arrays import Bools, Floats, Ints
from testbed.schedule.branch import LIMITED
from testbed.schedule.candidates import Candidates
from testbed.schedule.climb import LESS, choose_at
from testbed.schedule.compiled import allocating, kernel
from testbed.schedule.rounds import Round, Scratch, State, assign, copy_state, count_loads

HOP, ROW, COLUMN, OWNS = 0, 1, 2, 3
"""Columns of the rules (DEPTH, 4): in phase HOP, row ROW owns subcarrier COLUMN (OWNS = 1) or is barred from it (0)."""

DEPTH = 64

LOOK_COST, RULE_COST = 0.02, 0.004
"""Modelled microseconds to price one pair at a node, and more for every rule there."""


@allocating
def search_owners(
    r: Round, s: State, w: Scratch, trial: State, floor: Bools, energy: float, bound: float, gap: float, effort: float,
    most: int,
) -> tuple[float, float]:  # fmt: skip
    """Improve a state of that energy, and the bound, until they meet within `gap` or the effort is spent.

    floor (N, K) is the choice of the LB, where the tree begins. Does nothing if more than `most` links want what
    another has there. Returns (energy, bound).
    """
    K, hops = r.compute.size, r.hops
    rule, below = np.empty((DEPTH, 4), dtype=np.int64), np.empty(DEPTH)
    price, at = np.empty((K, K)), np.full((hops, K * K), -1)
    user = np.empty(max(r.there.cost.shape[1], r.back.cost.shape[1]), dtype=np.int64)
    depth, proven, low = 0, np.inf, np.inf
    while True:
        if low == np.inf:
            # Also after a node where a token missed its QoS: asked again at those prices, its set would pass for met.
            _set_to_floor(r, trial, floor)
        low = _bound_under(r, trial, w, rule, depth, price, at)
        conflicts = _pick_conflict(r, trial, at, rule, depth, user) if low < energy * (1.0 - gap) else 0
        if np.isnan(low) or (depth == 0 and conflicts > most):
            return energy, bound
        if low < energy * (1.0 - gap):
            found = assign(r, trial, w)
            if found < energy * LESS:
                energy = found
                copy_state(trial, s)
        if conflicts > 0 and depth + 1 < DEPTH and low < energy * (1.0 - gap):
            below[depth] = low
            depth += 1
        else:
            proven = min(proven, low)
            depth = _turn_back(rule, below, depth, energy * (1.0 - gap))
        if depth == 0 or w.spent[0] >= effort:
            for d in range(depth):
                if rule[d, OWNS] == 1 or d == depth - 1:
                    proven = min(proven, below[d])
            return energy, max(bound, min(proven, energy))


@allocating
def _set_to_floor(r: Round, s: State, floor: Bools) -> None:
    """The LB's choice at its prices, every link on its own best subcarrier."""
    s.selected[:] = floor
    s.asked[:] = r.ideal
    count_loads(floor, r.source, s.load)


@kernel
def _bound_under(r: Round, s: State, w: Scratch, rule: Ints, depth: int, price: Floats, at: Ints) -> float:
    """Choose for all tokens under the first `depth` rules; the energy, which no decision under them can undercut.

    Fills price (K, K) and at (hops, K²), the subcarrier of each row. inf: some token would miss its QoS. NaN: a
    choice was not proven optimal.
    """
    K = r.compute.size
    w.spent[0] += (LOOK_COST + RULE_COST * depth) * K * K * r.hops
    for i in range(K):
        for j in range(K):
            price[i, j] = r.compute[j]
            if i != j:
                cost, at[0, i * K + j] = _cheapest(r.there, i * K + j, 0, rule, depth, -1)
                price[i, j] += cost
                if r.hops == 2:
                    cost, at[1, j * K + i] = _cheapest(r.back, j * K + i, 1, rule, depth, -1)
                    price[i, j] += cost
    if not choose_at(r, s, w, price):
        return np.inf
    for end in w.ended:
        if end == LIMITED:
            return np.nan
    energy = 0.0
    for i in range(K):
        for j in range(K):
            if s.load[i, j] > 0.0:
                energy += s.load[i, j] * price[i, j]
    return energy


@kernel
def _cheapest(lists: Candidates, row: int, hop: int, rule: Ints, depth: int, but: int) -> tuple[float, int]:
    """The least cost of a row among the subcarriers that the rules allow it, `but` for one, and which that is."""
    column, price, cost = lists.column, lists.price, lists.cost
    for k in range(column.shape[1]):
        m = column[row, k]
        if m < 0:
            return np.inf, -1
        if m != but and _allowed(row, m, hop, rule, depth):
            return price[row, k], m
    best, where = np.inf, -1
    for m in range(cost.shape[1]):
        if cost[row, m] < best and m != but and _allowed(row, m, hop, rule, depth):
            best, where = cost[row, m], m
    return best, where


@kernel
def _allowed(row: int, m: int, hop: int, rule: Ints, depth: int) -> bool:
    for d in range(depth):
        if rule[d, COLUMN] == m and rule[d, HOP] == hop and (rule[d, ROW] == row) != (rule[d, OWNS] == 1):
            return False
    return True


@kernel
def _pick_conflict(r: Round, s: State, at: Ints, rule: Ints, depth: int, user: Ints) -> int:
    """Make the next rule: of two links that want one subcarrier, the one that loses more by moving owns it.

    The pair is picked whose lesser loss is largest. Returns how many links want what another has. user (M,) is scratch.
    """
    K = r.compute.size
    conflicts, worst = 0, -1.0
    for hop in range(r.hops):
        user[:] = -1
        for i in range(K):
            for j in range(K):
                row = i * K + j if hop == 0 else j * K + i
                if i == j or s.load[i, j] == 0.0:
                    continue
                m = at[hop, row]
                other = user[m]
                user[m] = row
                if other >= 0:
                    conflicts += 1
                    mine, theirs = _loss(r, s, row, m, hop, rule, depth), _loss(r, s, other, m, hop, rule, depth)
                    user[m] = row if mine > theirs else other
                    if min(mine, theirs) > worst:
                        worst = min(mine, theirs)
                        rule[depth, HOP], rule[depth, ROW], rule[depth, COLUMN] = hop, user[m], m
                        rule[depth, OWNS] = 1
    return conflicts


@kernel
def _loss(r: Round, s: State, row: int, m: int, hop: int, rule: Ints, depth: int) -> float:
    """What its tokens would pay more if this row left subcarrier m for its next best."""
    K = r.compute.size
    load = s.load[row // K, row % K] if hop == 0 else s.load[row % K, row // K]
    lists = r.there if hop == 0 else r.back
    return load * (_cheapest(lists, row, hop, rule, depth, m)[0] - lists.cost[row, m])


@kernel
def _turn_back(rule: Ints, below: Floats, depth: int, edge: float) -> int:
    """Go back to the last rule whose other side may hold something below `edge`, and turn it; 0 if there is none."""
    while depth > 0 and (rule[depth - 1, OWNS] == 0 or below[depth - 1] >= edge):
        depth -= 1
    if depth > 0:
        rule[depth - 1, OWNS] = 0
    return depth
