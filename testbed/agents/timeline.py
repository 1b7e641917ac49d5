"""Replay time → recorded packets: what holds between two time stamps, and what comes after the last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from testbed.errors import RecordError

Between = Literal["hold", "linear", "nearest"]
AtEnd = Literal["stop", "loop"]
Times = NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """How a recording is replayed.

    Attributes:
        between: what holds between two time stamps: the earlier packet; both in proportion, as powers; the nearer one.
        at_end: after the last time stamp the replay stops, or begins anew.
        step_s: seconds of the recording between rounds; None = the moments of the recorded rounds.
    """

    between: Between = "hold"
    at_end: AtEnd = "stop"
    step_s: float | None = None

    def __post_init__(self) -> None:
        for name, value, known in (
            ("--between", self.between, get_args(Between)),
            ("--at-end", self.at_end, get_args(AtEnd)),
        ):
            if value not in known:
                raise RecordError(f"{name} {value}: choose one of {', '.join(known)}")
        if self.step_s is not None and not 0 < self.step_s < float("inf"):
            raise RecordError(f"--step {self.step_s}: give the seconds between rounds, above 0")

    def described(self) -> dict[str, str | int | float]:
        """For the record."""
        pace: dict[str, str | int | float] = {} if self.step_s is None else {"replay_step_s": self.step_s}
        return {"replay_between": self.between, "replay_at_end": self.at_end, **pace}


@dataclass(frozen=True)
class Blend:
    """Two packets and the share of the later one: 0 = the earlier alone."""

    earlier: int
    later: int
    share: float


def blend(times: Times, now: float, between: Between) -> Blend:
    """Which packets hold at a moment.

    Args:
        times: (n,) s, rising, at least one.
        now: s; before the first and after the last packet, that one holds.
        between: the rule.
    """
    last = times.size - 1
    one = int(np.clip(np.searchsorted(times, now, side="right") - 1, 0, last))
    other = min(one + 1, last)
    gap = float(times[other] - times[one])
    share = float(np.clip((now - times[one]) / gap, 0, 1)) if gap > 0 else 0.0
    if between == "hold":
        return Blend(one, one, 0.0)
    if between == "nearest":
        near = other if share > 0.5 else one
        return Blend(near, near, 0.0)
    return Blend(one, other, share)


def period_s(times: Times) -> float:
    """After what time a recording begins anew: its length, and one median interval for the last packet to hold."""
    intervals = np.diff(times)
    return float(times[-1] - times[0] + (np.median(intervals) if intervals.size else 0.0))


def recorded_moment(times: Times, number: int, rule: Rule) -> float | None:
    """Where in a recording a round takes place, s; None after its end.

    Args:
        times: (n,) s, rising: rounds, or packets, of the recording.
        number: of the round, from 0.
        rule: with a step, round n is n steps after the first packet; without, it is at the n-th moment.
    """
    lap = period_s(times)
    if rule.step_s is None:
        laps, moment = divmod(number, times.size)
        return float(times[moment]) if rule.at_end == "loop" or not laps else None
    passed = number * rule.step_s
    if rule.at_end == "loop" and lap > 0:
        return float(times[0] + passed % lap)
    return float(times[0] + passed) if passed <= times[-1] - times[0] else None
