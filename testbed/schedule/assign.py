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
from testbed.schedule.candidates import Candidates, fill_lists, real_matrix, unreal_cost
from testbed.schedule.compiled import kernel
from testbed.schedule.match import match
from testbed.schedule.status import Status

BAD_WEIGHT, BAD_COST = -1, -2
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
    weight = real_numbers("weight", weight)
    lists = candidates
    if lists is None:
        cost = real_matrix("cost", cost)
    else:
        if type(lists) is not Candidates or cost is not lists.cost:
            _check_same(cost, lists)
        cost = lists.cost
    links, subcarriers = cost.shape
    if weight.shape != (links,):
        raise ProblemError(f"weight has shape {weight.shape}; it must be ({links},), one weight a link")
    subcarrier, duals = np.empty(links, INT64), np.empty(subcarriers)
    if lists is None:
        total, missing = _assign_anew(cost, weight, subcarrier, duals)
    else:
        # Arrays one by one: a named tuple costs a call from Python more than the whole of a small assignment.
        total, missing = _assign_known(cost, lists.column, lists.price, lists.order, weight, subcarrier, duals)
    if missing == 0:
        return Assignment(subcarrier, total, duals)
    if missing < 0:
        _refuse(cost, weight, missing)
    unserved = tuple(int(link) for link in np.flatnonzero((weight > 0) & (subcarrier < 0)))
    return Assignment(subcarrier, total, duals, unserved, Status.SCARCE)


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


@kernel
def _assign_anew(cost: Floats, weight: Floats, held: Ints, duals: Floats) -> tuple[float, int]:
    """Assign by full rows, since one assignment does not earn the lists; less than 0 links missing is a complaint."""
    column, price, sound = fill_lists(cost, 0)
    if not sound:
        return 0.0, BAD_COST
    return _assign_known(cost, column, price, np.arange(weight.size), weight, held, duals)


@kernel
def _assign_known(
    cost: Floats, column: Shorts, price: Floats, order: Ints, weight: Floats, held: Ints, duals: Floats
) -> tuple[float, int]:
    for w in weight:
        if not 0.0 <= w < np.inf:
            return 0.0, BAD_WEIGHT
    return match(Candidates(cost, column, price, order), weight, held, duals)


@kernel
def _assign_all(lists: Candidates, weights: Floats) -> tuple[Ints, Floats]:
    subcarrier, totals = np.empty(weights.shape, dtype=np.int64), np.empty(weights.shape[0])
    duals = np.empty(lists.cost.shape[1])
    for b in range(weights.shape[0]):
        total, missing = match(lists, weights[b], subcarrier[b], duals)
        totals[b] = total if missing == 0 else np.inf
    return subcarrier, totals


def _check_same(cost: ArrayLike, lists: Candidates) -> None:
    if not isinstance(lists, Candidates):
        raise ProblemError(f"candidates = {lists!r:.80}: give what candidate_lists(cost) returned")
    if not np.array_equal(real_matrix("cost", cost), lists.cost):
        raise ProblemError("cost is not the one that candidates belong to; make them anew with candidate_lists(cost)")


def _refuse(cost: Floats, weight: Floats, why: int) -> None:
    """Name the entry that is no legal number."""
    if why == BAD_WEIGHT:
        place = place_of(~((weight >= 0.0) & (weight < np.inf)))
        raise ProblemError(f"{named('weight', weight, place)}: {WEIGHT_REMEDY}")
    raise ProblemError(unreal_cost(cost))
