"""Which subcarrier serves each link: an exact linear assignment on candidate lists.

    minimise Σ_l w_l c_l,m(l)   over injective m, for the links of weight w_l > 0

Links first bid for subcarriers on their lists (an auction without ε), and what is left waiting is placed by shortest
augmenting paths (Jonker and Volgenant, Computing 38, 1987). Column prices are never negative, so no subcarrier outside
a list can cost less than the list's last entry: when that is not enough to prove a path shortest, the full row is
looked up, and the answer stays exact.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from testbed.errors import ProblemError
from testbed.schedule.arrays import INT64, Floats, Ints, Shorts, named, place_of, real_numbers
from testbed.schedule.candidates import Candidates, all_numbers, real_matrix, unreal_cost
from testbed.schedule.compiled import kernel, sealed
from testbed.schedule.match import match
from testbed.schedule.status import Status

UNSERVED, NOT_PLAIN = -np.inf, np.nan
"""In place of a total: not every link has a subcarrier; types or numbers are to be looked at."""

OPTIMAL, _record = Status.OPTIMAL, tuple.__new__
"""Short ways to what every answer needs: a named tuple's own constructor takes half as long again."""

WEIGHT_REMEDY = "a weight must be finite and ≥ 0; 0 says idle"


class Assignment(NamedTuple):
    """One subcarrier for each link that carries something.

    A named tuple, because making a frozen dataclass takes longer than a small assignment.

    subcarrier (L,)  subcarrier of each link, −1 = idle or unserved
    total            Σ weight·cost of the served links; it is the minimum if `unserved` is empty
    duals      (M,)  price λ ≥ 0 of each subcarrier, 0 where free: Σ_l min_m (w_l·c_lm + λ_m) − Σ_m λ_m = total
    unserved         links of positive weight for which no subcarrier is left; empty unless SCARCE
    status           OPTIMAL, or SCARCE
    """

    subcarrier: Ints
    total: float
    duals: Floats
    unserved: tuple[int, ...] = ()
    status: Status = Status.OPTIMAL


def assign_subcarriers(cost: ArrayLike, weight: ArrayLike, *, candidates: Candidates | None = None) -> Assignment:
    """Cheapest subcarriers for links of given weights, exactly.

    cost (L, M) per unit of weight, inf = unusable; weight (L,) ≥ 0, 0 = idle. `candidates` are the lists of this
    same cost (`candidate_lists`): pass them, and `candidates.cost` itself, when many weights meet one channel. With
    more active links than subcarriers, or links that nothing can serve, as many links as possible are served and the
    rest are named in `unserved`. NaN, −inf, negative weights and wrong shapes are a `ProblemError`.
    """
    # Compiled code finds by itself whatever is not plain: checking here takes as long as a small assignment.
    try:
        links, subcarriers = cost.shape  # type: ignore[union-attr]
        held, duals = np.empty(links, INT64), np.empty(subcarriers)
        if candidates is None:
            total = _assign_anew.call(cost, weight, held, duals)
        elif candidates.cost is cost:
            _, column, price, order = candidates
            total = _assign_known.call(cost, column, price, order, weight, held, duals)
        else:
            total = NOT_PLAIN
    except (AttributeError, TypeError, ValueError):
        total = NOT_PLAIN
    if total > UNSERVED:
        return _record(Assignment, (held, total, duals, (), OPTIMAL))
    if total == UNSERVED:
        return _short(cost, weight, held, duals)  # type: ignore[arg-type]
    return _assign_checked(cost, weight, candidates)


def assign_many(candidates: Candidates, weights: ArrayLike) -> tuple[Ints, Floats]:
    """The assignments of many weight vectors (B, L) over one channel: subcarriers (B, L) and totals (B,).

    A total is inf where some link cannot be served. Nothing is looked up between them but the lists.
    """
    weights = real_numbers("weights", weights)
    if weights.ndim != 2 or weights.shape[1] != len(candidates.cost):
        raise ProblemError(f"weights has shape {weights.shape}; it must be (B, {len(candidates.cost)})")
    if weights.size and not (weights.min() >= 0.0 and weights.max() < np.inf):
        place = place_of(~((weights >= 0.0) & (weights < np.inf)))
        raise ProblemError(f"{named('weights', weights, place)}: {WEIGHT_REMEDY}")
    return _assign_all(candidates, weights)


@sealed
def _assign_anew(cost: Floats, weight: Floats, held: Ints, duals: Floats) -> float:
    """The total of the cheapest assignment, UNSERVED or NOT_PLAIN; by full rows, as one call does not earn lists."""
    if weight.size != cost.shape[0] or not all_numbers(cost):
        return NOT_PLAIN
    column, price = held[:0].view(np.int32).reshape((weight.size, 0)), weight[:0].reshape((weight.size, 0))
    return _total(Candidates(cost, column, price, np.arange(weight.size)), weight, held, duals)


@sealed
def _assign_known(
    cost: Floats, column: Shorts, price: Floats, order: Ints, weight: Floats, held: Ints, duals: Floats
) -> float:
    """The same by lists, which come one by one: a named tuple costs a call from Python more than all else."""
    return _total(Candidates(cost, column, price, order), weight, held, duals)


@kernel
def _total(lists: Candidates, weight: Floats, held: Ints, duals: Floats) -> float:
    if weight.size != lists.cost.shape[0]:
        return NOT_PLAIN
    for w in weight:
        if not 0.0 <= w < np.inf:
            return NOT_PLAIN
    total, missing = match(lists, weight, held, duals)
    return total if missing == 0 else UNSERVED


@kernel
def _assign_all(lists: Candidates, weights: Floats) -> tuple[Ints, Floats]:
    subcarrier, totals = np.empty(weights.shape, dtype=np.int64), np.empty(weights.shape[0])
    duals = np.empty(lists.cost.shape[1])
    for b in range(weights.shape[0]):
        total, missing = match(lists, weights[b], subcarrier[b], duals)
        totals[b] = total if missing == 0 else np.inf
    return subcarrier, totals


def _assign_checked(cost: ArrayLike, weight: ArrayLike, candidates: Candidates | None) -> Assignment:
    """The same for whatever is not plain: other types, wrong numbers."""
    weight = real_numbers("weight", weight)
    cost = real_matrix("cost", cost) if candidates is None else _listed_cost(cost, candidates)
    links, subcarriers = cost.shape
    if weight.shape != (links,):
        raise ProblemError(f"weight has shape {weight.shape}; it must be ({links},), one weight a link")
    held, duals = np.empty(links, INT64), np.empty(subcarriers)
    if candidates is None:
        total = _assign_anew.open(cost, weight, held, duals)
    else:
        total = _assign_known.open(cost, *candidates[1:], weight, held, duals)
    if total > UNSERVED:
        return Assignment(held, total, duals)
    _refuse(cost, weight)
    return _short(cost, weight, held, duals)


def _short(cost: Floats, weight: Floats, held: Ints, duals: Floats) -> Assignment:
    """What to say when some links have no subcarrier."""
    served = held >= 0
    total = float(weight[served] @ cost[served, held[served]])
    unserved = tuple(int(link) for link in np.flatnonzero((weight > 0) & ~served))
    return Assignment(held, total, duals, unserved, Status.SCARCE)


def _listed_cost(cost: ArrayLike, lists: Candidates) -> Floats:
    if not isinstance(lists, Candidates):
        raise ProblemError(f"candidates = {lists!r:.80}: give what candidate_lists(cost) returned")
    if cost is not lists.cost and not np.array_equal(real_matrix("cost", cost), lists.cost):
        raise ProblemError("cost is not the one that candidates belong to; make them anew with candidate_lists(cost)")
    return lists.cost


def _refuse(cost: Floats, weight: Floats) -> None:
    """Name the entry that is no legal number, if there is one."""
    wrong = ~((weight >= 0.0) & (weight < np.inf))
    if wrong.any():
        raise ProblemError(f"{named('weight', weight, place_of(wrong))}: {WEIGHT_REMEDY}")
    if not all_numbers(cost):
        raise ProblemError(unreal_cost(cost))
