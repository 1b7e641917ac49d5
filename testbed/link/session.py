"""Who belongs to a run, and which requests are open: decided without a socket or a clock.

Both sides take events and a monotonic time in seconds, and return actions. `ControllerSession` admits one
process per node, declares it lost when it is silent, and fences it from then on: whatever still arrives from
a lost membership is dropped, counted, and answered with `Refused`. `AgentSession` joins, works on one request
at a time, never twice on the same, and ends when the controller is silent for the lease.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
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

MALFORMED_LIMIT = 20


def random_number() -> int:
    """For an epoch or an incarnation: never 0, unlikely to occur twice."""
    return secrets.randbits(62) + 1


# What a session asks its owner to do


@dataclass(frozen=True)
class Tell:
    """Controller: send `message` to the connection `address`."""

    address: bytes
    message: ToAgent


@dataclass(frozen=True)
class Joined:
    """Controller: `node` is there, as `incarnation`."""

    node: int
    incarnation: int


@dataclass(frozen=True)
class Lost:
    """Controller: `node` is gone."""

    node: int
    reason: str


@dataclass(frozen=True)
class Denied:
    """Controller: somebody with the key of `client` was turned away."""

    client: int
    reason: str


@dataclass(frozen=True)
class Answered:
    """Controller: the reply to `request`."""

    request: int
    reply: Reply


@dataclass(frozen=True)
class Unanswered:
    """Controller: `request` will never be answered."""

    request: int
    reason: str


@dataclass(frozen=True)
class Say:
    """Agent: send `message` to the controller."""

    message: ToController


@dataclass(frozen=True)
class Admitted:
    """Agent: the controller took us in; `setup` is its JSON text."""

    setup: str


@dataclass(frozen=True)
class Execute:
    """Agent: work on `body`, then call `finished`."""

    request: int
    body: Request


@dataclass(frozen=True)
class Ended:
    """Agent: no longer a member, the radio must be silent. Comes once."""

    reason: str


ControllerAction = Tell | Joined | Lost | Denied | Answered | Unanswered
AgentAction = Say | Admitted | Execute | Ended


@dataclass
class _Open:
    """A request under way."""

    number: int
    body: Request
    timeout_s: float
    deadline: float
    resend_at: float


@dataclass
class _Member:
    """A node's admitted process."""

    address: bytes
    incarnation: int
    heard: float
    told: float
    open: _Open | None = None
    malformed: int = 0


@dataclass
class ControllerSession:
    """The controller's side, for `nodes` nodes.

    Attributes:
        setup: JSON text for the node of that index.
        heartbeat_s: how often both sides speak; a side silent for `missed` of them is dead.
        counts: messages dropped or repeated, by reason.
    """

    nodes: int
    setup: Callable[[int], str]
    heartbeat_s: float = 0.25
    missed: int = 3
    epoch: int = field(default_factory=random_number)
    counts: Counter[str] = field(default_factory=Counter)
    _members: dict[int, _Member] = field(default_factory=dict)
    _fenced: set[tuple[int, int]] = field(default_factory=set)
    _requests: int = 0
    _leaving: str = ""

    @property
    def silence_s(self) -> float:
        """Silence after which a side is dead."""
        return self.heartbeat_s * self.missed

    def alive(self) -> tuple[bool, ...]:
        """(K,) which nodes are there."""
        return tuple(k in self._members for k in range(self.nodes))

    def incarnation(self, node: int) -> int:
        """Incarnation of a node that is there, 0 otherwise."""
        return self._members[node].incarnation if node in self._members else 0

    def received(self, address: bytes, client: int, message: ToController, now: float) -> list[ControllerAction]:
        """`message` came over connection `address`, whose key belongs to node `client`."""
        if client != message.node or not 0 <= client < self.nodes:
            return self._deny(address, client, message, f"your key is not the key of node {message.node}")
        if isinstance(message.body, Hello):
            return self._hello(address, message, message.body, now)
        member = self._members.get(message.node)
        if member is None or (message.epoch, message.incarnation) != (self.epoch, member.incarnation):
            self.counts["stale"] += 1
            return [self._refused(address, message, "this membership has ended: join again")]
        member.address, member.heard = address, now
        return self._heard(message, member, now)

    def malformed(self, client: int, now: float) -> list[ControllerAction]:
        """Something unreadable came from node `client`; too much of it ends the membership."""
        self.counts["malformed"] += 1
        member = self._members.get(client)
        if member is None:
            return []
        member.malformed += 1
        if member.malformed < MALFORMED_LIMIT:
            return []
        return self.lose(client, f"sent {member.malformed} unreadable messages")

    def unroutable(self, address: bytes) -> list[ControllerAction]:
        """Nothing can be sent to connection `address` any more."""
        nodes = [k for k, member in self._members.items() if member.address == address]
        return [action for k in nodes for action in self.lose(k, "its connection is gone")]

    def tick(self, now: float) -> list[ControllerAction]:
        """Time has passed: heartbeats, deadlines, repeats."""
        return [a for k in list(self._members) for a in self._tick(k, self._members[k], now)]

    def wake_at(self) -> float:
        """When `tick` has something to do."""
        return min((self._wake_at(member) for member in self._members.values()), default=float("inf"))

    def ask(
        self, node: int, body: Request, timeout_s: float, now: float, incarnation: int = 0
    ) -> tuple[int, list[ControllerAction]]:
        """Number of the new request, and what to do; exactly one `Answered` or `Unanswered` will follow.

        Args:
            node: who is asked.
            body: for what.
            timeout_s: the node is lost when it takes longer.
            now: time in seconds.
            incarnation: the membership that is meant, 0 = whichever there is.
        """
        self._requests += 1
        number, member = self._requests, self._members.get(node)
        if member is None or self._leaving:
            return number, [Unanswered(number, self._leaving or "is not there")]
        if incarnation not in (0, member.incarnation):
            return number, [Unanswered(number, "was lost and has joined anew: begin again")]
        if member.open is not None:
            return number, [Unanswered(number, "is still busy with another request")]
        member.open = _Open(number, body, timeout_s, now + timeout_s, now + 2 * self.heartbeat_s)
        return number, [self._tell(member, node, body, now, number)]

    def lose(self, node: int, reason: str) -> list[ControllerAction]:
        """End the membership of `node`, if there is one, and fence it."""
        member = self._members.pop(node, None)
        if member is None:
            return []
        self._fenced.add((node, member.incarnation))
        refused = ToAgent(self.epoch, node, member.incarnation, 0, Refused(trim(reason)))
        actions: list[ControllerAction] = [Lost(node, reason), Tell(member.address, refused)]
        return actions if member.open is None else [*actions, Unanswered(member.open.number, reason)]

    def leave(self, reason: str, now: float) -> list[ControllerAction]:
        """The controller ends the run: no request is answered any more, and members go once they say so."""
        self._leaving = reason
        actions: list[ControllerAction] = []
        for node, member in self._members.items():
            actions.append(self._tell(member, node, Bye(trim(reason)), now))
            if member.open is not None:
                actions.append(Unanswered(member.open.number, reason))
                member.open = None
        return actions

    def _hello(self, address: bytes, message: ToController, hello: Hello, now: float) -> list[ControllerAction]:
        node, incarnation = message.node, message.incarnation
        if hello.version != VERSION:
            return self._deny(
                address,
                node,
                message,
                f"node {node} speaks version {hello.version}, the controller {VERSION}: install the same",
            )
        if self._leaving:
            return [self._refused(address, message, self._leaving)]
        if (node, incarnation) in self._fenced:
            self.counts["stale"] += 1
            return [self._refused(address, message, "this membership has ended: join again")]
        member = self._members.get(node)
        if member is not None and member.incarnation == incarnation:
            member.address, member.heard = address, now
            return [self._tell(member, node, self._welcome(node), now)]
        actions = self.lose(node, "another process took its place")
        self._members[node] = member = _Member(address, incarnation, now, now)
        return [
            *actions,
            self._tell(member, node, self._welcome(node), now),
            Joined(node, incarnation),
        ]

    def _heard(self, message: ToController, member: _Member, now: float) -> list[ControllerAction]:
        match message.body:
            case Heartbeat(working=number):
                if member.open is not None and member.open.number == number:
                    member.open.resend_at = now + 2 * self.heartbeat_s
                return []
            case Bye(reason=reason):
                return self.lose(message.node, f"left: {reason}")
            case Hello():
                return []
            case reply:
                if member.open is None or member.open.number != message.request:
                    self.counts["stale"] += 1
                    return []
                member.open = None
                return [Answered(message.request, reply)]

    def _tick(self, node: int, member: _Member, now: float) -> list[ControllerAction]:
        if now >= member.heard + self.silence_s:
            return self.lose(node, f"was silent for {now - member.heard:.2f} s")
        work = member.open
        if work is not None and now >= work.deadline:
            verb = type(work.body).__name__.lower()
            return self.lose(node, f"did not answer '{verb}' within {work.timeout_s:g} s")
        actions: list[ControllerAction] = []
        if work is not None and now >= work.resend_at:
            self.counts["repeated"] += 1
            work.resend_at = now + 2 * self.heartbeat_s
            actions.append(self._tell(member, node, work.body, now, work.number))
        if now >= member.told + self.heartbeat_s:
            actions.append(self._tell(member, node, Heartbeat(), now))
        return actions

    def _wake_at(self, member: _Member) -> float:
        times = [member.heard + self.silence_s, member.told + self.heartbeat_s]
        if member.open is not None:
            times += [member.open.deadline, member.open.resend_at]
        return min(times)

    def _welcome(self, node: int) -> Welcome:
        return Welcome(self.silence_s, self.heartbeat_s, self.setup(node))

    def _tell(
        self,
        member: _Member,
        node: int,
        body: Welcome | Heartbeat | Bye | Request,
        now: float,
        request: int = 0,
    ) -> Tell:
        member.told = now
        return Tell(member.address, ToAgent(self.epoch, node, member.incarnation, request, body))

    def _refused(self, address: bytes, message: ToController, reason: str) -> Tell:
        return Tell(address, ToAgent(self.epoch, message.node, message.incarnation, 0, Refused(trim(reason))))

    def _deny(self, address: bytes, client: int, message: ToController, reason: str) -> list[ControllerAction]:
        self.counts["denied"] += 1
        return [Denied(client, reason), self._refused(address, message, reason)]


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
                return [self._say(Bye("as told"), now), *self._end(reason)]
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

    def _end(self, reason: str) -> list[AgentAction]:
        self.state = "ended"
        return [Ended(reason)]

    def _say(self, body: Hello | Heartbeat | Bye | Reply, now: float, request: int = 0) -> Say:
        self._said = now
        return Say(ToController(self._epoch, self.index, self.incarnation, request, body))
