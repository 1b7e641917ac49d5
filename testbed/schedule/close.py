"""When links outnumber subcarriers: close links by regret until the rest can be served."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from testbed.schedule.assign import Assignment
from testbed.schedule.problem import Problem
from testbed.schedule.select import Selection, select_experts
from testbed.schedule.serve import allocate, loads

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def shed(problem: Problem, selected: Bools) -> tuple[Bools, tuple[Assignment, ...], bool]:
    """Take the lightest links out of a fixed selection until the rest can be served.

    A token that loses all its experts stays with its own. Returns (selection, assignments, whether links went).
    """
    selected = selected.copy()
    first = True
    while True:
        load = loads(selected, problem.source)
        np.fill_diagonal(load, 0.0)
        assignments = allocate(problem, load)
        if not any(a.unserved for a in assignments):
            return selected, assignments, not first
        first = False
        dead = ~served_somewhere(problem) & (load > 0)
        if dead.any():
            i, j = (int(k) for k in np.argwhere(dead)[0])
        else:
            i, j = (int(k) for k in np.unravel_index(np.argmin(np.where(load > 0, load, np.inf)), load.shape))
        selected[problem.source == i, j] = False
        empty = ~selected.any(axis=1) & np.isfinite(problem.compute_energy_j[problem.source])
        selected[empty, problem.source[empty]] = True


def served_somewhere(problem: Problem) -> Bools:
    """(K, K) pairs that have a usable subcarrier on every hop; the diagonal is True."""
    K = problem.nodes
    usable = np.isfinite(problem.phases[0].price[:, 0]).reshape(K, K)
    if len(problem.phases) > 1:
        usable = usable & np.isfinite(problem.phases[1].price[:, 0]).reshape(K, K).T
    np.fill_diagonal(usable, True)
    return usable


def close_by_regret(problem: Problem, floor: Selection, price: Floats) -> tuple[Bools, tuple[Assignment, ...], Bools]:
    """Close links, cheapest regret first, until the others can all be served.

    price (K, K) is what open links are expected to cost per token. The regret of a link is what its source's tokens
    lose without it: first the number that lose their QoS, then energy. Returns (selection, assignments, short).
    """
    price = price.copy()
    choices = {i: _choose(problem, floor, price[i], i) for i in range(problem.nodes)}
    regrets: dict[int, dict[int, tuple[int, float]]] = {}
    while True:
        selected, short = _gather(problem, choices)
        load = loads(selected, problem.source)
        np.fill_diagonal(load, 0.0)
        assignments = allocate(problem, load)
        if not any(a.unserved for a in assignments):
            return selected, assignments, short
        for i in range(problem.nodes):
            if i not in regrets:
                regrets[i] = {
                    int(j): _regret(problem, floor, price[i], i, int(j), choices[i]) for j in np.flatnonzero(load[i])
                }
        _, i, j = min((regret, i, j) for i, row in regrets.items() for j, regret in row.items())
        price[i, j] = np.inf
        choices[i] = _choose(problem, floor, price[i], i)
        del regrets[i]


_Choice = tuple[NDArray[np.intp], Bools, Bools, float]


def _choose(problem: Problem, floor: Selection, price: Floats, source: int) -> _Choice:
    """(tokens of the source, their sets, which fall short, energy) at these prices."""
    here = np.flatnonzero(problem.source == source)
    chosen = select_experts(problem.score[here], price, problem.required[here], problem.max_experts)
    keep = floor.relaxed[here] & ~(floor.selected[here] & ~np.isfinite(price)).any(axis=1)
    selected = np.where(keep[:, None], floor.selected[here], chosen.selected)
    energy = float(np.where(selected, np.where(np.isfinite(price), price, 0.0), 0.0).sum())
    return here, selected, chosen.relaxed & ~keep, energy


def _regret(problem: Problem, floor: Selection, price: Floats, i: int, j: int, now: _Choice) -> tuple[int, float]:
    without = price.copy()
    without[j] = np.inf
    then = _choose(problem, floor, without, i)
    return int(then[2].sum()) - int(now[2].sum()), then[3] - now[3]


def _gather(problem: Problem, choices: dict[int, _Choice]) -> tuple[Bools, Bools]:
    selected = np.zeros(problem.score.shape, dtype=np.bool_)
    short = np.zeros(problem.tokens, dtype=np.bool_)
    for here, sets, missing, _ in choices.values():
        selected[here], short[here] = sets, missing
    return selected, short
