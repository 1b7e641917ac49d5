"""Joint expert selection and subcarrier allocation (JESA).

With the subcarriers given, the energy is a sum over tokens, and each token's experts are chosen exactly (`select`).
With the experts given, subcarriers are a linear assignment, solved exactly (`assign`). The paper alternates between
the two; what is known of it leaves open where it starts and what an idle link costs (both inferred here).

    "alternate"  the plain alternation, from equal weights on all links unless told otherwise. Idle links are priced at
                 their best free subcarrier, otherwise the first iterate freezes. Never worse than its start, often
                 not optimal, and without an answer (SCARCE) when links outnumber subcarriers.
    "full"       starts where every link has its own best subcarrier (the LB), closes links when they outnumber
                 subcarriers, alternates, and then lets bound and decision close in on each other: the choices of a
                 Lagrangian relaxation, selections at dual prices, and opening or closing links one by one.
"""

from __future__ import annotations

import numpy as np

from testbed.errors import ProblemError
from testbed.schedule.climb import alternate, fit, fit_to_equal, fit_to_held, start_at_held
from testbed.schedule.joint import close_in
from testbed.schedule.pose import Posed, held_rows, multipliers, pose, take_selection
from testbed.schedule.problem import Decision, Problem
from testbed.schedule.rounds import assign
from testbed.schedule.serve import decide
from testbed.schedule.shed import give_up
from testbed.schedule.status import Status

METHODS = ("full", "alternate")
STARTS = ("lb", "equal")

EFFORT = 3_000.0
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
    start = _checked(problem, method, start, previous)
    posed = pose(problem)
    energy = _begin(posed, start, previous if method == "alternate" else None)
    if energy == np.inf and method == "full":
        energy = _rescue(problem, posed)
    if energy == np.inf:
        kept, short = give_up(problem, posed.floor)
        return decide(problem, kept, posed.bound, posed.floor.relaxed | short, Status.SCARCE)
    return _search(problem, posed, energy, method, previous, gap, effort)


def _checked(problem: Problem, method: str, start: str | None, previous: Decision | None) -> str:
    """The start to use; refuses what is unknown or unfit."""
    if method not in METHODS:
        raise ProblemError(f"method = {method!r}: choose one of {', '.join(METHODS)}")
    start = start or ("lb" if method == "full" else "equal")
    if start not in STARTS:
        raise ProblemError(f"start = {start!r}: choose one of {', '.join(STARTS)}")
    if previous is not None:
        held = (previous.subcarrier, previous.return_subcarrier)
        for phase, subcarrier in zip(problem.phases, held, strict=False):
            if subcarrier is not None and (
                subcarrier.size != len(phase.cost) or subcarrier.max(initial=-1) >= phase.cost.shape[1]
            ):
                raise ProblemError(
                    f"previous has subcarriers {subcarrier.shape} up to {subcarrier.max()}; this problem has"
                    f" {problem.nodes} nodes and {phase.cost.shape[1]} subcarriers. Leave previous out"
                )
    return start


def _begin(posed: Posed, start: str, previous: Decision | None) -> float:
    """Bring the state to its start; returns its energy, inf if it cannot be served."""
    r, s, w = posed.round, posed.state, posed.scratch
    if previous is not None:
        return float(fit_to_held(r, s, w, posed.spare, *held_rows(posed, previous)))
    if start == "equal":
        return float(fit_to_equal(r, s, w))
    return float(fit(r, s, w, posed.spare, r.ideal.copy()))


def _rescue(problem: Problem, posed: Posed) -> float:
    """Where closing by regret ended dead, ask an integer program for any choice that can be served."""
    from testbed.schedule.exact import feasible_choice  # needs a solver, which ordinary rounds do not load

    selected = feasible_choice(problem, posed.floor)
    if selected is None:
        return np.inf
    take_selection(posed, selected)
    return float(assign(posed.round, posed.state, posed.scratch))


def _search(
    problem: Problem, posed: Posed, energy: float, method: str, previous: Decision | None, gap: float, effort: float
) -> Decision:
    r, s, w, bound = posed.round, posed.state, posed.scratch, posed.bound
    energy, passes = alternate(r, s, w, posed.spare, energy)
    trace = tuple(float(e) for e in w.trace[: passes + 1])
    if method == "full" and bound < energy * (1.0 - gap):
        if previous is not None:
            energy = start_at_held(r, s, w, posed.trial, posed.spare, energy, *held_rows(posed, previous))
        w.spent[0] = 0.0
        energy, bound, rounds = close_in(
            r, s, w, posed.trial, posed.spare, multipliers(posed), energy, bound, gap, effort
        )
        passes, trace = passes + rounds, (*trace, float(energy))
    held = (s.held_0, s.held_1)[: len(problem.phases)]
    return decide(problem, s.selected, bound, posed.floor.relaxed, iterations=passes + 1, trace=trace, subcarriers=held)
