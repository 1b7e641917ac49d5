"""A scheduler that hangs, fails or answers nonsense: the round is decided in time, and says by whom."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from testbed.deciding import RULE, Decider, fault_of, stay_at_home
from testbed.errors import ProblemError
from testbed.outcome import Measured
from testbed.plan import decide, pose, rates
from testbed.schedule import policy
from testbed.schedule.problem import Decision, Problem
from testbed.schedule.status import Status
from tests.system.rounds import Run, run
from tests.unit.test_plan import SETTINGS

GOOD = {"channel.snr_db": 30.0, "schedule.scheduler": "jesa", "schedule.deadline_s": 2.0}


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Ends what hangs when the test is over."""
    event = threading.Event()
    yield event
    event.set()


def with_scheduler(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Decision], *names: str) -> None:
    for name in names:
        monkeypatch.setitem(policy.POLICIES, name, answer)


def events(done: Run) -> list[str]:
    return [event for record in done.records for event in record.events]


def assert_whole(done: Run) -> None:
    assert done.totals.rounds == done.model.layers
    assert done.totals.lost == 0
    for record in done.records:
        assert record.selected.any(axis=1).all()
        assert record.selected.sum(axis=1).max() <= done.campaign.schedule.max_experts


def test_a_scheduler_that_hangs_is_replaced_in_time(monkeypatch: pytest.MonkeyPatch, release: threading.Event) -> None:
    for name in ("jesa", RULE):  # loads what is compiled
        run(GOOD | {"schedule.scheduler": name, "schedule.deadline_s": 100.0})

    def hang(problem: Problem, previous: Decision | None, seed: int) -> Decision:
        release.wait(60)
        raise ProblemError("never asked for")

    with_scheduler(monkeypatch, hang, "jesa")
    done = run(GOOD)
    assert_whole(done)
    assert [record.status for record in done.records] == ["FALLBACK"] * 4
    assert max(record.seconds["schedule"] for record in done.records) < 2 * 2.0 + 2.0
    assert events(done)[0] == f"scheduler 'jesa' did not decide within 2 s: decided by {RULE!r}"
    assert "still hangs" in events(done)[1]
    assert sum(record.forward.sent.sum() for record in done.records) > 0


def test_a_scheduler_that_raises_or_answers_nonsense_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    honest, calls = policy.POLICIES["jesa"], iter(range(100))

    def moody(problem: Problem, previous: Decision | None, seed: int) -> Decision:
        match next(calls):
            case 0:
                raise ZeroDivisionError("a bug")
            case 1:
                everybody = honest(problem, previous, seed)
                return replace(everybody, selected=np.ones_like(everybody.selected))
        return honest(problem, previous, seed)

    with_scheduler(monkeypatch, moody, "jesa")
    done = run(GOOD | {"schedule.deadline_s": 30.0})
    assert_whole(done)
    assert [record.status == "FALLBACK" for record in done.records] == [True, True, False, False]
    assert "failed (ZeroDivisionError: a bug)" in events(done)[0]
    assert "answered what cannot be sent (a token has 4 experts" in events(done)[1]


def test_where_nobody_decides_nobody_transmits(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(problem: Problem, previous: Decision | None, seed: int) -> Decision:
        raise ZeroDivisionError("a bug")

    with_scheduler(monkeypatch, broken, "jesa", RULE)
    done = run(GOOD | {"schedule.deadline_s": 30.0})
    assert_whole(done)
    for record in done.records:
        assert record.status == "FALLBACK"
        assert record.forward.sent.sum() == record.back.sent.sum() == 0
        np.testing.assert_array_equal(record.selected.argmax(axis=1), record.source)
        own = record.score[np.arange(record.source.size), record.source]
        np.testing.assert_array_equal(record.relaxed, own < record.qos)


def test_an_answer_that_comes_too_late_is_never_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, measured = posed()
    honest = policy.POLICIES["jesa"]

    def late(problem: Problem, previous: Decision | None, seed: int) -> Decision:
        time.sleep(0.4)
        return honest(problem, previous, seed)

    decide(SETTINGS, problem, measured, None)
    with_scheduler(monkeypatch, late, SETTINGS.scheduler)
    said: list[str] = []
    decider = Decider(0.1, said.append)
    first = decider(SETTINGS, problem, measured, None)
    assert first.decision.status is Status.FALLBACK
    assert "did not decide within 0.1 s" in said[0]
    time.sleep(1.0)
    with_scheduler(monkeypatch, honest, SETTINGS.scheduler)
    assert Decider(30.0, said.append)(SETTINGS, problem, measured, None).decision.status is not Status.FALLBACK


def posed() -> tuple[Problem, Measured]:
    """A problem of three nodes and good channels."""
    rng, U = np.random.default_rng(3), SETTINGS.grid.used.size
    K = SETTINGS.compute_energy_j.size
    away = ~np.eye(K, dtype=bool)
    snr = (1000.0 * rng.exponential(size=(K, K, U)) * away[:, :, None]).astype(np.float32)
    link = np.zeros((K, K))
    measured = Measured(np.sqrt(snr).astype(np.complex64), np.ones_like(snr), snr, away, link, link, link > 0)
    scores = {k: rng.dirichlet(np.full(K, 0.5), 5) for k in range(K)}
    return pose(SETTINGS, 0, scores, rates(SETTINGS, measured, np.ones(K, bool))), measured


def test_plans_are_feasible_or_told_why_not() -> None:
    problem, measured = posed()
    plan = decide(SETTINGS, problem, measured, None)
    assert fault_of(plan) == ""
    assert fault_of(stay_at_home(problem)) == ""
    wide = replace(plan.decision, selected=np.ones_like(plan.decision.selected))
    assert "experts" in fault_of(replace(plan, decision=wide))
    silent = replace(plan, back=stay_at_home(problem).back)
    assert "of the return phase has no subcarrier" in fault_of(silent)
    narrow = replace(plan.decision, selected=plan.decision.selected[:, :2])
    assert "shape" in fault_of(replace(plan, decision=narrow))
