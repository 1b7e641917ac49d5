"""What a guard decides: pure, without a process, a pipe or a clock.

An agent that serves beats; one that is silent, or does not come back to itself after its membership, is killed.
Whenever an agent ends or must not transmit, its radio is silenced over the guard's own way. A dead agent is
started again, unless it dies at once each time, a panic is on, or the run is over.
"""

from __future__ import annotations

from dataclasses import dataclass, field

LEASE_S = 0.75
"""Silence after which an agent hangs."""
GRACE_S = 0.75
"""How long an agent may take to be ready for another membership, or to leave."""
QUICK_S, LIMIT = 1.0, 4
"""An agent that dies so young so many times in a row is not started again."""
BACKOFF_S = 0.1


@dataclass(frozen=True)
class Silence:
    """Take the radio off the air over the guard's own way."""

    reason: str


@dataclass(frozen=True)
class Kill:
    """End the agent at once; `gently` lets it unwind."""

    gently: bool = False


@dataclass(frozen=True)
class Start:
    """A new agent."""


@dataclass(frozen=True)
class Tell:
    """A line for the controller."""

    words: str


@dataclass(frozen=True)
class Leave:
    """The guard has done its work."""

    code: int


Action = Silence | Kill | Start | Tell | Leave


@dataclass
class Watch:
    """One agent after another."""

    latched: bool = False
    leaving: bool = False
    _alive: bool = False
    _born: float = 0.0
    _beat: float | None = None
    _adrift: float | None = None
    _start_at: float | None = field(default=float("-inf"))
    _kill_at: float | None = None
    _young: int = 0

    def tick(self, now: float) -> list[Action]:
        """Time has passed."""
        if not self._alive:
            if self._start_at is None or self.latched or now < self._start_at:
                return []
            self._alive, self._born, self._start_at = True, now, None
            self._beat = self._adrift = self._kill_at = None
            return [Start()]
        if self._kill_at is not None:
            return self._end("does not leave", now) if now >= self._kill_at else []
        if self._beat is not None and now >= self._beat + LEASE_S:
            return self._end(f"hangs: silent for {now - self._beat:.2f} s", now)
        if self._adrift is not None and now >= self._adrift + GRACE_S:
            return self._end("hangs in what it was asked to do", now)
        return []

    def wake_at(self) -> float:
        """When `tick` has something to do."""
        if not self._alive:
            return float("inf") if self._start_at is None or self.latched else self._start_at
        times = [self._kill_at]
        if self._kill_at is None:
            times += [
                None if self._beat is None else self._beat + LEASE_S,
                None if self._adrift is None else self._adrift + GRACE_S,
            ]
        return min((at for at in times if at is not None), default=float("inf"))

    def heard(self, word: str, now: float) -> list[Action]:
        """The agent lives (any word), is no member any more ("adrift"), is ready to be one ("settled")."""
        self._beat = now
        if word == "adrift":
            self._adrift = now
            return [Silence("its membership has ended")]
        if word == "settled":
            self._adrift = None
        return []

    def ended(self, how: str, code: int, now: float) -> list[Action]:
        """The agent is no more: `how` in words, and its exit code."""
        self._alive, self._kill_at = False, None
        actions: list[Action] = [Silence(how)]
        if self.leaving or code == 0:
            return [*actions, Leave(0)]
        actions.append(Tell(f"down {how}"))
        if self.latched:
            self._start_at, self._young = now, 0
            return actions
        self._young = self._young + 1 if now < self._born + QUICK_S else 0
        if self._young >= LIMIT:
            return [*actions, Tell(f"lost {how}, {self._young} times at once: it is not started again"), Leave(1)]
        self._start_at = now + BACKOFF_S * (2**self._young - 1)
        return actions

    def farewell(self, now: float, *, orderly: bool) -> list[Action]:
        """The run has ended, or in disorder: the controller is gone, somebody wants this to end."""
        if self.leaving and (orderly or self._kill_at is not None):
            return []
        self.leaving = True
        if not self._alive:
            return [Silence("the run has ended"), Leave(0)]
        self._kill_at = now + GRACE_S
        return [] if orderly else [Kill(gently=True), Silence("nobody is there to answer to")]

    def panic(self, now: float) -> list[Action]:
        """Nobody transmits until `arm`."""
        self.latched = True
        return self._end("panic", now) if self._alive else [Silence("panic")]

    def arm(self, now: float) -> list[Action]:
        """Transmitting is allowed again."""
        self.latched = False
        return self.tick(now)

    def _end(self, why: str, now: float) -> list[Action]:
        self._kill_at = now + GRACE_S  # a killed process that is not gone by then is killed again
        return [Tell(f"down {why}"), Kill(), Silence(why)]
