"""The joint problem by trying everything: every set for every token, every placement of every busy link."""

from __future__ import annotations

from itertools import combinations, permutations, product

import numpy as np

from testbed.schedule.problem import Problem
from tests.reference.schedule_select import top_scores

Load = dict[tuple[int, int], int]


def every_choice(problem: Problem, kept: dict[int, tuple[int, ...]] | None = None) -> float:
    """Least energy over all selections and allocations; inf if nothing is feasible. Tiny problems.

    kept: token → its set, for tokens whose QoS no set meets; `hopeless` lists them.
    """
    choices = [
        [kept[n]] if kept and n in kept else fitting_sets(problem, n, reachable(problem)) for n in range(problem.tokens)
    ]
    costs = link_costs(problem)
    least: dict[tuple[tuple[tuple[int, int], int], ...], float] = {}
    best = np.inf
    for chosen in product(*choices):
        computing = sum(problem.compute_energy_j[list(s)].sum() for s in chosen)
        load: Load = {}
        for n, s in enumerate(chosen):
            for j in s:
                if j != problem.source[n]:
                    link = int(problem.source[n]), j
                    load[link] = load.get(link, 0) + 1
        key = tuple(sorted(load.items()))
        if key not in least:
            back = {(j, i): count for (i, j), count in load.items()}
            least[key] = sum(cheapest_placement(c, x) for c, x in zip(costs, (load, back), strict=False))
        best = min(best, computing + least[key])
    return float(best)


def cheapest_placement(cost: np.ndarray, load: Load) -> float:
    """Least energy of one phase over all ways to give each busy link a subcarrier of its own; cost (K, K, M)."""
    placements = permutations(range(cost.shape[2]), len(load))
    return min(
        (sum(n * cost[(*link, m)] for (link, n), m in zip(load.items(), held, strict=True)) for held in placements),
        default=np.inf,
    )


def link_costs(problem: Problem) -> list[np.ndarray]:
    """Joule per token of every directed link and subcarrier, phase by phase; inf where unusable."""
    rates = [problem.rate_bps] + ([] if problem.return_rate_bps is None else [problem.return_rate_bps])
    with np.errstate(divide="ignore"):
        return [problem.tx_power_w * problem.payload_bits / rate for rate in rates]


def reachable(problem: Problem) -> np.ndarray:
    """(K, K) pairs (source, expert) with an expert at all, and a usable subcarrier on every hop or none needed."""
    there = np.array([c.min(axis=2) < np.inf for c in link_costs(problem)])
    both = there[0] & there[-1].T if len(there) > 1 else there[0]
    return (both | np.eye(problem.nodes, dtype=bool)) & (problem.compute_energy_j < np.inf)


def fitting_sets(problem: Problem, n: int, reach: np.ndarray) -> list[tuple[int, ...]]:
    """All sets of at most D reachable experts that meet the QoS of token n."""
    experts = np.flatnonzero(reach[problem.source[n]])
    return [
        s
        for size in range(min(problem.max_experts, len(experts)) + 1)
        for s in combinations(map(int, experts), size)
        if problem.score[n, list(s)].sum() >= problem.required[n] - 1e-12
    ]


def hopeless(problem: Problem) -> dict[int, tuple[int, ...]]:
    """Tokens whose QoS no set of reachable experts meets, and the best scores that they fall back to.

    Among equal scores, the expert that would be cheaper were its link alone.
    """
    reach = reachable(problem)
    best = [c.min(axis=2) for c in link_costs(problem)]
    price = problem.compute_energy_j + (best[0] + best[1].T if len(best) > 1 else best[0])
    np.fill_diagonal(price, problem.compute_energy_j)
    lost = [n for n in range(problem.tokens) if not fitting_sets(problem, n, reach)]
    return {n: tuple(top_scores(problem.score[n], price[problem.source[n]], problem.max_experts)) for n in lost}
