"""When not even closing helps: give up links of a selection until the rest can be served."""

from __future__ import annotations

import numpy as np

from testbed.schedule.arrays import Bools, Floats
from testbed.schedule.problem import Problem
from testbed.schedule.select import Selection
from testbed.schedule.serve import allocate, best_hops, link_prices, loads, pair_prices, select_at


def shed(problem: Problem, selected: Bools) -> tuple[Bools, Bools]:
    """Take dead pairs, then the lightest, out of a selection until the rest can be served.

    A token that loses all its experts stays with its own. Returns (selection, tokens that lost an expert).
    """
    kept = selected.copy()
    price = pair_prices(problem, best_hops(problem))
    for i, j in np.argwhere(~served_somewhere(problem)):
        kept[problem.source == i, j] = False
    while True:
        _stay_home(problem, kept)
        load = loads(kept, problem.source)
        np.fill_diagonal(load, 0.0)
        if _all_served(problem, load):
            return kept, np.asarray((selected & ~kept).any(axis=1))
        i, j = _lightest(load, price)
        kept[problem.source == i, j] = False


def give_up(problem: Problem, floor: Selection) -> tuple[Bools, Bools]:
    """When no choice meets every QoS: close the lightest pairs and choose again, until the rest can be served.

    A token that misses its QoS takes its Top-D of what is open. Returns (selection, tokens that fell short).
    """
    price = pair_prices(problem, best_hops(problem))
    while True:
        chosen = select_at(problem, price)
        load = loads(chosen.selected, problem.source)
        np.fill_diagonal(load, 0.0)
        if _all_served(problem, load):
            changed = floor.relaxed & (chosen.selected != floor.selected).any(axis=1)
            return chosen.selected, (chosen.relaxed & ~floor.relaxed) | changed
        price[_lightest(load, price)] = np.inf


def _all_served(problem: Problem, load: Floats) -> bool:
    if (load > 0).sum() > min(phase.cost.shape[1] for phase in problem.phases):
        return False
    return not any(assignment.unserved for assignment in allocate(problem, load))


def _lightest(load: Floats, price: Floats) -> tuple[int, int]:
    """The pair that carries the fewest tokens; of equal ones the dearest, so that numbers of nodes decide nothing."""
    fewest = load == load[load > 0].min()
    i, j = np.unravel_index(np.argmax(np.where(fewest, price, -np.inf)), load.shape)
    return int(i), int(j)


def served_somewhere(problem: Problem) -> Bools:
    """(K, K) pairs that have a usable subcarrier on every hop; the diagonal is True."""
    return np.isfinite(link_prices(best_hops(problem)))


def _stay_home(problem: Problem, selected: Bools) -> None:
    empty = ~selected.any(axis=1) & (problem.required > 0) & np.isfinite(problem.compute_energy_j[problem.source])
    selected[empty, problem.source[empty]] = True
