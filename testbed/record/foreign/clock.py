"""Counter values → seconds that never fall: wrap-around undone, damaged stamps found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ticks = NDArray[np.int64]
REORDERED_S = 0.05
NEVER = 63


@dataclass(frozen=True)
class Clock:
    """A receiver's time stamp.

    Attributes:
        tick_s: duration of one count.
        bits: width of the counter; 63 = never wraps. A count beyond is of a wider counter, which has not wrapped.
        restarts: a step back is a restart of the receiver, not a gap of more than half the counter's period.
        name: in words.
    """

    tick_s: float
    bits: int
    restarts: bool
    name: str


@dataclass(frozen=True)
class Reading:
    """Last good stamp: as in the file, undone, and the latest time given out; the state between chunks."""

    raw: int
    total: int
    latest: int


def _steps(clock: Clock, raw: Ticks) -> Ticks:
    """Differences of neighbours; those of a counter that wraps are between minus and plus half its period."""
    step = np.diff(raw)
    if clock.bits >= NEVER:
        return step
    period = 1 << clock.bits
    wider = ((raw[1:] | raw[:-1]) >> clock.bits) > 0
    return np.where(wider, step, (step + period // 2) % period - period // 2)


def _damaged(step: Ticks, tolerance: int, begins: bool, ends: bool) -> NDArray[np.bool_]:
    """Which of step + 1 stamps stand alone: time jumps there and back again, or falls at an end of the file."""
    lonely = np.zeros(step.size + 1, np.bool_)
    there, back = step[:-1], step[1:]
    falls = (there < -tolerance) | (back < -tolerance)
    lonely[1:-1] = falls & (np.abs(there + back) < np.maximum(np.abs(there), np.abs(back)) // 2)
    if begins and step.size > 1 and not lonely[1]:
        lonely[0] = step[0] < -tolerance
    if ends and step.size > 1 and not lonely[-2]:
        lonely[-1] = step[-1] < -tolerance
    return lonely


def undo_wrap(
    clock: Clock, raw: Ticks, last: Reading | None, ends: bool
) -> tuple[NDArray[np.float64], NDArray[np.bool_], Reading]:
    """Seconds since the first packet.

    A stamp that stands alone between two that agree is damaged. A counter that falls for good has wrapped after a
    gap of more than half its period, or has restarted; a restart continues without a gap.

    Args:
        clock: the counter.
        raw: (packets,) counter values, at least one.
        last: state after the packets before; None at the beginning.
        ends: the file ends with these packets.

    Returns:
        (good packets,) seconds that never fall; (packets,) which stamps are good; the state after them.
    """
    known = np.concatenate([[last.raw], raw]) if last else raw
    tolerance = int(REORDERED_S / clock.tick_s)
    keep = ~_damaged(_steps(clock, known), tolerance, last is None, ends)
    keep[0] |= last is not None
    known = known[keep]
    step = _steps(clock, known)
    fallen = step < -tolerance
    if clock.restarts or clock.bits >= NEVER:
        step[fallen] = 0
    else:
        step[fallen] = np.maximum(step[fallen] + (1 << clock.bits), 0)
    start, latest = (last.total, last.latest) if last else (0, 0)
    total = np.concatenate([[start], start + np.cumsum(step)])
    given = np.maximum(np.maximum.accumulate(total), latest)
    skip = 1 if last else 0
    state = Reading(int(known[-1]), int(total[-1]), int(given[-1]))
    return given[skip:] * clock.tick_s, keep[skip:], state
