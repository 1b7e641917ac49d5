"""Joint expert selection and subcarrier allocation (JESA).

With the subcarriers given, the energy is a sum over tokens, and each token's experts are chosen exactly (`select`).
With the experts given, subcarriers are a linear assignment, solved exactly (`assign`). The paper alternates between
the two; what is known of it leaves open where it starts and what an idle link costs (both inferred here).

    "alternate"  the plain alternation, from equal weights on all links unless told otherwise. Idle links are priced at
                 their best free subcarrier, otherwise the first iterate freezes. Never worse than its start, often
                 not optimal, and without an answer (SCARCE) when links outnumber subcarriers.
    "full"       starts where every link has its own best subcarrier (the LB), closes links when they outnumber
                 subcarriers, alternates, and then lets bound and decision close in on each other: the choices of a
                 Lagrangian relaxation, selections at dual prices, opening or closing links one by one, and a tree
                 over who owns a subcarrier that several links want, which proves the optimum where it ends.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from testbed.errors import ProblemError
from testbed.schedule.arrays import Bools, Ints, relative_gap
from testbed.schedule.joint import AT_CHOICE, AT_EQUAL, AT_HELD, AT_LB, decide_jointly
from testbed.schedule.problem import Decision, Problem
from testbed.schedule.rounds import MAX_PASSES
from testbed.schedule.serve import best_hops, decide, pair_prices, select_at
from testbed.schedule.shed import give_up
from testbed.schedule.status import Status

METHODS = ("full", "alternate")
STARTS = ("lb", "equal")

EFFORT = 2_500.0
"""Modelled microseconds that the search of `full` may take after its alternation; it is the same on every machine."""


def jesa(
    problem: Problem,
    *,
    method: str = "full",
    start: str | None = None,
    previous: Decision | None = None,
    gap: float = 1e-6,
    effort: float = EFFORT,
) -> Decision:
    """Choose experts and subcarriers together, at least energy.

    method: "full" or "alternate", see above. start: "lb" or "equal"; by default lb for full and equal for alternate.
    previous: a decision for the same nodes whose subcarriers are the start instead (alternate) or one start more
    (full). gap: `full` stops when the certificate is this close, relative; effort: or when it has spent so much.

    A decision is feasible whenever a feasible point exists (full), deterministic, and does not depend on how tokens
    or nodes are numbered. Otherwise its status is SCARCE, `relaxed` names the tokens that fell short, and its bound
    is that of the relaxation. `ProblemError` for an unknown method or start, or an unfit previous decision.
    """
    start, gap = _checked(problem, method, start, previous), relative_gap(gap)
    if not isinstance(effort, (int, float)) or not effort >= 0.0:
        raise ProblemError(f"effort = {effort!r}: it must be ≥ 0 microseconds by the model; inf never stops")
    held = _held(problem, previous)
    full, warm = method == "full", previous is not None
    nobody = np.empty((0, problem.nodes), dtype=np.bool_)
    at = AT_HELD if warm and not full else AT_LB if start == "lb" else AT_EQUAL
    found = _decide(problem, full, at, warm, nobody, held, gap, effort)
    if found.energy_j == np.inf and full:
        served = _any_service(problem)
        if served is not None:
            found = _decide(problem, full, AT_CHOICE, warm, served, held, gap, effort)
    if found.energy_j == np.inf:
        return _fall_short(problem)
    return decide(
        problem, found.selected, found.bound_j, found.frozen,
        iterations=found.passes + 1, trace=found.trace, subcarriers=found.held[: len(problem.phases)],
    )  # fmt: skip


class _Found(NamedTuple):
    """What the compiled search returns, by name."""

    energy_j: float
    bound_j: float
    passes: int
    trace: tuple[float, ...]
    selected: Bools
    held: tuple[Ints, Ints]
    frozen: Bools


def _decide(
    problem: Problem, full: bool, start: int, warm: bool, given: Bools, given_held: tuple[Ints, Ints], gap: float,
    effort: float,
) -> _Found:  # fmt: skip
    links = problem.nodes * problem.nodes
    selected, frozen = np.empty(problem.score.shape, np.bool_), np.empty(problem.tokens, np.bool_)
    held, trace = (np.empty(links, np.int64), np.empty(links, np.int64)), np.empty(MAX_PASSES + 2)
    energy, bound, passes, points = decide_jointly(
        problem.score, problem.source, problem.needs, min(problem.max_experts, problem.nodes),
        problem.compute_energy_j, len(problem.phases), problem.phases[0], problem.phases[-1],
        full, start, warm, given, *given_held, gap, float(effort), selected, *held, frozen, trace,
    )  # fmt: skip
    return _Found(energy, bound, passes, tuple(trace[:points].tolist()), selected, held, frozen)


def _checked(problem: Problem, method: str, start: str | None, previous: Decision | None) -> str:
    """The start to use; refuses what is unknown or unfit."""
    if not isinstance(problem, Problem):
        raise ProblemError(f"problem = {problem!r:.80}: give a Problem")
    if method not in METHODS:
        raise ProblemError(f"method = {method!r}: choose one of {', '.join(METHODS)}")
    start = start or ("lb" if method == "full" else "equal")
    if start not in STARTS:
        raise ProblemError(f"start = {start!r}: choose one of {', '.join(STARTS)}")
    if previous is not None and not isinstance(previous, Decision):
        raise ProblemError(f"previous = {previous!r:.80}: give a Decision of an earlier round, or leave it out")
    if previous is not None:
        held = (previous.subcarrier, previous.return_subcarrier)
        for phase, subcarrier in zip(problem.phases, held, strict=False):
            if subcarrier is not None and (
                subcarrier.shape != (problem.nodes, problem.nodes) or subcarrier.max() >= phase.cost.shape[1]
            ):
                raise ProblemError(
                    f"previous has subcarriers {subcarrier.shape} up to {subcarrier.max()}; this problem has"
                    f" {problem.nodes} nodes and {phase.cost.shape[1]} subcarriers. Leave previous out"
                )
    return start


def _held(problem: Problem, previous: Decision | None) -> tuple[Ints, Ints]:
    """The allocation of an earlier decision as rows of each phase, −1 = idle; empty without one."""
    if previous is None:
        nothing = np.empty(0, dtype=np.int64)
        return nothing, nothing
    there, back = previous.subcarrier, previous.return_subcarrier
    if back is None or len(problem.phases) < 2:
        back = np.full(there.shape, -1)
    return np.array(there, np.int64).ravel(), np.array(back, np.int64).ravel()


def _any_service(problem: Problem) -> Bools | None:
    """Where closing by regret ended dead, ask an integer program for any choice that can be served."""
    from testbed.schedule.exact import feasible_choice  # needs a solver, which ordinary rounds do not load

    return feasible_choice(problem, select_at(problem, pair_prices(problem, best_hops(problem))))


def _fall_short(problem: Problem) -> Decision:
    """No way to serve every QoS: serve what can be, and say who falls short."""
    floor = select_at(problem, pair_prices(problem, best_hops(problem)))
    kept, short = give_up(problem, floor)
    return decide(problem, kept, float(floor.bound_j.sum()), floor.relaxed | short, Status.SCARCE)
