"""A run on a full disk: it pauses with silent radios, says so, and goes on by itself when there is room."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testbed.fleet import Fleet
from testbed.outcome import RoundRecord, Summary
from testbed.record.folder import Status
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
        self._patiently(lambda: self.writer.append(record, predictions), f"before round {record.number} was recorded")
        self._warn()

    def finish(self, summary: Summary, status: Status, events: Sequence[str] = ()) -> None:
        """Close the recording, however long that takes; `events` come before those of the pauses.

        Raises:
            NoSpace, RecordError: as when a round is recorded.
        """
        self._patiently(
            lambda: self.writer.finish(summary, status, (*events, *self.events)), "before the recording was closed"
        )

    def _patiently(self, write: Callable[[], object], when: str) -> None:
        try:
            write()
        except NoSpace as error:
            self.fleet.ask(self.fleet.alive(), lambda node: node.silence())
            self.tell(f"paused, all radios are silent: {error}; the run goes on by itself when there is room")
            self._wait_for_room(write, when)

    def _wait_for_room(self, write: Callable[[], object], when: str) -> None:
        begin = time.monotonic()
        while True:
            time.sleep(POLL_S)
            try:
                write()
                break
            except NoSpace:
                if self.stopping():
                    raise
        words = f"paused for {time.monotonic() - begin:.1f} s {when}: disk full"
        self.events.append(words)
        self.tell(f"{words}; going on")

    def _warn(self) -> None:
        left = self.rounds - self.writer.committed
        if not self._warned and left > 0 and (words := low_space(self.folder, left * self.round_bytes)):
            self._warned = True
            self.tell(words)
