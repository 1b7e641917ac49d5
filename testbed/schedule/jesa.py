"""Joint expert selection and subcarrier allocation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from testbed.errors import ProblemError
from testbed.schedule.assign import Assignment
from testbed.schedule.close import close_by_regret
from testbed.schedule.problem import Decision, Problem
from testbed.schedule.select import Selection, select_experts
from testbed.schedule.serve import allocate, best_hops, energies, hop_prices, loads, pair_prices
from testbed.schedule.status import Status

Floats = NDArray[np.float64]
EPSILON = 1e-9
METHODS = ("full", "alternate")


def jesa(
    problem: Problem,
    *,
    method: str = "full",
    start: str | None = None,
    previous: Decision | None = None,
    max_iterations: int = 50,
) -> Decision:
    """Choose experts and subcarriers together."""
    if method not in METHODS:
        raise ProblemError(f"method = {method!r}: choose one of {', '.join(METHODS)}")
    ideal = pair_prices(problem, best_hops(problem))
    floor = select_at(problem, ideal)
    bound = float(floor.bound_j.sum())
    short = np.zeros(problem.tokens, dtype=np.bool_)
    assignments = allocate(problem, loads(floor.selected, problem.source))
    selected = floor.selected
    if any(a.unserved for a in assignments):
        selected, assignments, short = close_by_regret(problem, floor, ideal)
    energy, trace = np.inf, []
    while len(trace) < max_iterations:
        now = cost_of(problem, selected, assignments)
        if not now < energy * (1 - 1e-12):
            break
        energy, best = now, (selected, assignments)
        trace.append(now)
        kept = allocate(problem, weights(problem, selected))
        chosen = select_at(problem, pair_prices(problem, hop_prices(problem, kept)))
        hold = floor.relaxed | short
        selected = np.where(hold[:, None], selected, chosen.selected)
        assignments = allocate(problem, loads(selected, problem.source))
    status = Status.SCARCE if short.any() else None
    return decision(problem, *best, bound, floor.relaxed | short, len(trace), tuple(trace), status)


def select_at(problem: Problem, price: Floats) -> Selection:
    """DES for all tokens at pair prices (K, K)."""
    return select_experts(problem.score, price, problem.qos, problem.max_experts, row=problem.source)


def weights(problem: Problem, selected: NDArray[np.bool_]) -> Floats:
    """Loads, with a little weight on idle links so that each keeps a subcarrier of its own and stays in play."""
    return np.maximum(loads(selected, problem.source), EPSILON)


def cost_of(problem: Problem, selected: NDArray[np.bool_], assignments: tuple[Assignment, ...]) -> float:
    communication, computation = energies(problem, loads(selected, problem.source), hop_prices(problem, assignments))
    return float(communication.sum() + computation.sum())


def decision(
    problem: Problem,
    selected: NDArray[np.bool_],
    assignments: tuple[Assignment, ...],
    bound: float,
    relaxed: NDArray[np.bool_],
    iterations: int,
    trace: tuple[float, ...],
    status: Status | None = None,
) -> Decision:
    K = problem.nodes
    load = loads(selected, problem.source)
    communication, computation = energies(problem, load, hop_prices(problem, assignments))
    total = float(communication.sum() + computation.sum())
    apart = load * (1 - np.eye(K)) > 0
    held = [a.subcarrier.reshape(K, K) for a in assignments]
    forward = np.where(apart, held[0], -1)
    back = np.where(apart.T, held[1], -1) if len(held) > 1 else None
    if status is None:
        status = Status.OPTIMAL if total - bound <= 1e-9 * total else Status.WITHIN_GAP
    return Decision(selected, forward, back, communication, computation, bound, relaxed, status, iterations, trace)
