"""What holds between two time stamps and after the last, by counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from testbed.agents.timeline import Blend, Rule, blend, period_s, recorded_moment
from testbed.errors import RecordError

TIMES = np.array([10.0, 10.4, 11.0, 11.1])


@pytest.mark.parametrize(
    ("between", "now", "expected"),
    [
        ("hold", 10.0, Blend(0, 0, 0.0)),
        ("hold", 10.399, Blend(0, 0, 0.0)),
        ("hold", 10.4, Blend(1, 1, 0.0)),
        ("hold", 99.0, Blend(3, 3, 0.0)),
        ("hold", 9.0, Blend(0, 0, 0.0)),
        ("nearest", 10.19, Blend(0, 0, 0.0)),
        ("nearest", 10.21, Blend(1, 1, 0.0)),
        ("nearest", 99.0, Blend(3, 3, 0.0)),
        ("linear", 10.0, Blend(0, 1, 0.0)),
        ("linear", 10.1, Blend(0, 1, 0.25)),
        ("linear", 11.075, Blend(2, 3, 0.75)),
        ("linear", 99.0, Blend(3, 3, 0.0)),
        ("linear", 9.0, Blend(0, 1, 0.0)),
    ],
)
def test_between_two_time_stamps(between: str, now: float, expected: Blend) -> None:
    found = blend(TIMES, now, between)  # type: ignore[arg-type]
    assert (found.earlier, found.later) == (expected.earlier, expected.later)
    assert found.share == pytest.approx(expected.share)


def test_packets_of_one_moment_do_no_harm() -> None:
    twice = np.array([1.0, 2.0, 2.0, 3.0])
    assert blend(twice, 2.0, "hold") == Blend(2, 2, 0.0)
    assert blend(twice, 2.0, "linear") == Blend(2, 3, 0.0)
    assert blend(np.array([5.0]), 7.0, "linear") == Blend(0, 0, 0.0)


def test_rounds_are_steps_apart_until_the_recording_ends() -> None:
    rule = Rule(step_s=0.5)
    assert [recorded_moment(TIMES, n, rule) for n in range(4)] == [10.0, 10.5, 11.0, None]


def test_a_loop_begins_anew_one_median_interval_after_the_last_packet() -> None:
    assert period_s(TIMES) == pytest.approx(1.1 + 0.4)
    moments = [recorded_moment(TIMES, n, Rule(at_end="loop", step_s=0.5)) for n in range(7)]
    assert moments == pytest.approx([10.0, 10.5, 11.0, 10.0, 10.5, 11.0, 10.0])


def test_without_a_step_rounds_are_at_the_recorded_moments() -> None:
    assert [recorded_moment(TIMES, n, Rule()) for n in range(5)] == [*TIMES, None]
    looped = [recorded_moment(TIMES, n, Rule(at_end="loop")) for n in range(6)]
    assert looped == [*TIMES, 10.0, 10.4]


@pytest.mark.parametrize(
    "wrong", [{"between": "guess"}, {"at_end": "again"}, {"step_s": 0.0}, {"step_s": float("nan")}]
)
def test_unknown_rules_list_the_known_ones(wrong: dict[str, object]) -> None:
    with pytest.raises(RecordError, match=r"choose one of|above 0"):
        Rule(**wrong)  # type: ignore[arg-type]
