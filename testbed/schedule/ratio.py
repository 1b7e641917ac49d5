"""The plain search, as the paper's abstract suggests it: ratio order and a linear bound without the limit D; compiled.

Kept for comparison figures. Experts are tried in rising energy per score; the bound of a node takes the next experts
in that order until the missing score is met, the last one in part. Depth first, joiners before leavers (inferred).
"""

from __future__ import annotations

import numpy as np

from testbed.schedule.arrays import Bools, Floats, Ints
from testbed.schedule.branch import EXACT, LIMITED, RELAXED, marked_energy, take_best_scores
from testbed.schedule.compiled import kernel
from testbed.schedule.lagrange import ROUNDING

RANKED, PATH = 0, 1


@kernel
def choose_plain(
    score: Floats,
    n: int,
    energy: Floats,
    line: int,
    order: Ints,
    reachable: int,
    need: float,
    limit: int,
    gap: float,
    node_limit: int,
    path: Ints,
    selected: Bools,
) -> tuple[float, float, int, int]:
    """As `branch.choose`; path (2, K + 1) is scratch."""
    for j in range(score.shape[1]):
        selected[n, j] = False
    if need <= 0.0:
        return 0.0, 0.0, 0, EXACT
    take_best_scores(score, n, order, line, reachable, limit, selected)
    spent, reached = marked_energy(energy, line, selected, n), 0.0
    for j in range(score.shape[1]):
        if selected[n, j]:
            reached += score[n, j]
    if reached < need:
        return spent, spent, 0, RELAXED
    ranked = _rank(score, n, energy, line, order, reachable, path)
    root = _fill(score, n, energy, line, path, 0, ranked, need)
    nodes, limited = _descend(score, n, energy, line, path, ranked, need, limit, gap, node_limit, spent, selected)
    spent = marked_energy(energy, line, selected, n)
    proven = root if limited else max(root, spent * (1.0 - gap))
    return spent, spent if proven >= spent * (1.0 - 10 * ROUNDING) else proven, nodes, LIMITED if limited else EXACT


@kernel
def _rank(score: Floats, n: int, energy: Floats, line: int, order: Ints, reachable: int, path: Ints) -> int:
    """Reachable experts of positive score in rising energy per score, into row RANKED; returns how many."""
    count = 0
    for i in range(reachable):
        j = order[line, i]
        if score[n, j] <= 0.0:
            continue
        k = count
        while (
            k > 0 and energy[line, path[RANKED, k - 1]] * score[n, j] > energy[line, j] * score[n, path[RANKED, k - 1]]
        ):
            path[RANKED, k] = path[RANKED, k - 1]
            k -= 1
        path[RANKED, k] = j
        count += 1
    return count


@kernel
def _fill(
    score: Floats, n: int, energy: Floats, line: int, path: Ints, depth: int, ranked: int, missing: float
) -> float:
    """Least energy of the missing score from the ranks `depth` on, in parts; inf if they do not hold it."""
    spent = 0.0
    for k in range(depth, ranked):
        j = path[RANKED, k]
        if score[n, j] >= missing:
            return spent + energy[line, j] * (missing / score[n, j])
        missing -= score[n, j]
        spent += energy[line, j]
    return np.inf


@kernel
def _descend(
    score: Floats,
    n: int,
    energy: Floats,
    line: int,
    path: Ints,
    ranked: int,
    need: float,
    limit: int,
    gap: float,
    node_limit: int,
    best: float,
    selected: Bools,
) -> tuple[int, bool]:
    """Depth-first search; `selected` ends as the best set. Returns (nodes, whether the node limit was hit)."""
    depth, taken, nodes, t_sum, e_sum = 0, 0, 0, 0.0, 0.0
    while nodes < node_limit:
        nodes += 1
        if t_sum >= need:
            if e_sum < best:
                best = e_sum
                for j in range(score.shape[1]):
                    selected[n, j] = False
                for k in range(taken):
                    selected[n, path[RANKED, path[PATH, k]]] = True
        elif taken < limit and e_sum + _fill(score, n, energy, line, path, depth, ranked, need - t_sum) < best * (
            1.0 - max(gap, ROUNDING)
        ):
            j = path[RANKED, depth]
            path[PATH, taken] = depth
            taken, depth, t_sum, e_sum = taken + 1, depth + 1, t_sum + score[n, j], e_sum + energy[line, j]
            continue
        if taken == 0:
            return nodes, False
        taken -= 1
        depth = path[PATH, taken] + 1
        t_sum, e_sum = 0.0, 0.0
        for k in range(taken):
            j = path[RANKED, path[PATH, k]]
            t_sum, e_sum = t_sum + score[n, j], e_sum + energy[line, j]
    return nodes, True
