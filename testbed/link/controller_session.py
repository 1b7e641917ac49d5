"""The controller's side of the conversation, without a socket or a clock.

One process per node is admitted, declared lost when it is silent, and fenced from then on: whatever still
arrives from a lost membership is dropped, counted, and answered with `Refused`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from testbed.link.messages import (
    VERSION,
    Bye,
    Heartbeat,
    Hello,
    Refused,
    Request,
    ToAgent,
    ToController,
    Welcome,
    trim,
)
from testbed.link.session import (
    Answered,
    ControllerAction,
    Denied,
    Joined,
    Lost,
    Tell,
    Unanswered,
    random_number,
)

MALFORMED_LIMIT = 20
"""Unreadable messages of one membership that are forgiven."""


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
    """Members and open requests.

    Attributes:
        setup: (K,) JSON text for each node.
        heartbeat_s: how often both sides speak; a side silent for `missed` of them is dead.
        counts: messages dropped or repeated, by reason.
    """

    setup: Sequence[str]
    heartbeat_s: float = 0.25
    missed: int = 3
    epoch: int = field(default_factory=random_number)
    counts: Counter[str] = field(default_factory=Counter)
    _members: dict[int, _Member] = field(default_factory=dict)
    _fenced: set[tuple[int, int]] = field(default_factory=set)
    _why: dict[int, str] = field(default_factory=dict)
    _requests: int = 0
    _leaving: str = ""

    @property
    def nodes(self) -> int:
        """K."""
        return len(self.setup)

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

    def malformed(self, client: int) -> list[ControllerAction]:
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
            return number, [Unanswered(number, self._leaving or self._why_absent(node))]
        if incarnation not in (0, member.incarnation):
            return number, [Unanswered(number, f"was lost and has joined anew: {self._why.get(node, 'begin again')}")]
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
        self._why[node] = reason
        refused = ToAgent(self.epoch, node, member.incarnation, 0, Refused(trim(reason)))
        actions: list[ControllerAction] = [Lost(node, reason), Tell(member.address, refused)]
        return actions if member.open is None else [*actions, Unanswered(member.open.number, reason)]

    def _why_absent(self, node: int) -> str:
        return f"is not there: it {self._why[node]}" if node in self._why else "is not there"

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
            member.address = address  # not a sign of life: who only says hello does not hear the welcome
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
        return Welcome(self.silence_s, self.heartbeat_s, self.setup[node])

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
