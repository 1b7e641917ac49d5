"""What the joint search works on: the round as plain arrays, and a state of it; compiled steps between states.

A pair (i, j) is source i and expert j. It uses the directed link i→j in phase 0, row i·K + j, and, with two hops,
the link j→i in phase 1, row j·K + i.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from testbed.schedule.arrays import Bools, Bytes, Floats, Ints, Shorts
from testbed.schedule.batch import choose_line, line_cost
from testbed.schedule.branch import RELAXED
from testbed.schedule.candidates import Candidates
from testbed.schedule.compiled import allocating, kernel
from testbed.schedule.match import match

MAX_PASSES = 50
"""Alternations converge in 2 … 4 passes."""

LINK_COST = 0.2
"""Modelled microseconds to assign one link; measured 0.1 … 0.5."""


class Round(NamedTuple):
    """The constants of a search.

    score (N, K), need (N,) the QoS less its tolerance, source (N,). Tokens that are `frozen` (N,) keep their set and
    are counted in `fixed` (K, K); members[first[i] : first[i + 1]] are the others of source i. compute (K,) joule;
    ideal (K, K) pair prices on every link's own best subcarriers. there and back are the lists of both phases, rows
    (K²,); with one hop the second is unused.
    """

    score: Floats
    need: Floats
    first: Ints
    members: Ints
    fixed: Floats
    source: Ints
    frozen: Bools
    limit: int
    node_limit: int
    compute: Floats
    ideal: Floats
    hops: int
    there: Candidates
    back: Candidates


class State(NamedTuple):
    """A point of the search, changed in place.

    selected (N, K); asked (K, K) the pair prices at which the sets of free tokens are optimal, or were left; load
    (K, K) tokens of each pair; held_h (K²,) subcarrier of each row; dual_h (M_h,) their prices.
    """

    selected: Bools
    asked: Floats
    load: Floats
    held_0: Ints
    dual_0: Floats
    held_1: Ints
    dual_1: Floats


class Scratch(NamedTuple):
    """Room to work in.

    Arrays of the selection kernels (see `batch.choose_line`), the modelled microseconds spent so far, (1,), and the
    energies of the last alternation, (MAX_PASSES + 1,).
    """

    f: Floats
    p: Ints
    reach: Floats
    order: Ints
    energies: Floats
    bounds: Floats
    nodes: Ints
    ended: Bytes
    queue: Ints
    spent: Floats
    trace: Floats


@kernel
def reselect(r: Round, s: State, w: Scratch, i: int, price: Floats) -> bool:
    """Choose again for the free tokens of source i at price[i]; False if one of them misses its QoS.

    A token keeps its set, which is still optimal, unless a member became dearer or a stranger cheaper.
    """
    experts = r.score.shape[1]
    count = _stirred(r, s, w, i, price)
    for j in range(experts):
        s.asked[i, j] = price[i, j]
    if count == 0:
        return True
    tokens = w.queue[:count]
    _count(s, i, tokens, -1.0)
    choose_line(
        r.score, price, i, tokens, r.need, r.limit, 0.0, r.node_limit, 0,
        w.order, w.f, w.p, w.reach, s.selected, w.energies, w.bounds, w.nodes, w.ended,
    )  # fmt: skip
    _count(s, i, tokens, 1.0)
    w.spent[0] += line_cost(experts, r.limit, count)
    met = True
    for n in tokens:
        met = met and w.ended[n] != RELAXED
    return met


@kernel
def _stirred(r: Round, s: State, w: Scratch, i: int, price: Floats) -> int:
    """List in w.queue the free tokens of source i whose set may not be optimal at price[i]; returns how many."""
    count = 0
    for j in range(r.compute.size):
        if price[i, j] != s.asked[i, j]:
            break
    else:
        return 0
    for k in range(r.first[i], r.first[i + 1]):
        n = r.members[k]
        for j in range(r.compute.size):
            if (price[i, j] > s.asked[i, j]) if s.selected[n, j] else (price[i, j] < s.asked[i, j]):
                w.queue[count] = n
                count += 1
                break
    return count


@kernel
def _count(s: State, i: int, tokens: Ints, one: float) -> None:
    for n in tokens:
        for j in range(s.load.shape[1]):
            if s.selected[n, j]:
                s.load[i, j] += one


@allocating
def assign(r: Round, s: State, w: Scratch) -> float:
    """Assign the loads of a state; returns its energy, inf if some link cannot be served."""
    K = r.compute.size
    weight = np.zeros(K * K)
    energy = 0.0
    for i in range(K):
        for j in range(K):
            if s.load[i, j] > 0.0:
                w.spent[0] += LINK_COST
                energy += s.load[i, j] * r.compute[j]
                if i != j:
                    weight[i * K + j] = s.load[i, j]
    total, missing = match(r.there, weight, s.held_0, s.dual_0)
    energy += total
    if r.hops == 2:
        back = np.zeros(K * K)
        for i in range(K):
            for j in range(K):
                back[j * K + i] = weight[i * K + j]
        total, short = match(r.back, back, s.held_1, s.dual_1)
        energy += total
        missing += short
    return energy if missing == 0 else np.inf


@kernel
def count_loads(selected: Bools, source: Ints, load: Floats) -> None:
    """Tokens that source i sends to expert j, into load (K, K); the diagonal counts those that stay."""
    load[:] = 0.0
    for n in range(source.size):
        for j in range(load.shape[1]):
            if selected[n, j]:
                load[source[n], j] += 1.0


@allocating
def empty_like(s: State) -> State:
    """Room for another state."""
    return State(
        np.empty_like(s.selected), np.empty_like(s.asked), np.empty_like(s.load), np.empty_like(s.held_0),
        np.empty_like(s.dual_0), np.empty_like(s.held_1), np.empty_like(s.dual_1),
    )  # fmt: skip


@allocating
def copy_state(source: State, target: State) -> None:
    """Make `target` equal to `source`."""
    target.selected[:] = source.selected
    target.asked[:] = source.asked
    target.load[:] = source.load
    target.held_0[:] = source.held_0
    target.dual_0[:] = source.dual_0
    target.held_1[:] = source.held_1
    target.dual_1[:] = source.dual_1


@kernel
def current_prices(r: Round, s: State, price: Floats) -> None:
    """Pair prices on the subcarriers that links hold; idle links are priced at their best free subcarrier."""
    K = r.compute.size
    for i in range(K):
        for j in range(K):
            price[i, j] = r.compute[j]
    _add_hop(r.there.cost, r.there.column, s.held_0, price, False)
    if r.hops == 2:
        _add_hop(r.back.cost, r.back.column, s.held_1, price, True)


@allocating
def _add_hop(cost: Floats, column: Shorts, held: Ints, price: Floats, back: bool) -> None:
    K = price.shape[0]
    taken = np.zeros(cost.shape[1], dtype=np.bool_)
    for m in held:
        if m >= 0:
            taken[m] = True
    for i in range(K):
        for j in range(K):
            row = i * K + j
            if i == j:
                continue
            m = held[row]
            if m < 0 or cost[row, m] == np.inf:
                m = best_free(row, cost, column, taken)
            hop = cost[row, m] if m >= 0 else np.inf
            if back:
                price[j, i] += hop
            else:
                price[i, j] += hop


@kernel
def best_free(row: int, cost: Floats, column: Shorts, taken: Bools) -> int:
    """The cheapest usable subcarrier of a row that nobody holds, or −1."""
    width = column.shape[1]
    for k in range(width):
        m = column[row, k]
        if m < 0:
            return -1
        if not taken[m]:
            return m
    best = -1
    for m in range(cost.shape[1]):
        if not taken[m] and cost[row, m] < np.inf and (best < 0 or cost[row, m] < cost[row, best]):
            best = m
    return best


@kernel
def dual_prices(r: Round, s: State, scale: float, price: Floats) -> None:
    """Pair prices that charge `scale` times the dual of a subcarrier, shared by the tokens of the link."""
    K = r.compute.size
    for i in range(K):
        for j in range(K):
            price[i, j] = r.compute[j]
    _add_duals(r.there.column, r.there.price, s.dual_0, s.load, scale, False, price)
    if r.hops == 2:
        _add_duals(r.back.column, r.back.price, s.dual_1, s.load, scale, True, price)


@kernel
def _add_duals(
    column: Shorts, own: Floats, dual: Floats, load: Floats, scale: float, back: bool, price: Floats
) -> None:
    K = price.shape[0]
    for i in range(K):
        for j in range(K):
            if i != j:
                row = j * K + i if back else i * K + j
                price[i, j] += _shared(row, column, own, dual, scale / max(load[i, j], 1.0))


@kernel
def _shared(row: int, column: Shorts, price: Floats, dual: Floats, share: float) -> float:
    best = np.inf
    for k in range(column.shape[1]):
        if column[row, k] < 0:
            break
        best = min(best, price[row, k] + share * dual[column[row, k]])
    return best
