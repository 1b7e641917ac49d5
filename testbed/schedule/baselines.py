"""The schemes that JESA is compared with, all on the same problem.

Their definitions are inferred from the paper's abstract and from summaries by others, except Top-k and random.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from testbed.errors import ProblemError
from testbed.schedule.arrays import Bools, Floats, Ints
from testbed.schedule.jesa import jesa
from testbed.schedule.problem import Decision, Problem
from testbed.schedule.serve import best_hops, decide, hop_prices, link_prices, pair_prices, select_at
from testbed.schedule.shed import served_somewhere, shed
from testbed.schedule.status import Status


def top_k(problem: Problem, k: int) -> Decision:
    """The k best scores among the reachable experts, blind to energy; subcarriers by assignment, to be fair."""
    if k < 1:
        raise ProblemError(f"k = {k}: Top-k needs k ≥ 1")
    price = _reachable_prices(problem)
    return _ruled(problem, _first(np.lexsort((price, -problem.score), axis=-1), price, k))


def channel_only(problem: Problem, k: int | None = None) -> Decision:
    """The k experts that cost least to reach (D by default), blind to scores: the communication-only extreme."""
    link = link_prices(best_hops(problem))
    link[:, ~np.isfinite(problem.compute_energy_j)] = np.inf
    price = link[problem.source]
    return _ruled(problem, _first(np.argsort(price, axis=1, kind="stable"), price, k or problem.max_experts))


def best_single(problem: Problem) -> Decision:
    """One expert for everybody: the one of the largest score sum; tokens that cannot reach it stay local."""
    price = _reachable_prices(problem)
    score = np.where(np.isfinite(price), problem.score, 0.0)
    selected = np.zeros(score.shape, dtype=np.bool_)
    if problem.tokens:
        selected[:, int(np.argmax(score.sum(axis=0)))] = True
    selected &= np.isfinite(price)
    return _ruled(problem, _never_empty(problem, selected))


def random_experts(problem: Problem, seed: int = 0) -> Decision:
    """D reachable experts drawn at random for each token."""
    price = _reachable_prices(problem)
    draw = np.random.default_rng(seed).random(price.shape)
    return _ruled(
        problem,
        _first(np.argsort(draw + np.where(np.isfinite(price), 0, 2), axis=1), price, problem.max_experts),
    )


def homogeneous(problem: Problem, z: float | None = None) -> Decision:
    """H(z, D): every token and layer is held to the same score sum z (by default the highest qos of the problem)."""
    if z is None:
        z = float(np.max(problem.required, initial=0.0))
    return jesa(problem.with_tokens(problem.score, problem.source, z))


def lower_bound(problem: Problem) -> Decision:
    """LB(γ0, D): every link on its own best subcarrier, shared or not. No radio can run it."""
    hops = best_hops(problem)
    chosen = select_at(problem, pair_prices(problem, hops))
    own_best = tuple(phase.column[:, 0].astype(np.int64) for phase in problem.phases)
    bound = float(chosen.bound_j.sum())
    return decide(problem, chosen.selected, bound, chosen.relaxed, Status.NOT_RUNNABLE, subcarriers=own_best)


def des_fixed(problem: Problem, seed: int = 0) -> Decision:
    """DES on a fixed allocation: every directed link holds a random subcarrier of its own, as far as they last."""
    rng = np.random.default_rng(seed)
    fixed = tuple(_random_allocation(phase.cost, problem.nodes, rng) for phase in problem.phases)
    floor = select_at(problem, pair_prices(problem, best_hops(problem)))
    chosen = select_at(problem, pair_prices(problem, hop_prices(problem, fixed)))
    status = Status.RULE if (chosen.relaxed == floor.relaxed).all() else Status.SCARCE
    bound = float(floor.bound_j.sum())
    return decide(problem, chosen.selected, bound, chosen.relaxed, status, subcarriers=fixed)


def _random_allocation(cost: Floats, nodes: int, rng: np.random.Generator) -> Ints:
    links = np.flatnonzero(~np.eye(nodes, dtype=bool).ravel())
    subcarrier = np.full(nodes * nodes, -1, dtype=np.int64)
    served = rng.permutation(links)[: cost.shape[1]]
    subcarrier[served] = rng.permutation(cost.shape[1])[: served.size]
    subcarrier[served[~np.isfinite(cost[served, subcarrier[served]])]] = -1
    return subcarrier


def _reachable_prices(problem: Problem) -> Floats:
    """(N, K) energy of each expert for each token were all links alone; inf = unreachable."""
    price = pair_prices(problem, best_hops(problem))
    price[~served_somewhere(problem)] = np.inf
    return price[problem.source]


def _first(order: NDArray[np.intp], price: Floats, k: int) -> Bools:
    """The first k of each row of `order` that are reachable."""
    reachable = np.take_along_axis(np.isfinite(price), order, axis=1)
    kept = reachable & (np.cumsum(reachable, axis=1) <= k)
    selected = np.zeros(price.shape, dtype=np.bool_)
    np.put_along_axis(selected, order, kept, axis=1)
    return selected


def _never_empty(problem: Problem, selected: Bools) -> Bools:
    empty = ~selected.any(axis=1) & np.isfinite(problem.compute_energy_j[problem.source])
    selected[empty, problem.source[empty]] = True
    return selected


def _ruled(problem: Problem, selected: Bools) -> Decision:
    floor = select_at(problem, pair_prices(problem, best_hops(problem)))
    kept, lost = shed(problem, selected)
    status = Status.SCARCE if lost.any() else Status.RULE
    return decide(problem, kept, float(floor.bound_j.sum()), floor.relaxed, status)
