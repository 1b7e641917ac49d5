"""Joint expert selection and subcarrier allocation."""

from __future__ import annotations

import numpy as np

from testbed.errors import ProblemError
from testbed.schedule.arrays import Bools, Floats, Ints
from testbed.schedule.batch import group
from testbed.schedule.bounds import Multipliers
from testbed.schedule.climb import alternate, fit
from testbed.schedule.joint import close_in
from testbed.schedule.problem import Decision, Problem
from testbed.schedule.rounds import Round, Scratch, State
from testbed.schedule.select import QOS_TOLERANCE, Selection
from testbed.schedule.serve import best_hops, decide, loads, pair_prices, select_at
from testbed.schedule.shed import shed
from testbed.schedule.status import Status

METHODS = ("full", "alternate")
SEARCH_NODES = 2_000
MAX_SWEEPS = 6


def jesa(
    problem: Problem,
    *,
    method: str = "full",
    start: str | None = None,
    previous: Decision | None = None,
    gap: float = 1e-6,
    effort: float = 3000.0,
) -> Decision:
    """Choose experts and subcarriers together."""
    if method not in METHODS:
        raise ProblemError(f"method = {method!r}: choose one of {', '.join(METHODS)}")
    ideal = pair_prices(problem, best_hops(problem))
    floor = select_at(problem, ideal)
    bound = float(floor.bound_j.sum())
    r, s, w = pose(problem, floor, ideal)
    relaxed = floor.relaxed
    trial, spare = like(s), like(s)
    status = None
    energy = fit(r, s, w, spare, ideal.copy())
    if energy == np.inf:
        kept, lost = shed(problem, floor.selected)
        return decide(problem, kept, bound, relaxed | lost, Status.SCARCE)
    trace = [energy]
    if energy > bound * (1 + 1e-12):
        energy, _ = alternate(r, s, w, spare, energy)
        trace.append(energy)
        if method == "full":
            b = multipliers(r, s)
            energy, bound, _ = close_in(r, s, w, trial, spare, b, energy, bound, gap, effort)
            trace.append(energy)
    held = (s.held_0, s.held_1)[: len(problem.phases)]
    return decide(
        problem, s.selected, bound, relaxed, status, iterations=len(trace), trace=tuple(trace), subcarriers=held
    )


def multipliers(r: Round, s: State) -> Multipliers:
    N, K = r.score.shape
    return Multipliers(
        s.dual_0.copy(), s.dual_1.copy(), np.empty((N, K)), np.empty((N, K)), np.empty((N, K)), s.selected.copy(),
        np.zeros(N), np.zeros(N), np.zeros(N, dtype=np.int64), np.zeros(N, dtype=np.int8), np.ones(2),
    )  # fmt: skip


def pose(problem: Problem, floor: Selection, ideal: Floats) -> tuple[Round, State, Scratch]:
    K, N = problem.nodes, problem.tokens
    line = np.where(floor.relaxed, K, problem.source)
    first, members = group(line, K + 1)
    fixed = loads(floor.selected[floor.relaxed], problem.source[floor.relaxed])
    phases = [problem.phases[0], problem.phases[-1]]
    limit = min(problem.max_experts, K)
    arrays = []
    for phase in phases:
        arrays += [phase.cost, phase.column, phase.price, np.argsort(phase.price[:, 0], kind="stable")]
    r = Round(
        problem.score, problem.required - QOS_TOLERANCE, first[: K + 1].copy(), members, fixed, problem.source, floor.relaxed, limit, SEARCH_NODES,
        problem.compute_energy_j, ideal, len(problem.phases), *arrays,
    )  # fmt: skip
    s = State(
        floor.selected.copy(), loads(floor.selected, problem.source),
        np.empty(K * K, dtype=np.int64), np.zeros(phases[0].cost.shape[1]),
        np.empty(K * K, dtype=np.int64), np.zeros(phases[1].cost.shape[1]),
    )  # fmt: skip
    w = Scratch(
        np.empty((6, K + 1)), np.empty((6, K + 1), dtype=np.int64), np.empty((K + 1, limit + 1)), np.empty((K, K), dtype=np.int64),
        np.zeros(N), np.zeros(N), np.zeros(N, dtype=np.int64), np.zeros(N, dtype=np.int8), np.zeros(1),
    )  # fmt: skip
    return r, s, w


def like(s: State) -> State:
    return State(*(np.empty_like(a) for a in s))
