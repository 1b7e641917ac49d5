"""A run on a full disk: it pauses with silent radios, says so, and goes on by itself when there is room."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from testbed.fleet import Fleet
from testbed.outcome import RoundRecord
from testbed.record.rows import Predictions
from testbed.record.space import NoSpace, low_space
from testbed.record.writer import RunWriter

POLL_S = 0.5

Tell = Callable[[str], None]
"""Told a sentence for the person who watches the run."""


def say_nothing(words: str) -> None:
    """Where nobody watches."""


@dataclass
class RoundKeeper:
    """Records the rounds of a run one after the other; called with each.

    Attributes:
        writer: of the recording.
        fleet: the nodes, silenced while the run pauses.
        stopping: whether the run is asked to end, which ends a pause too.
        tell: told of low space once, and of each pause's beginning and end.
        folder: where the run is recorded.
        round_bytes: what a round takes there, about.
        rounds: how many there will be.
        events: a sentence on each pause, for the manifest.
    """

    writer: RunWriter
    fleet: Fleet
    stopping: Callable[[], bool]
    tell: Tell
    folder: Path
    round_bytes: int
    rounds: int
    events: list[str] = field(default_factory=list)
    _warned: bool = False

    def __call__(self, record: RoundRecord, predictions: Predictions | None) -> None:
        """Record a round, however long that takes.

        Raises:
            NoSpace: the disk is full and the run was asked to end.
            RecordError: it cannot be recorded.
        """
        try:
            self.writer.append(record, predictions)
        except NoSpace as error:
            self._pause(error)
            self._go_on(record, predictions)
        self._warn()

    def _pause(self, reason: NoSpace) -> None:
        self.fleet.ask(self.fleet.alive(), lambda node: node.silence())
        self.tell(f"paused, all radios are silent: {reason}; the run goes on by itself when there is room")

    def _go_on(self, record: RoundRecord, predictions: Predictions | None) -> None:
        """Wait for room, and record the round."""
        begin = time.monotonic()
        while True:
            time.sleep(POLL_S)
            try:
                self.writer.append(record, predictions)
                break
            except NoSpace:
                if self.stopping():
                    raise
        words = f"paused for {time.monotonic() - begin:.1f} s before round {record.number} was recorded: disk full"
        self.events.append(words)
        self.tell(f"{words}; going on")

    def _warn(self) -> None:
        left = self.rounds - self.writer.committed
        if not self._warned and left > 0 and (words := low_space(self.folder, left * self.round_bytes)):
            self._warned = True
            self.tell(words)
