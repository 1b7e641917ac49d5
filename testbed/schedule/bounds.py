"""Lower bounds on the joint optimum, and the certificate that a decision carries.

LB prices every link at its own best subcarrier, shared or not. The certificate is a Lagrangian bound: a subcarrier m
that is used has a price λ_m ≥ 0, charged to the tokens of its link in shares θ_nl ≥ 0 with Σ_n θ_nl ≤ 1 for every link,

    L(λ, θ) = −Σ_m λ_m + Σ_n min over sets S of Σ_{l∈S} [ a + min_m (c_lm + θ_nl λ_m) ],

since the tokens that really share a link never pay more than λ_m together. Shares start with the tokens that use the
link in the decision, and follow those that the relaxation lets use it; prices move by subgradient steps. Every step
is a valid bound, so the best one is kept.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from testbed.schedule.arrays import Bools, Floats, Ints, Shorts
from testbed.schedule.batch import search_cost
from testbed.schedule.branch import choose, sort_again
from testbed.schedule.compiled import allocating, kernel
from testbed.schedule.rounds import Round, Scratch, State

PATIENCE = 4
"""Steps without a better bound before the step is halved."""

MEMORY = 0.7
"""How much of a token's past use of a link counts in its share."""


NOISE = 1e-9
"""Shares of a subcarrier that sum so close to one are one: a step divides by how far they are from it."""

PAIR_COST = 0.01
"""Modelled microseconds to charge one token for one pair in one step."""


class Multipliers(NamedTuple):
    """Where the bound search stands, changed in place.

    dual_h (M_h,) prices of subcarriers; use (N, K) how much each token used each pair lately, share (N, K) its part;
    price (N, K) what each token is charged, fresh (N, K) what it will be; selected (N, K), proven (N,) its relaxed
    choice there and a bound on it; order (N, K) experts in rising price; stride (2,) the length
    of the step and the steps since the last better bound.
    """

    dual_0: Floats
    dual_1: Floats
    use: Floats
    share: Floats
    price: Floats
    fresh: Floats
    selected: Bools
    proven: Floats
    order: Ints
    stride: Floats


@allocating
def start_bound(s: State, b: Multipliers) -> None:
    """Start from the duals and the loads of a decision."""
    b.dual_0[:] = s.dual_0
    b.dual_1[:] = s.dual_1
    for n in range(b.use.shape[0]):
        for j in range(b.use.shape[1]):
            b.use[n, j] = 1.0 if s.selected[n, j] else 0.0
    b.stride[0], b.stride[1] = 1.0, 0.0


@kernel
def raise_bound(r: Round, w: Scratch, b: Multipliers, energy: float, bound: float) -> float:
    """One step: the better of `bound` and the certificate at the multipliers, which then move on.

    energy is that of the best decision known. The relaxed choice is left in b.selected.
    """
    w.spent[0] += PAIR_COST * b.use.size
    _shares(b.use, r.source, r.compute.size, b.share)
    _charge(r, b)
    value = -b.dual_0.sum()
    if r.hops == 2:
        value -= b.dual_1.sum()
    for n in range(r.source.size):
        value += _relaxed(r, w, b, n)
    b.stride[1] += 1.0
    if value > bound + 1e-4 * (energy - bound):
        b.stride[1] = 0.0
    if b.stride[1] >= PATIENCE:
        b.stride[0], b.stride[1] = b.stride[0] / 2, 0.0
    _step(r, b, b.stride[0] * max(energy - value, 0.0), energy)
    for n in range(r.source.size):
        for j in range(r.compute.size):
            b.use[n, j] = MEMORY * b.use[n, j] + (1.0 - MEMORY if b.selected[n, j] else 0.0)
    return max(bound, value)


@kernel
def _charge(r: Round, b: Multipliers) -> None:
    """What every token is charged for every pair at the multipliers, into b.fresh."""
    ideal, share, fresh = r.ideal, b.share, b.fresh
    for n in range(fresh.shape[0]):
        i = r.source[n]
        for j in range(fresh.shape[1]):
            fresh[n, j] = r.compute[j] if share[n, j] > 0.0 and j != i else ideal[i, j]
    _add_charges(r.there.column, r.there.price, b.dual_0, share, r.source, False, fresh)
    if r.hops == 2:
        _add_charges(r.back.column, r.back.price, b.dual_1, share, r.source, True, fresh)


@kernel
def _add_charges(
    column: Shorts, price: Floats, dual: Floats, share: Floats, source: Ints, back: bool, fresh: Floats
) -> None:
    """Add one hop for tokens that pay a share of their link; the others pay the ideal price already."""
    # Arrays come in one by one: taking them out of a tuple in the inner loop counts references, which costs more.
    K = fresh.shape[1]
    for n in range(source.size):
        i = source[n]
        for j in range(K):
            if share[n, j] > 0.0 and i != j:
                fresh[n, j] += charged(column, price, j * K + i if back else i * K + j, dual, share[n, j])[0]


@kernel
def _relaxed(r: Round, w: Scratch, b: Multipliers, n: int) -> float:
    """A bound on what token n pays at the multipliers, and its choice there.

    As long as no member of its set became dearer and no stranger cheaper, the set stays optimal, and its old bound
    moves with the members' prices. So does that of a frozen token, whose set never changes.
    """
    stirred, change = _take_charges(n, b.fresh, b.price, b.selected)
    if r.frozen[n] or not stirred:
        b.proven[n] += change
    else:
        reachable = sort_again(b.price, n, b.order)
        _, b.proven[n], _, _ = choose(
            r.score, n, b.price, n, b.order, reachable, r.need[n], r.limit, 0.0, r.node_limit,
            w.f, w.p, w.reach, b.selected,
        )  # fmt: skip
        w.spent[0] += search_cost(r.compute.size, r.limit, 1)
    return b.proven[n]


@kernel
def _take_charges(n: int, fresh: Floats, price: Floats, selected: Bools) -> tuple[bool, float]:
    """Charge token n anew: (whether its set may no longer be the best, how much dearer its members became)."""
    stirred, change = False, 0.0
    for j in range(price.shape[1]):
        rise = fresh[n, j] - price[n, j]
        if selected[n, j]:
            stirred = stirred or fresh[n, j] > price[n, j]
            change += rise
        else:
            stirred = stirred or fresh[n, j] < price[n, j]
        price[n, j] = fresh[n, j]
    return stirred, change


@allocating
def _shares(use: Floats, source: Ints, K: int, share: Floats) -> None:
    """Each token's part of its links: its use over the use of all tokens of the source."""
    total = np.zeros((K, K))
    for n in range(use.shape[0]):
        for j in range(K):
            total[source[n], j] += use[n, j]
    for n in range(use.shape[0]):
        for j in range(K):
            share[n, j] = use[n, j] / total[source[n], j] if use[n, j] > 0.0 else 0.0


@kernel
def charged(column: Shorts, price: Floats, row: int, dual: Floats, share: float) -> tuple[float, int]:
    """min_m (c_lm + share·λ_m) and its m. Outside the list λ ≥ 0 and c is no less than the list's last; then m = −1."""
    best, where = np.inf, -1
    last = column.shape[1] - 1
    for k in range(last + 1):
        m = column[row, k]
        if m < 0 or price[row, k] >= best:
            return best, where
        cost = price[row, k] + share * dual[m]
        if cost < best:
            best, where = cost, m
    if last + 1 < dual.size and last >= 0 and price[row, last] < best:
        return price[row, last], -1
    return best, where


@allocating
def _step(r: Round, b: Multipliers, distance: float, most: float) -> None:
    """Polyak's step: prices of subcarriers used more than once rise, up to `most`, those of unused ones fall.

    No price need exceed the energy of a whole decision, and a bound from far larger ones would be lost in rounding.
    """
    slope_0, slope_1 = np.full(b.dual_0.size, -1.0), np.full(b.dual_1.size, -1.0)
    _add_slope(r.there.column, r.there.price, b.dual_0, b.share, b.selected, r.source, False, slope_0)
    if r.hops == 2:
        _add_slope(r.back.column, r.back.price, b.dual_1, b.share, b.selected, r.source, True, slope_1)
    norm = _norm(slope_0, b.dual_0)
    if r.hops == 2:
        norm += _norm(slope_1, b.dual_1)
    if norm > 0.0:
        _move(slope_0, b.dual_0, distance / norm, most)
        if r.hops == 2:
            _move(slope_1, b.dual_1, distance / norm, most)


@kernel
def _add_slope(
    column: Shorts, price: Floats, dual: Floats, share: Floats, selected: Bools, source: Ints, back: bool, slope: Floats
) -> None:
    """Add the shares of the tokens that use each subcarrier."""
    K = selected.shape[1]
    for n in range(source.size):
        i = source[n]
        for j in range(K):
            if selected[n, j] and i != j and share[n, j] > 0.0:
                m = charged(column, price, j * K + i if back else i * K + j, dual, share[n, j])[1]
                if m >= 0:
                    slope[m] += share[n, j]


@kernel
def _norm(slope: Floats, dual: Floats) -> float:
    """Squared length of the part of the slope that can move; what is rounding becomes 0."""
    total = 0.0
    for m in range(slope.size):
        if abs(slope[m]) < NOISE:
            slope[m] = 0.0
        if dual[m] > 0.0 or slope[m] > 0.0:
            total += slope[m] * slope[m]
    return total


@kernel
def _move(slope: Floats, dual: Floats, step: float, most: float) -> None:
    for m in range(slope.size):
        dual[m] = min(max(0.0, dual[m] + step * slope[m]), most)
