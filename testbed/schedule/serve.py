"""From a selection to a runnable decision: loads of links, their subcarriers, prices, energies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from testbed.schedule.assign import Assignment, assign_subcarriers
from testbed.schedule.compiled import kernel

if TYPE_CHECKING:
    from testbed.schedule.problem import Problem

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@kernel
def loads(selected, source):
    """(K, K) tokens that source i sends to expert j; the diagonal counts those that stay."""
    tokens, nodes = selected.shape
    load = np.zeros((nodes, nodes))
    for n in range(tokens):
        for j in range(nodes):
            if selected[n, j]:
                load[source[n], j] += 1.0
    return load


def allocate(problem: Problem, weight: Floats) -> tuple[Assignment, ...]:
    """Assign subcarriers in every phase to pairs (source, expert) of the given weights (K, K).

    The return phase carries the result of pair (i, j) over the directed link j→i.
    """
    apart = weight.copy()
    np.fill_diagonal(apart, 0.0)
    rows = (apart.ravel(), apart.T.ravel())
    return tuple(
        assign_subcarriers(phase.cost, row, candidates=phase) for phase, row in zip(problem.phases, rows, strict=False)
    )


def hop_prices(problem: Problem, assignments: tuple[Assignment, ...]) -> tuple[Floats, ...]:
    """Joule per token of each directed link (from, to) on its own subcarrier, in each phase; inf where it has none."""
    K = problem.nodes
    hops = []
    for phase, assignment in zip(problem.phases, assignments, strict=True):
        price = np.full(K * K, np.inf)
        served = np.flatnonzero(assignment.subcarrier >= 0)
        price[served] = phase.cost[served, assignment.subcarrier[served]]
        hops.append(price.reshape(K, K))
    return tuple(hops)


def pair_prices(problem: Problem, hops: tuple[Floats, ...]) -> Floats:
    """(K, K) joule of one token of source i at expert j: computing, and every hop unless i = j."""
    there = hops[0] if len(hops) == 1 else hops[0] + hops[1].T
    there = there.copy()
    np.fill_diagonal(there, 0.0)
    return there + problem.compute_energy_j


def best_hops(problem: Problem) -> tuple[Floats, ...]:
    """Joule per token of each directed link on its own best subcarrier: what it would cost were it alone."""
    K = problem.nodes
    return tuple(phase.price[:, 0].reshape(K, K) for phase in problem.phases)


def energies(problem: Problem, load: Floats, hops: tuple[Floats, ...]) -> tuple[Floats, Floats]:
    """(communication (K, K) per pair over all hops, computation (K,)) of the given loads, joule."""
    there = hops[0] if len(hops) == 1 else hops[0] + hops[1].T
    carried = load.copy()
    np.fill_diagonal(carried, 0.0)
    communication = np.zeros_like(carried)
    np.multiply(carried, there, out=communication, where=carried > 0)
    used = load.sum(axis=0)
    computation = np.zeros(problem.nodes)
    np.multiply(used, problem.compute_energy_j, out=computation, where=used > 0)
    return communication, computation
