"""The agent's side of the conversation, without a socket or a clock.

One membership: it joins, works on one request at a time and never twice on the same, and ends when the
controller says so or is silent for the lease.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from testbed.link.messages import (
    VERSION,
    Bye,
    Heartbeat,
    Hello,
    Refused,
    Reply,
    Request,
    ToAgent,
    ToController,
    Welcome,
    trim,
)
from testbed.link.session import Admitted, AgentAction, Ended, Execute, Say, random_number


@dataclass
class AgentSession:
    """The agent's side: one membership, from hello to end.

    Attributes:
        index: node that asks to join.
        retry_s: how often hello is said until somebody answers.
        counts: messages dropped, by reason.
    """

    index: int
    retry_s: float = 0.25
    incarnation: int = field(default_factory=random_number)
    state: Literal["joining", "serving", "ended"] = "joining"
    counts: Counter[str] = field(default_factory=Counter)
    _epoch: int = 0
    _heartbeat_s: float = 0.0
    _lease_s: float = 0.0
    _heard: float = 0.0
    _said: float = float("-inf")
    _accepted: int = 0
    _working: bool = False
    _reply: Reply | None = None

    def received(self, message: ToAgent, now: float) -> list[AgentAction]:
        """`message` came from the controller."""
        actions = self._expire(now)
        if self.state == "ended" or (message.node, message.incarnation) != (self.index, self.incarnation):
            self.counts["stale"] += 1
            return actions
        match message.body:
            case Welcome() as welcome if self.state == "joining":
                return self._welcome(message.epoch, welcome, now)
            case Refused(reason=reason):
                return self._end(reason)
        if message.epoch != self._epoch:
            self.counts["stale"] += 1
            return []
        self._heard = now
        match message.body:
            case Heartbeat() | Welcome() | Refused():
                return []
            case Bye(reason=reason):
                return [self._say(Bye("as told"), now), *self._end(reason, dismissed=True)]
            case body:
                return self._request(message.request, body, now)

    def tick(self, now: float) -> list[AgentAction]:
        """Time has passed: hello, heartbeat, lease."""
        actions = self._expire(now)
        if self.state == "joining" and now >= self._said + self.retry_s:
            actions.append(self._say(Hello(VERSION), now))
        elif self.state == "serving" and now >= self._said + self._heartbeat_s:
            actions.append(self._say(Heartbeat(self._accepted if self._working else 0), now))
        return actions

    def wake_at(self) -> float:
        """When `tick` has something to do."""
        if self.state == "joining":
            return self._said + self.retry_s
        if self.state == "serving":
            return min(self._said + self._heartbeat_s, self._heard + self._lease_s)
        return float("inf")

    def finished(self, request: int, reply: Reply, now: float) -> list[AgentAction]:
        """The work on `request` is done."""
        if self.state != "serving" or request != self._accepted:
            self.counts["stale"] += 1
            return []
        self._working, self._reply = False, reply
        return [self._say(reply, now, request)]

    def leave(self, reason: str, now: float) -> list[AgentAction]:
        """The agent goes."""
        if self.state == "ended":
            return []
        return [self._say(Bye(trim(reason)), now), *self._end(reason)]

    def _welcome(self, epoch: int, welcome: Welcome, now: float) -> list[AgentAction]:
        self.state, self._epoch, self._heard = "serving", epoch, now
        self._lease_s, self._heartbeat_s = welcome.lease_s, welcome.heartbeat_s
        return [Admitted(welcome.setup)]

    def _request(self, number: int, body: Request, now: float) -> list[AgentAction]:
        if number == self._accepted and self._reply is not None:
            return [self._say(self._reply, now, number)]
        if self._working or number <= self._accepted:
            self.counts["repeated" if number == self._accepted else "stale"] += 1
            return []
        self._accepted, self._working, self._reply = number, True, None
        return [Execute(number, body)]

    def _expire(self, now: float) -> list[AgentAction]:
        if self.state != "serving" or now < self._heard + self._lease_s:
            return []
        return self._end(f"the controller was silent for {now - self._heard:.2f} s")

    def _end(self, reason: str, *, dismissed: bool = False) -> list[AgentAction]:
        self.state = "ended"
        return [Ended(reason, dismissed)]

    def _say(self, body: Hello | Heartbeat | Bye | Reply, now: float, request: int = 0) -> Say:
        self._said = now
        return Say(ToController(self._epoch, self.index, self.incarnation, request, body))
