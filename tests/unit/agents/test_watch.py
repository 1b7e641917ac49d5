"""What a guard decides, by example; time is a number here."""

from __future__ import annotations

import pytest

from testbed.agents.watch import (
    GRACE_S,
    LEASE_S,
    LIMIT,
    QUICK_S,
    Action,
    Kill,
    Leave,
    Silence,
    Start,
    Tell,
    Watch,
)


def kinds(actions: list[Action]) -> list[type]:
    return [type(action) for action in actions]


@pytest.fixture
def watch() -> Watch:
    """Over an agent that was started at 0 and beats."""
    watch = Watch()
    assert watch.tick(0.0) == [Start()]
    assert watch.heard("settled", 0.0) == []
    return watch


def test_a_beating_agent_is_left_alone(watch: Watch) -> None:
    for beat in range(100):
        assert watch.heard(".", beat * 0.25) == watch.tick(beat * 0.25) == []
    assert watch.wake_at() == 99 * 0.25 + LEASE_S


def test_a_silent_agent_is_killed_then_silenced_and_started_again(watch: Watch) -> None:
    assert watch.tick(LEASE_S - 0.01) == []
    told, kill, silence = watch.tick(LEASE_S)
    assert (kill, kinds([told, silence])) == (Kill(), [Tell, Silence])
    assert watch.tick(LEASE_S + 0.01) == []
    assert watch.tick(LEASE_S + GRACE_S)[1] == Kill()  # a process that would not go
    assert kinds(watch.ended("was killed by signal 9", -9, 2.0)) == [Silence, Tell]
    assert watch.tick(2.0) == [Start()]


def test_an_agent_that_is_no_member_any_more_is_silenced_at_once_and_killed_when_it_stays_away(watch: Watch) -> None:
    assert kinds(watch.heard("adrift", 1.0)) == [Silence]
    assert watch.heard("settled", 1.1) == []
    watch.heard("adrift", 2.0)
    watch.heard(".", 2.0 + GRACE_S)
    assert Kill() in watch.tick(2.0 + GRACE_S)


def test_an_agent_that_dies_at_once_each_time_is_given_up_with_its_reason(watch: Watch) -> None:
    now = 0.0
    for young in range(1, LIMIT + 1):
        actions = watch.ended("was killed by signal 11", -11, now + 0.1)
        if young == LIMIT:
            break
        now = watch.wake_at()
        assert watch.tick(now) == [Start()]
        watch.heard("settled", now)
    assert actions[-1] == Leave(1)
    assert "signal 11" in actions[-2].words
    assert "not started again" in actions[-2].words


def test_an_agent_that_lived_is_started_again_for_ever(watch: Watch) -> None:
    now = 0.0
    for _ in range(50):
        now += QUICK_S + 0.1
        assert kinds(watch.ended("was killed by signal 9", -9, now)) == [Silence, Tell]
        assert watch.tick(now) == [Start()]


def test_panic_kills_silences_and_latches_until_arm(watch: Watch) -> None:
    assert Kill() in watch.panic(1.0)
    watch.ended("was killed by signal 9", -9, 1.01)
    assert watch.tick(100.0) == []
    assert watch.wake_at() == float("inf")
    assert kinds(watch.panic(101.0)) == [Silence]
    assert watch.arm(102.0) == [Start()]


def test_the_end_of_the_run_is_waited_for_and_its_disorder_is_not(watch: Watch) -> None:
    assert watch.farewell(1.0, orderly=True) == []
    assert Kill() in watch.tick(1.0 + GRACE_S)
    assert kinds(watch.ended("was killed by signal 9", -9, 2.0)) == [Silence, Leave]
    other = Watch()
    other.tick(0.0)
    assert other.farewell(1.0, orderly=False) == [Kill(gently=True), Silence("nobody is there to answer to")]
    assert kinds(other.ended("ended with code 143", 143, 1.1)) == [Silence, Leave]
    waiting = Watch(latched=True)
    assert waiting.tick(0.0) == []
    assert kinds(waiting.farewell(1.0, orderly=True)) == [Silence, Leave]
