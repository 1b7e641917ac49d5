"""The same problems as mixed-integer linear programs, for oracles and figures: slow, general, by other people's solvers.

Solvers work to tolerances of 1e-6 or so: what they return is checked, and priced again, by the caller's own sums.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from testbed.errors import ProblemError
from testbed.schedule.arrays import Bools, Floats
from testbed.schedule.problem import Decision, Problem
from testbed.schedule.select import QOS_TOLERANCE, Selection
from testbed.schedule.serve import best_hops, decide, pair_prices, select_at
from testbed.schedule.status import Status

SOLVERS = ("highs", "cbc")


def solver_named(name: str, time_limit_s: float | None = None, gap: float = 0.0) -> Any:  # noqa: ANN401
    """A PuLP solver, silent, on one core: "highs" or "cbc"."""
    import pulp  # slow to import, and only oracles need it

    if name not in SOLVERS:
        raise ProblemError(f"solver = {name!r}: choose one of {', '.join(SOLVERS)}")
    make = pulp.HiGHS if name == "highs" else pulp.PULP_CBC_CMD
    return make(msg=False, timeLimit=time_limit_s, gapRel=gap, threads=1)


def select_exact(
    score: Floats, energy_j: Floats, qos: float, max_experts: int, *, solver: str = "highs"
) -> tuple[Bools, float]:
    """Cheapest experts of one token: (chosen (K,) bool, energy). Infinite energies are left out.

    Raises `ProblemError` if no set meets the QoS.
    """
    import pulp

    usable = np.flatnonzero(np.isfinite(energy_j))
    model = pulp.LpProblem("selection", pulp.LpMinimize)
    x = {int(j): pulp.LpVariable(f"x_{j}", cat="Binary") for j in usable}
    model += pulp.lpSum(float(energy_j[j]) * x[j] for j in x)
    model += pulp.lpSum(float(score[j]) * x[j] for j in x) >= qos
    model += pulp.lpSum(x.values()) <= max_experts
    model.solve(solver_named(solver))
    if pulp.LpStatus[model.status] != "Optimal":
        raise ProblemError(f"qos = {qos}: no {max_experts} reachable experts bring this score sum")
    chosen = np.zeros(len(score), dtype=np.bool_)
    chosen[[j for j in x if x[j].value() > 0.5]] = True
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
    model, x = _joint_model(problem, floor)
    engine = solver_named(solver, time_limit_s, gap)
    model.solve(engine)
    status = pulp.LpStatus[model.status]
    selected = np.zeros(problem.score.shape, dtype=np.bool_)
    bound = float(floor.bound_j.sum())
    if any(v.value() is None for v in x.values()) or status == "Infeasible":
        return decide(problem, selected, bound, floor.relaxed | True, Status.SCARCE)
    for (n, j), v in x.items():
        selected[n, j] = v.value() > 0.5
    if solver == "highs":
        bound = max(bound, float(model.solverModel.getInfo().mip_dual_bound))
    done = status == "Optimal" and model.sol_status == pulp.LpSolutionOptimal
    ended = (Status.OPTIMAL if gap == 0 else Status.WITHIN_GAP) if done else Status.TIME_LIMIT
    return decide(problem, selected, bound, floor.relaxed, ended)


def _joint_model(problem: Problem, floor: Selection) -> tuple[Any, dict[tuple[int, int], Any]]:
    import pulp

    model = pulp.LpProblem("joint", pulp.LpMinimize)
    reachable = np.isfinite(pair_prices(problem, best_hops(problem)))
    x = {
        (n, int(j)): pulp.LpVariable(f"x_{n}_{j}", cat="Binary")
        for n in range(problem.tokens)
        for j in np.flatnonzero(reachable[problem.source[n]])
    }
    cost = [float(problem.compute_energy_j[j]) * v for (_, j), v in x.items()]
    for n in range(problem.tokens):
        mine = {j: v for (m, j), v in x.items() if m == n}
        if floor.relaxed[n]:
            for j, v in mine.items():
                model += v == int(floor.selected[n, j])
            continue
        model += pulp.lpSum(float(problem.score[n, j]) * v for j, v in mine.items()) >= (
            float(problem.required[n]) - QOS_TOLERANCE
        )
        model += pulp.lpSum(mine.values()) <= problem.max_experts
    for hop in range(len(problem.phases)):
        cost += _add_phase(model, problem, reachable, x, hop)
    model.setObjective(pulp.lpSum(cost))
    return model, x


def _add_phase(model: Any, problem: Problem, reachable: Bools, x: dict[tuple[int, int], Any], hop: int) -> list[Any]:  # noqa: ANN401
    """Variables and constraints of one phase; returns the terms of its energy."""
    import pulp

    K = problem.nodes
    cost = problem.phases[hop].cost.reshape(K, K, -1)
    pairs = [
        (i, j) for i, j in product(range(K), repeat=2) if i != j and reachable[i, j] and (problem.source == i).any()
    ]
    z: dict[tuple[int, int, int], Any] = {}
    terms: list[Any] = []
    for i, j in pairs:
        link = cost[i, j] if hop == 0 else cost[j, i]
        best = _best(link, len(pairs))
        for m in best:
            z[i, j, m] = pulp.LpVariable(f"z{hop}_{i}_{j}_{m}", cat="Binary")
        model += pulp.lpSum(z[i, j, m] for m in best) <= 1
        for n in np.flatnonzero(problem.source == i):
            y = {m: pulp.LpVariable(f"y{hop}_{n}_{j}_{m}", 0, 1) for m in best}
            model += pulp.lpSum(y.values()) == x[int(n), j]
            for m, v in y.items():
                model += v <= z[i, j, m]
                terms.append(float(link[m]) * v)
    holders: dict[int, list[Any]] = {}
    for (_, _, m), v in z.items():
        holders.setdefault(m, []).append(v)
    for rivals in holders.values():
        model += pulp.lpSum(rivals) <= 1
    return terms


def _best(cost: Floats, count: int) -> list[int]:
    """The `count` cheapest usable subcarriers of a link."""
    order = np.argsort(cost, kind="stable")[:count]
    return [int(m) for m in order if np.isfinite(cost[m])]
