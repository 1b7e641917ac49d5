"""The joint problem by trying everything: every set for every token, every placement of every busy link."""

from __future__ import annotations

from itertools import combinations, permutations, product

import numpy as np

from testbed.schedule.problem import Problem


def every_choice(problem: Problem) -> float:
    """Least energy over all selections and allocations; inf if nothing is feasible. Tiny problems, forward hop only.

    Tokens whose QoS no set of reachable experts meets must be kept out by the caller.
    """
    K, M = problem.nodes, problem.rate_bps.shape[2]
    sets = [s for size in range(1, problem.max_experts + 1) for s in combinations(range(K), size)]
    fitting = [
        [s for s in sets if problem.score[n, list(s)].sum() >= problem.required[n] - 1e-12]
        for n in range(problem.tokens)
    ]
    with np.errstate(divide="ignore"):
        cost = problem.tx_power_w * problem.payload_bits / problem.rate_bps
    best = np.inf
    for chosen in product(*fitting):
        computing = sum(problem.compute_energy_j[list(s)].sum() for s in chosen)
        load: dict[tuple[int, int], int] = {}
        for n, s in enumerate(chosen):
            for j in s:
                if j != problem.source[n]:
                    link = int(problem.source[n]), j
                    load[link] = load.get(link, 0) + 1
        if len(load) > M:
            continue
        for held in permutations(range(M), len(load)):
            sent = sum(count * cost[(*link, m)] for (link, count), m in zip(load.items(), held, strict=True))
            best = min(best, computing + sent)
    return float(best)
