"""From a problem to the arrays that the joint search works on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from testbed.schedule.arrays import Bools, Floats, Ints
from testbed.schedule.batch import group
from testbed.schedule.bounds import Multipliers
from testbed.schedule.problem import Decision, Problem
from testbed.schedule.rounds import MAX_PASSES, Round, Scratch, State
from testbed.schedule.select import QOS_TOLERANCE, Selection
from testbed.schedule.serve import best_hops, loads, pair_prices, select_at

SEARCH_NODES = 2_000
"""Nodes a token may take inside the joint search, which asks for the same token many times."""


@dataclass(frozen=True, eq=False)
class Posed:
    """A problem ready to be searched: its relaxation (LB), the round, a state and room for two more."""

    floor: Selection
    bound: float
    round: Round
    state: State
    trial: State
    spare: State
    scratch: Scratch


def pose(problem: Problem) -> Posed:
    """Solve the relaxation, in which every link has its own best subcarrier, and start from it."""
    ideal = pair_prices(problem, best_hops(problem))
    floor = select_at(problem, ideal)
    r = _round(problem, floor, ideal)
    K = problem.nodes
    state = State(
        floor.selected.copy(), ideal.copy(), loads(floor.selected, problem.source),
        np.full(K * K, -1), np.zeros(r.cost_0.shape[1]), np.full(K * K, -1), np.zeros(r.cost_1.shape[1]),
    )  # fmt: skip
    trial, spare = (State._make(np.empty_like(a) for a in state) for _ in range(2))
    return Posed(floor, float(floor.bound_j.sum()), r, state, trial, spare, _scratch(problem.tokens, K, r.limit))


def _round(problem: Problem, floor: Selection, ideal: Floats) -> Round:
    K, frozen = problem.nodes, floor.relaxed
    first, members = group(np.where(frozen, K, problem.source), K + 1)
    fixed = loads(floor.selected[frozen], problem.source[frozen]) if frozen.any() else np.zeros((K, K))
    there, back = problem.phases[0], problem.phases[-1]
    return Round(
        problem.score, problem.required - QOS_TOLERANCE, first, members, fixed, problem.source, frozen,
        min(problem.max_experts, K), SEARCH_NODES, problem.compute_energy_j, ideal, len(problem.phases),
        there.cost, there.column, there.price, there.order, back.cost, back.column, back.price, back.order,
    )  # fmt: skip


def _scratch(tokens: int, K: int, limit: int) -> Scratch:
    return Scratch(
        np.empty((6, K + 1)), np.empty((6, K + 1), dtype=np.int64), np.empty((K + 1, limit + 1)),
        np.empty((K, K), dtype=np.int64), np.zeros(tokens), np.zeros(tokens), np.zeros(tokens, dtype=np.int64),
        np.zeros(tokens, dtype=np.int8), np.zeros(tokens, dtype=np.int64), np.zeros(1), np.zeros(MAX_PASSES + 1),
    )  # fmt: skip


def multipliers(posed: Posed) -> Multipliers:
    """The bound search at its start: what the relaxation chose, at the prices it was asked."""
    r, s = posed.round, posed.state
    N, K = r.score.shape
    return Multipliers(
        s.dual_0.copy(), s.dual_1.copy(), np.empty((N, K)), np.empty((N, K)), r.ideal[r.source],
        posed.floor.selected.copy(), posed.floor.bound_j.copy(), np.empty((N, K), dtype=np.int64), np.ones(2),
    )  # fmt: skip


def take_selection(posed: Posed, selected: Bools) -> None:
    """Put a selection into the state; no prices are known at which it is optimal."""
    s = posed.state
    s.selected[:] = selected
    s.load[:] = loads(selected, posed.round.source)
    s.asked[:] = -np.inf


def held_rows(posed: Posed, previous: Decision) -> tuple[Ints, Ints]:
    """The allocation of an earlier decision as rows of each phase, −1 = idle."""
    there, back = previous.subcarrier, previous.return_subcarrier
    if posed.round.hops < 2 or back is None:
        return there.ravel(), np.full(there.size, -1)
    return there.ravel(), back.ravel()
