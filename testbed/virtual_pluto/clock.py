"""The two clocks of virtual Plutos: one that is told what time it is, and the wall's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

ClockName = Literal["logical", "wall"]


class LogicalClock:
    """Time that passes when it is told to, and by sleeping, never by itself."""

    name: ClockName = "logical"

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        """Seconds since the start."""
        return self._now

    def advance_to(self, moment_s: float) -> None:
        """Move on, never back."""
        self._now = max(self._now, moment_s)

    def sleep_until(self, moment_s: float, stop: threading.Event) -> bool:
        """At once: whoever waits has the time."""
        return not stop.is_set()


class WallClock:
    """The machine's monotonic clock from 0."""

    name: ClockName = "wall"

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._start = monotonic()

    def now(self) -> float:
        """Seconds since the start."""
        return self._monotonic() - self._start

    def advance_to(self, moment_s: float) -> None:
        """It advances by itself."""

    def sleep_until(self, moment_s: float, stop: threading.Event) -> bool:
        """Wait; whether it was not stopped before."""
        return not stop.wait(max(moment_s - self.now(), 0.0))


Clock = LogicalClock | WallClock
