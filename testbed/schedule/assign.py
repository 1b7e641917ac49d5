"""Which subcarrier serves each link: an exact linear assignment on candidate lists.

    minimise Σ_l w_l c_l,m(l)   over injective m, for the links of weight w_l > 0

Links first bid for subcarriers on their lists (an auction without ε), and what is left waiting is placed by shortest
augmenting paths (Jonker and Volgenant, Computing 38, 1987). Column prices are never negative, so no subcarrier outside
a list can cost less than the list's last entry: when that is not enough to prove a path shortest, the full row is
looked up, and the answer stays exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from testbed.errors import ProblemError
from testbed.schedule.arrays import Floats, Ints, Shorts
from testbed.schedule.augment import assign_rows
from testbed.schedule.candidates import Candidates, fill_lists, list_width
from testbed.schedule.compiled import kernel
from testbed.schedule.status import Status

SHORT_ROW = 512
"""Up to so many subcarriers, full rows are read each time: lists would cost more than they save in one assignment."""

BAD_WEIGHT, BAD_COST = -1, -2


@dataclass(frozen=True, eq=False)
class Assignment:
    """One subcarrier for each link that carries something.

    subcarrier (L,)  subcarrier of each link, −1 = idle or unserved
    total            Σ weight·cost of the served links; it is the minimum if `unserved` is empty
    duals      (M,)  price λ ≥ 0 of each subcarrier, 0 where free: Σ_l min_m (w_l·c_lm + λ_m) − Σ_m λ_m = total
    unserved         links of positive weight for which no subcarrier is left; empty unless SCARCE
    status           OPTIMAL, or SCARCE
    """

    subcarrier: Ints
    total: float
    duals: Floats
    unserved: tuple[int, ...]
    status: Status


def assign_subcarriers(cost: ArrayLike, weight: ArrayLike, *, candidates: Candidates | None = None) -> Assignment:
    """Cheapest subcarriers for links of given weights, exactly.

    cost (L, M) per unit of weight, inf = unusable; weight (L,) ≥ 0, 0 = idle. `candidates` are the lists of this
    same cost (`candidate_lists`): pass them when many weights meet one channel. With more active links than
    subcarriers, or links that nothing can serve, as many links as possible are served and the rest are named in
    `unserved`. NaN, negative weights and wrong shapes are a `ProblemError`.
    """
    weight = np.ascontiguousarray(weight, dtype=np.float64)
    if candidates is None:
        cost = np.ascontiguousarray(cost, dtype=np.float64)
        _check_shapes(cost, weight)
        subcarrier, duals, total, missing = _assign_anew(cost, weight)
    else:
        cost = candidates.cost
        _check_shapes(cost, weight)
        subcarrier, duals, total, missing = _assign_known(cost, candidates.column, candidates.price, weight)
    if missing == 0:
        return Assignment(subcarrier, total, duals, (), Status.OPTIMAL)
    if missing < 0:
        _refuse(cost, weight, missing)
    unserved = tuple(int(link) for link in np.flatnonzero((weight > 0) & (subcarrier < 0)))
    return Assignment(subcarrier, total, duals, unserved, Status.SCARCE)


def assign_many(candidates: Candidates, weights: ArrayLike) -> tuple[Ints, Floats]:
    """The assignments of many weight vectors (B, L) over one channel: subcarriers (B, L) and totals (B,).

    A total is inf where some link cannot be served. Nothing is looked up between them but the lists.
    """
    weights = np.ascontiguousarray(weights, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[1] != len(candidates.cost):
        raise ProblemError(f"weights has shape {weights.shape}; it must be (B, {len(candidates.cost)})")
    if weights.size and not (weights.min() >= 0.0 and weights.max() < np.inf):
        raise ProblemError("weights must be finite and ≥ 0; 0 says idle")
    return _assign_all(candidates.cost, candidates.column, candidates.price, weights)


@kernel
def _assign_anew(cost: Floats, weight: Floats) -> tuple[Ints, Floats, float, int]:
    """Assign without lists at hand; a negative number of missing links says what was wrong."""
    width = 0 if cost.shape[1] <= SHORT_ROW else list_width(cost.shape[0], cost.shape[1])
    column, price, sound = fill_lists(cost, width)
    if not sound:
        return np.empty(0, dtype=np.int64), np.empty(0), 0.0, BAD_COST
    return _assign_known(cost, column, price, weight)


@kernel
def _assign_known(cost: Floats, column: Shorts, price: Floats, weight: Floats) -> tuple[Ints, Floats, float, int]:
    for w in weight:
        if not 0.0 <= w < np.inf:
            return np.empty(0, dtype=np.int64), np.empty(0), 0.0, BAD_WEIGHT
    return assign_rows(cost, column, price, weight, np.arange(weight.size))


@kernel
def _assign_all(cost: Floats, column: Shorts, price: Floats, weights: Floats) -> tuple[Ints, Floats]:
    subcarrier, totals = np.empty(weights.shape, dtype=np.int64), np.empty(weights.shape[0])
    order = np.arange(weights.shape[1])
    for b in range(weights.shape[0]):
        held, _, total, missing = assign_rows(cost, column, price, weights[b], order)
        subcarrier[b] = held
        totals[b] = total if missing == 0 else np.inf
    return subcarrier, totals


def _check_shapes(cost: Floats, weight: Floats) -> None:
    if cost.ndim != 2:
        raise ProblemError(f"cost has shape {cost.shape}; it must be (L, M), a cost for each link and subcarrier")
    if weight.shape != cost.shape[:1]:
        raise ProblemError(f"weight has shape {weight.shape}; it must be ({len(cost)},), one weight a link")


def _refuse(cost: Floats, weight: Floats, why: int) -> None:
    """Name the entry that is no legal number."""
    if why == BAD_WEIGHT:
        link = int(np.flatnonzero(~((weight >= 0.0) & (weight < np.inf)))[0])
        raise ProblemError(f"weight[{link}] = {weight[link]}: a weight must be finite and ≥ 0; 0 says idle")
    link, m = (int(k) for k in np.argwhere(~(cost > -np.inf))[0])
    raise ProblemError(f"cost[{link}, {m}] = {cost[link, m]}: give a number, or inf for an unusable subcarrier")
