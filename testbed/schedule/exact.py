"""The same problems as mixed-integer linear programs, for oracles and figures, by other people's solvers.

Solvers work to tolerances of 1e-6 or so. Energies are therefore given to them in units near 1, a set that meets its
QoS only within the tolerance is forbidden and the program solved again, and what is returned is priced by our own sums.
"""

from __future__ import annotations

import os
import sys
import warnings
from itertools import product
from typing import Any

import numpy as np

from testbed.errors import ProblemError
from testbed.schedule.arrays import Bools, Floats
from testbed.schedule.cover import can_be_served, cover, pairs_used
from testbed.schedule.problem import QOS_TOLERANCE, Decision, Problem
from testbed.schedule.select import Selection
from testbed.schedule.serve import best_hops, decide, pair_prices, select_at
from testbed.schedule.status import Status

SOLVERS = ("highs", "cbc")

Model = Any
"""A `pulp.LpProblem`, which carries no types."""

Solver = Any
"""A solver of PuLP."""

Holders = dict[tuple[int, int, int], Any]
"""(source, expert, subcarrier) → variable."""

Choices = dict[tuple[int, int], Any]
"""(token, expert) → variable."""

Pairs = dict[tuple[int, int], list[int]]
"""(source, expert) → the subcarriers that its link may hold."""


def solver_named(name: str, time_limit_s: float | None = None, gap: float = 0.0) -> Solver:
    """A PuLP solver, silent, on one core: "highs" or "cbc"."""
    import pulp  # slow to import, and only oracles need it

    if name not in SOLVERS:
        raise ProblemError(f"solver = {name!r}: choose one of {', '.join(SOLVERS)}")
    make = pulp.HiGHS if name == "highs" else pulp.PULP_CBC_CMD
    with warnings.catch_warnings():
        # The CBC that comes with PuLP 3 moves to a package of its own in PuLP 4; until then it is the one at hand.
        warnings.simplefilter("ignore", DeprecationWarning)
        return make(msg=False, timeLimit=time_limit_s, gapRel=gap, threads=1)


def _solve(model: Model, solver: Solver) -> None:
    """Solve; what solvers print in spite of being told not to goes to standard error, which no program reads."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        model.solve(solver)
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _solve_strictly(model: Model, x: Choices, solver: Solver, score: Floats, need: Floats) -> Bools:
    """Solve until every token that `model` serves meets its need by our own sums; returns the sets (N, K).

    A set that falls short is forbidden with all its parts: the token must use an expert outside it. Tokens of no need
    are not checked. The sets mean nothing unless the model ends with a solution.
    """
    import pulp

    while True:
        _solve(model, solver)
        chosen = np.zeros(score.shape, dtype=np.bool_)
        if any(v.value() is None for v in x.values()) or pulp.LpStatus[model.status] == "Infeasible":
            return chosen
        for (n, j), v in x.items():
            chosen[n, j] = v.value() > 0.5
        short = np.flatnonzero((score * chosen).sum(axis=1) < need).tolist()
        if not short:
            return chosen
        for n in short:
            model += pulp.lpSum(v for (k, j), v in x.items() if k == n and not chosen[n, j]) >= 1


def _unit(energy: Floats) -> float:
    """The mean of the positive finite energies, which makes the numbers of a program near 1; 1 if there are none."""
    counted = energy[(energy > 0) & np.isfinite(energy)]
    return float(counted.mean()) if counted.size else 1.0


def select_exact(
    score: Floats, energy_j: Floats, qos: float, max_experts: int, *, solver: str = "highs"
) -> tuple[Bools, float]:
    """Cheapest experts of one token: (chosen (K,) bool, energy). Infinite energies are left out.

    Raises `ProblemError` if no set meets the QoS.
    """
    import pulp

    usable = np.flatnonzero(np.isfinite(energy_j))
    model = pulp.LpProblem("selection", pulp.LpMinimize)
    x = {(0, int(j)): model.add_variable(f"x_{j}", cat="Binary") for j in usable}
    unit, need = _unit(energy_j), qos - QOS_TOLERANCE
    model += pulp.lpSum(float(energy_j[j] / unit) * v for (_, j), v in x.items())
    model += pulp.lpSum(float(score[j]) * v for (_, j), v in x.items()) >= need
    model += pulp.lpSum(x.values()) <= max_experts
    chosen = _solve_strictly(model, x, solver_named(solver), score[None], np.array([need]))[0]
    if pulp.LpStatus[model.status] != "Optimal":
        raise ProblemError(f"qos = {qos}: no {max_experts} reachable experts bring this score sum")
    return chosen, float(energy_j[chosen].sum())


def jesa_exact(
    problem: Problem, *, solver: str = "highs", time_limit_s: float | None = None, gap: float = 0.0
) -> Decision:
    """The joint optimum by linearisation: a token on a link pays for the subcarrier that the link holds.

    Variables: x_nj (token n uses expert j), z_lm (link l holds subcarrier m), y_nlm ≤ z_lm with Σ_m y_nlm = x_nj.
    A link may as well hold one of its L best subcarriers, L the number of links: others can take L − 1 at most.
    Relaxed tokens keep their Top-D. Status SCARCE, with no experts chosen, when nothing is feasible.
    """
    import pulp

    floor = select_at(problem, pair_prices(problem, best_hops(problem)))
    unit = _unit(floor.energy_j)
    model, x = _joint_model(problem, floor, unit)
    engine = solver_named(solver, time_limit_s, gap)
    selected = _solve_strictly(model, x, engine, problem.score, _asked(problem, floor))
    status = pulp.LpStatus[model.status]
    bound = float(floor.bound_j.sum())
    if any(v.value() is None for v in x.values()) or status == "Infeasible":
        nobody = np.zeros(problem.score.shape, dtype=np.bool_)
        return decide(problem, nobody, bound, floor.relaxed | True, Status.SCARCE)
    if solver == "highs":
        bound = max(bound, unit * float(model.solverModel.getInfo().mip_dual_bound))
    done = status == "Optimal" and model.sol_status == pulp.LpSolutionOptimal
    ended = (Status.OPTIMAL if gap == 0 else Status.WITHIN_GAP) if done else Status.TIME_LIMIT
    return decide(problem, selected, bound, floor.relaxed, ended)


def feasible_choice(problem: Problem, floor: Selection) -> Bools | None:
    """Any selection that meets every QoS and can be served, (N, K) bool; None if there is none.

    floor is the relaxation: tokens relaxed there keep their set. Only whether a pair is used matters here, so few
    pairs for each source by itself mostly decide it; where they do not, one program is solved over all sources.
    """
    reachable = np.isfinite(pair_prices(problem, best_hops(problem)))
    subcarriers = min(phase.cost.shape[1] for phase in problem.phases)
    few = cover(problem, floor, reachable, subcarriers)
    if few.fewest > subcarriers:
        return None
    if few.choice is not None and can_be_served(problem, pairs_used(problem, few.choice)):
        return few.choice
    return _any_choice(problem, floor, reachable)


def _any_choice(problem: Problem, floor: Selection, reachable: Bools) -> Bools | None:
    """The same by one program, which may take minutes from K = 12 on.

    Which subcarriers serve the used pairs need not be whole: where parts of them suffice, whole ones do (Birkhoff).
    """
    import pulp

    model = pulp.LpProblem("feasible", pulp.LpMinimize)
    x = _add_choices(model, problem, floor, reachable)
    hops = [_add_holders(model, problem, reachable, hop, "Continuous") for hop in range(len(problem.phases))]
    for i, j in hops[0][1]:
        used = model.add_variable(f"used_{i}_{j}", cat="Binary")
        for z, pairs in hops:
            model += pulp.lpSum(z[i, j, m] for m in pairs[i, j]) >= used
        for n in np.flatnonzero(problem.source == i):
            model += x[int(n), j] <= used
    chosen = _solve_strictly(model, x, solver_named("highs"), problem.score, _asked(problem, floor))
    return chosen if pulp.LpStatus[model.status] == "Optimal" else None


def _asked(problem: Problem, floor: Selection) -> Floats:
    """(N,) score sum that each token must reach; nothing for relaxed ones."""
    return np.where(floor.relaxed, -np.inf, problem.needs)


def _joint_model(problem: Problem, floor: Selection, unit: float) -> tuple[Any, Choices]:
    import pulp

    model = pulp.LpProblem("joint", pulp.LpMinimize)
    reachable = np.isfinite(pair_prices(problem, best_hops(problem)))
    x = _add_choices(model, problem, floor, reachable)
    cost = [float(problem.compute_energy_j[j] / unit) * v for (_, j), v in x.items()]
    for hop in range(len(problem.phases)):
        cost += _add_phase(model, problem, reachable, x, hop, unit)
    model.setObjective(pulp.lpSum(cost))
    return model, x


def _add_choices(model: Model, problem: Problem, floor: Selection, reachable: Bools) -> Choices:
    """Variables x_nj with each token's QoS and limit; relaxed tokens keep their set."""
    import pulp

    x: Choices = {}
    for n in range(problem.tokens):
        open_to = np.flatnonzero(reachable[problem.source[n]])
        mine = {int(j): model.add_variable(f"x_{n}_{j}", cat="Binary") for j in open_to}
        x.update({(n, j): v for j, v in mine.items()})
        if floor.relaxed[n]:
            for j, v in mine.items():
                model += v == int(floor.selected[n, j])
            continue
        model += pulp.lpSum(float(problem.score[n, j]) * v for j, v in mine.items()) >= float(problem.needs[n])
        model += pulp.lpSum(mine.values()) <= problem.max_experts
    return x


def _add_holders(
    model: Model, problem: Problem, reachable: Bools, hop: int, kind: str = "Binary"
) -> tuple[Holders, Pairs]:
    """Variables z_lm of one phase, each link and each subcarrier at most once; returns them and the links' choices."""
    import pulp

    K = problem.nodes
    cost = problem.phases[hop].cost.reshape(K, K, -1)
    busy = [i for i in range(K) if (problem.source == i).any()]
    used = [(i, j) for i, j in product(busy, range(K)) if i != j and reachable[i, j]]
    pairs = {(i, j): _best(cost[i, j] if hop == 0 else cost[j, i], len(used)) for i, j in used}
    held = [(i, j, m) for (i, j), best in pairs.items() for m in best]
    z: Holders = {(i, j, m): model.add_variable(f"z{hop}_{i}_{j}_{m}", 0, 1, kind) for i, j, m in held}
    holders: dict[int, list[Any]] = {}
    for (_, _, m), v in z.items():
        holders.setdefault(m, []).append(v)
    for (i, j), best in pairs.items():
        model += pulp.lpSum(z[i, j, m] for m in best) <= 1
    for rivals in holders.values():
        model += pulp.lpSum(rivals) <= 1
    return z, pairs


def _add_phase(model: Model, problem: Problem, reachable: Bools, x: Choices, hop: int, unit: float) -> list[Any]:
    """Variables and constraints of one phase; returns the terms of its energy, in units."""
    import pulp

    K = problem.nodes
    cost = problem.phases[hop].cost.reshape(K, K, -1)
    z, pairs = _add_holders(model, problem, reachable, hop)
    terms: list[Any] = []
    for (i, j), best in pairs.items():
        link = cost[i, j] if hop == 0 else cost[j, i]
        for n in np.flatnonzero(problem.source == i):
            y = {m: model.add_variable(f"y{hop}_{n}_{j}_{m}", 0, 1) for m in best}
            model += pulp.lpSum(y.values()) == x[int(n), j]
            for m, v in y.items():
                model += v <= z[i, j, m]
                terms.append(float(link[m] / unit) * v)
    return terms


def _best(cost: Floats, count: int) -> list[int]:
    """The `count` cheapest usable subcarriers of a link."""
    order = np.argsort(cost, kind="stable")[:count]
    return [int(m) for m in order if np.isfinite(cost[m])]
