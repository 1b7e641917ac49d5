"""How a person ends a run: three times Ctrl+C, each more urgent; a closed terminal; a panic."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from testbed.agents.latch import is_latched

INTERRUPTED = 130


class Stopping:
    """Whether the run is to end; to be asked between rounds, within a `with`.

    The first Ctrl+C or SIGTERM ends it after the round that is under way; the second takes every radio off the air and
    raises KeyboardInterrupt; the third takes them off the air again and ends the process on the spot. What was recorded
    stays readable on each of these ways. A panic ends it like the first, and so does a terminal that is closed, however
    often that is told.

    Attributes:
        quiet: takes every radio off the air at once.
    """

    def __init__(self, keys: Path) -> None:
        self._keys = keys
        self._asked = 0
        self._before: dict[int, object] = {}
        self.quiet: Callable[[], None] = lambda: None

    def __call__(self) -> bool:
        """Whether the run is to end now."""
        return self._asked > 0 or is_latched(self._keys)

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # not under nohup
            self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._hung_up)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            leaving = self._asked > 1  # all is silent, and nothing is left to do but to go
            signal.signal(number, signal.SIG_IGN if leaving else handler)  # type: ignore[arg-type]  # as it came

    def _hung_up(self, number: int, frame: FrameType | None) -> None:
        self._asked = max(self._asked, 1)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._asked += 1
        if self._asked == 1:
            return
        self.quiet()
        if self._asked == 2:
            raise KeyboardInterrupt
        os._exit(INTERRUPTED)
