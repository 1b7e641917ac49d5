"""Which subcarrier serves each link: an exact linear assignment on candidate lists.

    minimise Σ_l w_l c_l,m(l)   over injective m, for the links of weight w_l > 0

Links first bid for subcarriers on their lists (an auction without ε), and what is left waiting is placed by shortest
augmenting paths (Jonker and Volgenant, Computing 38, 1987). Column prices are never negative, so no subcarrier outside
a list can cost less than the list's last entry: when that is not enough to prove a path shortest, the full row is
looked up, and the answer stays exact.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba.np.numpy_support import carray
from numpy.typing import ArrayLike

from testbed.compiled import cache_folder
from testbed.errors import ProblemError
from testbed.schedule import direct
from testbed.schedule.arrays import INT64, Floats, Ints, named, place_of, real_numbers
from testbed.schedule.candidates import Candidates, all_numbers, real_matrix, unreal_cost
from testbed.schedule.compiled import allocating, c_function, kernel
from testbed.schedule.match import match
from testbed.schedule.status import Status

UNSERVED, NOT_A_NUMBER = -np.inf, np.nan
"""In place of a total: not every link has a subcarrier; some weight or cost is no legal number."""

WEIGHT_REMEDY = "a weight must be finite and ≥ 0; 0 says idle"


class Assignment(NamedTuple):
    """One subcarrier for each link that carries something.

    A named tuple, because making a frozen dataclass takes longer than a small assignment. `direct.c` knows its fields.

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
    found = _short_way(cost, weight, candidates)
    return _assign_checked(cost, weight, candidates) if found is None else found


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
def _assign(lists: Candidates, weight: Floats, held: Ints, duals: Floats) -> float:
    """The total of the cheapest assignment, UNSERVED or NOT_A_NUMBER; held (L,) and duals (M,) are filled."""
    for w in weight:
        if not 0.0 <= w < np.inf:
            return NOT_A_NUMBER
    total, missing = match(lists, weight, held, duals)
    return total if missing == 0 else UNSERVED


@allocating
def _assign_anew(cost: Floats, weight: Floats, held: Ints, duals: Floats) -> float:
    """The same by full rows, as one call does not earn lists."""
    if not all_numbers(cost):
        return NOT_A_NUMBER
    # Views of nothing, which cost less than empty arrays.
    column, price = held[:0].view(np.int32).reshape((weight.size, 0)), weight[:0].reshape((weight.size, 0))
    return _assign(Candidates(cost, column, price, np.arange(weight.size)), weight, held, duals)


@allocating
def _assign_all(lists: Candidates, weights: Floats) -> tuple[Ints, Floats]:
    subcarrier, totals = np.empty(weights.shape, dtype=np.int64), np.empty(weights.shape[0])
    duals = np.empty(lists.cost.shape[1])
    for b in range(weights.shape[0]):
        total, missing = match(lists, weights[b], subcarrier[b], duals)
        totals[b] = total if missing == 0 else np.inf
    return subcarrier, totals


def _assign_checked(cost: ArrayLike, weight: ArrayLike, candidates: Candidates | None) -> Assignment:
    """The same for whatever is not plain: other types, wrong numbers, and a first call."""
    weight = real_numbers("weight", weight)
    cost = real_matrix("cost", cost) if candidates is None else _listed_cost(cost, candidates)
    if weight.shape != cost.shape[:1]:
        raise ProblemError(f"weight has shape {weight.shape}; it must be ({len(cost)},), one weight a link")
    _open_short_way()
    for way in (_short_way, _assign_by_numba):
        found = way(cost, weight, candidates)
        if found is not None:
            return found
    raise ProblemError(_illegal(cost, weight))


def _assign_by_numba(cost: Floats, weight: Floats, lists: Candidates | None) -> Assignment | None:
    """What `direct.c` does, for those who have no C compiler, and for odd lists."""
    held, duals = np.empty(cost.shape[0], INT64), np.empty(cost.shape[1])
    total = _assign_anew(cost, weight, held, duals) if lists is None else _assign(lists, weight, held, duals)
    if total > UNSERVED:
        return Assignment(held, total, duals)
    return _short(cost, weight, held, duals) if total == UNSERVED else None


def _no_way(*_arguments: object) -> Assignment | None:
    """The short way before it is opened, and where it cannot be."""
    return None


_short_way: Callable[..., Assignment | None] = _no_way


@cache
def _open_short_way() -> None:
    """Have `direct.c` call `_assign_at` for all plain arrays from now on."""
    global _short_way
    kept = cache_folder(_assign)
    module = None if kept is None else direct.load(kept)
    if module is not None:
        kernel_at = c_function(SIGNATURE)(_assign_at)
        module.prepare(kernel_at.address, kernel_at, Assignment, Status.OPTIMAL, _short)
        _short_way = module.assign


Address = Any
SIGNATURE = (
    "float64(CPointer(float64), intp, intp, CPointer(int32), CPointer(float64), intp, CPointer(int64), "
    "CPointer(float64), CPointer(int64), CPointer(float64))"
)


def _assign_at(
    cost: Address,
    links: int,
    subcarriers: int,
    column: Address,
    price: Address,
    width: int,
    order: Address,
    weight: Address,
    held: Address,
    duals: Address,
) -> float:
    """`_assign` for `direct.c`: addresses of C-ordered arrays, and their sizes. Without lists the width is −1."""
    costs, weights = carray(cost, (links, subcarriers)), carray(weight, links)
    hold, prices = carray(held, links), carray(duals, subcarriers)
    if width < 0:
        return _assign_anew(costs, weights, hold, prices)
    shape = links, width
    lists = Candidates(costs, carray(column, shape), carray(price, shape), carray(order, links))
    return _assign(lists, weights, hold, prices)


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


def _illegal(cost: Floats, weight: Floats) -> str:
    """What to say of the first entry that is no legal number."""
    wrong = ~((weight >= 0.0) & (weight < np.inf))
    return f"{named('weight', weight, place_of(wrong))}: {WEIGHT_REMEDY}" if wrong.any() else unreal_cost(cost)
