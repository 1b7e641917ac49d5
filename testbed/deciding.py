"""A decision in time, whatever the scheduler does: it may hang, fail, or answer what cannot be sent.

A scheduler that does not answer in time is left alone in its thread, and its answer is never looked at. As long as it
holds that thread nobody asks again. What takes its place is a plain rule, and where that fails as well, each token
stays with its own node's expert, which needs no radio. Code that never gives Python's lock back cannot be timed from
within; then the agents' leases run out and silence the radios.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Protocol

import numpy as np

from testbed.errors import ProblemError
from testbed.outcome import Energy, Measured
from testbed.plan import Allocation, Plan, RoundSettings, decide, rows_within
from testbed.schedule.problem import Decision, Problem
from testbed.schedule.status import Status

RULE = "top-k"
"""Decides where the scheduler has not."""
USUAL_S, FIRST_S = 30.0, 300.0


class Decide(Protocol):
    """What a round asks for."""

    def __call__(self, settings: RoundSettings, problem: Problem, measured: Measured, previous: Plan | None, /) -> Plan:
        """The plan of a round."""
        ...


class Decider:
    """Decides within `limit_s`, twice that at worst; `say` is told in a sentence when the scheduler did not.

    Without `limit_s` it is `USUAL_S`, and `FIRST_S` for the first decision, before which code may have to be compiled.
    """

    def __init__(self, limit_s: float | None, say: Callable[[str], None]) -> None:
        self._limit_s, self._say = limit_s or FIRST_S, say
        self._later_s = limit_s or USUAL_S
        self._hanging: threading.Thread | None = None

    def __call__(self, settings: RoundSettings, problem: Problem, measured: Measured, previous: Plan | None, /) -> Plan:
        """The scheduler's plan, or a safe one; feasible in any case."""
        name = settings.scheduler
        try:
            if self._hanging is not None and self._hanging.is_alive():
                raise _Undecided("still hangs in an earlier round")
            return self._ask(settings, problem, measured, previous)
        except _Undecided as why:
            self._say(f"scheduler {name!r} {why}: decided by {RULE!r}")
        try:
            plain = self._ask(replace(settings, scheduler=RULE), problem, measured, None)
            return replace(plain, decision=replace(plain.decision, status=Status.FALLBACK))
        except _Undecided as why:
            self._say(f"{RULE!r} {why}: tokens stay with the expert of their own node")
        return stay_at_home(problem)

    def _ask(self, settings: RoundSettings, problem: Problem, measured: Measured, previous: Plan | None) -> Plan:
        answers: SimpleQueue[Plan | Exception] = SimpleQueue()

        def work() -> None:
            try:
                answers.put(decide(settings, problem, measured, previous))
            except Exception as error:  # noqa: BLE001 - whatever a scheduler may raise
                answers.put(error)

        thread = threading.Thread(target=work, name="decide", daemon=True)
        thread.start()
        try:
            answer = answers.get(timeout=self._limit_s)
        except Empty:
            self._hanging = thread
            raise _Undecided(f"did not decide within {self._limit_s:g} s") from None
        if isinstance(answer, Exception):
            raise _Undecided(f"failed ({type(answer).__name__}: {answer})") from answer
        self._limit_s = self._later_s
        if fault := fault_of(answer):
            raise _Undecided(f"answered what cannot be sent ({fault})")
        return answer


class _Undecided(Exception):
    """Why there is no decision."""


def fault_of(plan: Plan) -> str:
    """Why a plan cannot be sent, empty where it can: experts, their number, subcarriers of every link on both ways."""
    problem, selected = plan.problem, plan.decision.selected
    N, K = problem.score.shape
    if selected.shape != (N, K) or selected.dtype != np.bool_:
        return f"selected is {selected.dtype} of shape {selected.shape}, expected bool of {(N, K)}"
    if (many := int(selected.sum(axis=1).max(initial=0))) > problem.max_experts:
        return f"a token has {many} experts, allowed are {problem.max_experts}"
    token, expert = np.nonzero(selected)
    source = problem.source[token]
    away = source != expert
    out, back = source[away] * K + expert[away], expert[away] * K + source[away]
    for name, allocation, links in (("forward", plan.forward, out), ("return", plan.back, back)):
        if (unserved := np.flatnonzero(allocation.count[links] == 0)).size:
            link = int(links[unserved[0]])
            return f"link {link // K}→{link % K} of the {name} phase has no subcarrier"
    return ""


def stay_at_home(problem: Problem) -> Plan:
    """Every token at its own node's expert: always feasible, nothing on the air; whose score is too low is relaxed."""
    N, K = problem.score.shape
    own = np.arange(K)[None, :] == problem.source[:, None]
    tokens = np.bincount(problem.source, minlength=K)
    price = np.asarray(np.where(tokens > 0, problem.compute_energy_j, 0.0) * tokens, np.float64)
    if not np.isfinite(price).all():
        raise ProblemError("compute_energy_j is infinite at a node with tokens: none of its experts can serve them")
    idle = np.full((K, K), -1, np.int64)
    nothing = np.zeros((K, K))
    decision = Decision(
        selected=own,
        subcarrier=idle,
        return_subcarrier=idle,
        communication_j=nothing,
        computation_j=price,
        bound_j=0.0,
        relaxed=problem.score[np.arange(N), problem.source] < problem.required,
        status=Status.FALLBACK,
        iterations=0,
        trace=(),
    )
    silent = Allocation(idle, np.full(problem.rate_bps.shape[2], -1, np.int64))
    return Plan(problem, decision, rows_within(problem.source), silent, silent, Energy(price, nothing, nothing, 0.0))
