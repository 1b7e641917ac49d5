"""Which subcarrier serves each link: an exact linear assignment on candidate lists.

    minimise Σ_l w_l c_l,m(l)   over injective m, for the links of weight w_l > 0

One shortest augmenting path per link (Jonker and Volgenant, Computing 38, 1987), run on the lists of cheapest
subcarriers. Column prices are never negative, so no subcarrier outside a list can cost less than the list's last
entry: when that is not enough to prove a path shortest, the full row is looked up, and the answer stays exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from testbed.errors import ProblemError
from testbed.schedule.augment import assign_rows
from testbed.schedule.candidates import Candidates, candidate_lists
from testbed.schedule.status import Status

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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
    if candidates is None:
        candidates = candidate_lists(_costs(cost))
    weight = _weights(weight, candidates.cost.shape[0])
    subcarrier, duals, total, missing = assign_rows(
        candidates.cost, candidates.column, candidates.price, weight, np.arange(weight.size)
    )
    if not missing:
        return Assignment(subcarrier, total, duals, (), Status.OPTIMAL)
    unserved = tuple(int(link) for link in np.flatnonzero((weight > 0) & (subcarrier < 0)))
    return Assignment(subcarrier, total, duals, unserved, Status.SCARCE)


def _costs(value: ArrayLike) -> Floats:
    cost = np.ascontiguousarray(value, dtype=np.float64)
    if cost.ndim != 2:
        raise ProblemError(f"cost has shape {cost.shape}; it must be (L, M), a cost for each link and subcarrier")
    # The minimum is NaN or −inf exactly when an entry is.
    if cost.size and not cost.min() > -np.inf:
        link, m = (int(k) for k in np.argwhere(~(cost > -np.inf))[0])
        raise ProblemError(f"cost[{link}, {m}] = {cost[link, m]}: give a number, or inf for an unusable subcarrier")
    return cost


def _weights(value: ArrayLike, links: int) -> Floats:
    weight = np.ascontiguousarray(value, dtype=np.float64)
    if weight.shape != (links,):
        raise ProblemError(f"weight has shape {weight.shape}; it must be ({links},), one weight a link")
    if links and not (weight.min() >= 0.0 and weight.max() < np.inf):
        link = int(np.flatnonzero(~((weight >= 0.0) & (weight < np.inf)))[0])
        raise ProblemError(f"weight[{link}] = {weight[link]}: a weight must be finite and ≥ 0; 0 says idle")
    return weight
