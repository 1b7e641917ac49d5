"""The controller's end of the link: nodes join, are asked, and are lost."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from testbed.errors import LinkError, NodeFailed, NodeLost
from testbed.link.codec import pack, unpack
from testbed.link.controller_session import ControllerSession
from testbed.link.keys import ServerKeys
from testbed.link.loop import Loop
from testbed.link.messages import Failed, Reply, Request, ToController
from testbed.link.session import (
    Answered,
    ControllerAction,
    Denied,
    Joined,
    Lost,
    Tell,
    Unanswered,
)
from testbed.link.sockets import Arrival, ServerSocket

_GRACE_S = 2.0
_FAREWELL_S = 0.5
_EVENTS_KEPT, _REFUSALS_KEPT = 10_000, 2_000


@dataclass(frozen=True)
class Event:
    """Something to remember.

    Attributes:
        at_s: monotonic time.
        kind: "joined", "lost" or "refused".
        node: node concerned, −1 when unknown.
        text: one sentence.
    """

    at_s: float
    kind: str
    node: int
    text: str


class Hub:
    """Listens at `bind` for `nodes` agents; thread-safe; to be used in a `with`.

    Attributes:
        address: where agents connect.

    Args:
        bind: "tcp://127.0.0.1:*" for a free port on this machine.
        keys: the controller's own pair and the nodes' public keys.
        nodes: K.
        setup: JSON text for each node, or a function of its index.
        heartbeat_s: how often both sides speak.
        missed: how many heartbeats a side may miss before it is dead.

    Raises:
        LinkError: the address cannot be bound.
    """

    def __init__(
        self,
        bind: str,
        keys: ServerKeys,
        nodes: int,
        setup: Callable[[int], str] | Sequence[str],
        *,
        heartbeat_s: float = 0.25,
        missed: int = 3,
    ) -> None:
        texts = [setup(k) if callable(setup) else setup[k] for k in range(nodes)]
        self._session = ControllerSession(texts, heartbeat_s, missed)
        self._socket = ServerSocket(bind, keys)
        self.address = self._socket.address
        self._changed = threading.Condition()
        self._members = (0,) * nodes
        self._events: deque[Event] = deque(maxlen=_EVENTS_KEPT)
        self._open: dict[int, Future[Reply]] = {}
        self._refusals: set[str] = set()
        self._turn = tuple(threading.Lock() for _ in range(nodes))
        self._over = False
        self._loop = Loop("hub", self._socket, self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close("the run has ended" if error is None else "the run was broken off")

    def close(self, reason: str = "the run has ended") -> None:
        """Say farewell to every node and stop listening."""
        self._loop.call(lambda: self._act(self._session.leave(reason, time.monotonic())))
        with self._changed:
            self._changed.wait_for(lambda: self._over or not any(self._members), _FAREWELL_S)
        self._loop.stop()

    def wait_joined(self, deadline_s: float) -> None:
        """Until all nodes are there.

        Raises:
            LinkError: some are not within `deadline_s`; the message names them and what was refused.
        """
        with self._changed:
            joined = self._changed.wait_for(lambda: self._over or all(self._members), deadline_s)
        if self._over:
            raise LinkError("the hub is closed: open a new one")
        if joined:
            return
        missing = ", ".join(str(k) for k, there in enumerate(self.alive()) if not there)
        refused = {e.text for e in self.events() if e.kind == "refused"}
        raise LinkError(
            f"node {missing} did not join within {deadline_s:g} s; "
            + ("; ".join(sorted(refused)) or f"start its agent with address {self.address}")
        )

    def alive(self) -> tuple[bool, ...]:
        """(K,) which nodes are there."""
        return tuple(bool(incarnation) for incarnation in self._members)

    def incarnation(self, node: int) -> int:
        """Number of the present membership of `node`, 0 when it is not there."""
        return self._members[node]

    def events(self) -> tuple[Event, ...]:
        """What happened so far, oldest first."""
        return tuple(self._events)

    def counts(self) -> dict[str, int]:
        """Messages dropped or repeated so far, by reason."""
        return dict(self._session.counts)

    def ask(self, node: int, request: Request, timeout_s: float, *, incarnation: int = 0) -> Reply:
        """The answer of `node`; requests to one node wait for each other.

        Args:
            node: who is asked.
            request: for what.
            timeout_s: the node is lost, and fenced, when it takes longer.
            incarnation: membership that is meant, 0 = whichever there is.

        Raises:
            NodeLost: the node is not there, was lost meanwhile, or did not answer in time.
            NodeFailed: the node answered that it could not.
        """
        pack(request)  # what cannot be sent is the caller's mistake, and must not reach the loop
        with self._turn[node]:
            answer: Future[Reply] = Future()
            self._loop.call(lambda: self._ask(node, request, timeout_s, incarnation, answer))
            reply = self._wait(node, answer, timeout_s)
        if isinstance(reply, Failed):
            raise NodeFailed(f"node {node}: {reply.text} ({reply.kind})")
        return reply

    def fence(self, node: int, reason: str) -> None:
        """Declare `node` lost, e.g. because its process was seen to end."""
        self._loop.call(lambda: self._act(self._session.lose(node, reason)))

    def _wait(self, node: int, answer: Future[Reply], timeout_s: float) -> Reply:
        if self._over:
            answer.cancel()
            raise LinkError("the hub is closed: open a new one")
        try:
            return answer.result(timeout_s + _GRACE_S)
        except _Gone as error:
            raise NodeLost(f"node {node} {error}") from None
        except TimeoutError:
            raise LinkError(f"no word of node {node}: the hub itself has stopped") from None

    # On the loop's thread

    def arrived(self, arrival: Arrival, now: float) -> None:
        """A message came."""
        try:
            message = unpack(arrival.frames, ToController)
        except LinkError:
            self._act(self._session.malformed(arrival.client))
        else:
            self._act(self._session.received(arrival.address, arrival.client, message, now))

    def tick(self, now: float) -> None:
        """Time has passed."""
        self._act(self._session.tick(now))
        for who in self._socket.newly_denied():
            self._remember("refused", -1, f"refused the unknown key of {who}")

    def wake_at(self) -> float:
        """When `tick` has something to do."""
        return self._session.wake_at()

    def over(self) -> None:
        """Whoever waits gets an error."""
        self._over = True
        for answer in self._open.values():
            answer.set_exception(_Gone("was not answered: the hub was closed"))
        self._open.clear()
        with self._changed:
            self._changed.notify_all()

    def _ask(self, node: int, request: Request, timeout_s: float, incarnation: int, answer: Future[Reply]) -> None:
        number, actions = self._session.ask(node, request, timeout_s, time.monotonic(), incarnation)
        self._open[number] = answer
        self._act(actions)

    def _act(self, actions: Iterable[ControllerAction]) -> None:
        todo: deque[ControllerAction] = deque(actions)
        while todo:
            match todo.popleft():
                case Tell(address, message):
                    if not self._socket.send(address, pack(message)):
                        todo.extend(self._session.unroutable(address))
                case Joined(node):
                    self._remember("joined", node, f"node {node} joined")
                case Lost(node, reason):
                    self._remember("lost", node, f"node {node} {reason}")
                case Denied(client, reason):
                    self._remember("refused", client, f"refused node {client}: {reason}")
                case Answered(request, reply):
                    self._open.pop(request).set_result(reply)
                case Unanswered(request, reason):
                    self._open.pop(request).set_exception(_Gone(reason))

    def _remember(self, kind: str, node: int, text: str) -> None:
        if kind == "refused":  # who is refused tries again and again, under ever new names if he likes
            if text in self._refusals or len(self._refusals) >= _REFUSALS_KEPT:
                return
            self._refusals.add(text)
        self._events.append(Event(time.monotonic(), kind, node, text))
        with self._changed:
            self._members = tuple(self._session.incarnation(k) for k in range(len(self._members)))
            self._changed.notify_all()


class _Gone(Exception):
    """Why a request will not be answered."""
