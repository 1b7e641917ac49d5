"""How few links the tokens of each source can do with, where links outnumber subcarriers.

A token needs D experts at most that bring its score sum; a set of experts that holds one such choice for every token
of a source covers it. The least covers of the sources do not depend on each other, and each is a small integer
program. Together they need a subcarrier a link: more than there are prove that nothing is feasible.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse.csgraph import maximum_bipartite_matching

from testbed.schedule.arrays import Bools, Floats
from testbed.schedule.problem import Problem
from testbed.schedule.select import Selection

NODES = 20
"""Search nodes that a source may take: bounds hardly move after them (32 tokens, 32 experts: one node, 0.13 s)."""

WHOLE = 1e-6
"""Integer programs miss whole numbers by so much."""


@dataclass(frozen=True, eq=False)
class Cover:
    """What the covers of all sources say.

    fewest  a lower bound on the links of any choice that meets every QoS
    choice  (N, K) bool, sets that meet every QoS over few links; None where the node limit came before one was found
    """

    fewest: int
    choice: Bools | None


def cover(problem: Problem, floor: Selection, reachable: Bools, enough: int) -> Cover:
    """Few links that serve all tokens, source by source, until their bound passes `enough`.

    floor is the relaxation: tokens relaxed there keep their set. reachable (K, K): experts of finite price.
    """
    fewest, choice, complete = 0, floor.selected & floor.relaxed[:, None], True
    for i in np.unique(problem.source):
        mine = problem.source == i
        asking = np.flatnonzero(mine & ~floor.relaxed & (problem.needs > 0))
        held = choice[mine].any(axis=0)
        links, sets = _cover_source(problem, int(i), problem.score[asking], problem.needs[asking], reachable[i], held)
        fewest += links
        if fewest > enough:
            return Cover(fewest, None)
        if sets is None:
            complete = False
        else:
            choice[asking] = sets
    return Cover(fewest, choice if complete else None)


def _cover_source(
    problem: Problem, i: int, score: Floats, need: Floats, reachable: Bools, held: Bools
) -> tuple[int, Bools | None]:
    """A lower bound on the links of source i, and sets (n, K) of its tokens over few links, if some were found.

    Variables: which experts are open (K,), those of `held` at least, then which each token uses (n, K).
    """
    n, K = score.shape
    away = np.arange(K) != i
    if n == 0:
        return int((held & away).sum()), np.zeros((0, K), np.bool_)
    nothing, tokens, experts = sparse.csr_array((n, K)), sparse.eye_array(n), sparse.eye_array(K)
    sums = sparse.hstack([nothing, sparse.block_diag(list(score[:, None, :]))])
    sizes = sparse.hstack([nothing, sparse.kron(tokens, np.ones((1, K)))])
    is_open = sparse.hstack([sparse.kron(np.ones((n, 1)), experts), -sparse.eye_array(n * K)])
    found = milp(
        np.concatenate([away, np.zeros(n * K)]),
        integrality=np.ones(K + n * K),
        bounds=Bounds(np.concatenate([held, np.zeros(n * K)]), np.tile(reachable | held, n + 1)),
        constraints=[
            LinearConstraint(sums, need, np.inf),
            LinearConstraint(sizes, -np.inf, problem.max_experts),
            LinearConstraint(is_open, 0.0, np.inf),
        ],
        options={"node_limit": NODES},
    )
    links = int(np.ceil((found.mip_dual_bound or 0.0) - WHOLE))
    if found.x is None:
        return links, None
    sets = found.x[K:].reshape(n, K) > 0.5
    met = (score * sets).sum(axis=1) >= need  # by our own sums: programs meet it within a tolerance
    return links, sets if met.all() else None


def pairs_used(problem: Problem, choice: Bools) -> Bools:
    """(K, K) bool: the links, source to expert, that a choice (N, K) uses."""
    used = np.zeros((problem.nodes, problem.nodes), dtype=np.bool_)
    np.logical_or.at(used, problem.source, choice)
    np.fill_diagonal(used, False)
    return used


def can_be_served(problem: Problem, used: Bools) -> bool:
    """Whether in every phase each link in use (K, K) can get a usable subcarrier of its own."""
    source, expert = np.nonzero(used)
    for hop, phase in enumerate(problem.phases):
        cost = phase.cost.reshape(problem.nodes, problem.nodes, -1)
        usable = np.isfinite(cost[source, expert] if hop == 0 else cost[expert, source])
        if (maximum_bipartite_matching(sparse.csr_array(usable), perm_type="column") < 0).any():
            return False
    return True
