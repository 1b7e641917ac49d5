"""The agent's end of the link: join, serve requests one at a time, and be silent when the controller is."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from testbed.errors import LinkError, TestbedError
from testbed.link.agent_session import AgentSession
from testbed.link.codec import pack, unpack
from testbed.link.keys import ClientKeys
from testbed.link.loop import Loop
from testbed.link.messages import Failed, Reply, Request, ToAgent, trim
from testbed.link.session import Admitted, AgentAction, Ended, Execute, Say
from testbed.link.sockets import Arrival, ClientSocket

Handler = Callable[[Request], Reply]


class Spoke:
    """Joins the hub at `connect` as node `index`; to be used in a `with`; `join` again after `serve` returns.

    Args:
        connect: address of the hub, "tcp://HOST:PORT".
        keys: the node's own pair and the controller's public key.
        index: node to join as; the hub refuses when it is not the node of that key.

    Attributes:
        dismissed: the last membership ended with the controller's farewell.
    """

    def __init__(self, connect: str, keys: ClientKeys, index: int) -> None:
        self._connect, self._keys, self._index = connect, keys, index
        self._membership: _Membership | None = None
        self.dismissed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave("the agent ends" if error is None else f"the agent failed: {kind and kind.__name__}")

    def join(self, deadline_s: float) -> str:
        """Become a member; the setup text for this node.

        Raises:
            LinkError: refused, or nobody answered within `deadline_s`; the message says which.
        """
        self.leave("joins anew")
        self._membership = _Membership(self._connect, self._keys, self._index)
        try:
            return self._membership.wait_admitted(deadline_s)
        except BaseException:
            self.leave("gave up joining")
            raise

    def serve(self, handler: Handler, on_quiet: Callable[[], None]) -> str:
        """Answer requests until the membership ends; why it did.

        Args:
            handler: does what is asked, on this thread, one request at a time and none twice. A
                `TestbedError` becomes the answer `Failed`; any other error ends the membership and is raised.
            on_quiet: silences the radio, for good as far as a handler under way is concerned. Called
                once, at the end of the membership, from another thread and also while `handler` is busy.

        Raises:
            LinkError: `join` comes first.
        """
        if self._membership is None:
            raise LinkError(f"node {self._index} has not joined: call join first")
        try:
            ended = self._membership.serve(handler, on_quiet)
            self.dismissed = ended.dismissed
            return ended.reason
        except BaseException as error:  # also SystemExit: the controller is told why
            self.leave(f"{error}" or type(error).__name__)
            raise
        finally:
            self.leave("stopped serving")

    def leave(self, reason: str) -> None:
        """End the membership, if there is one."""
        if self._membership is not None:
            self._membership.close(reason)
            self._membership = None


class _Membership:
    """One membership: a session, its socket and its loop."""

    def __init__(self, connect: str, keys: ClientKeys, index: int) -> None:
        self._where = connect
        self._session = AgentSession(index)
        self._inbox: queue.SimpleQueue[Admitted | Execute | Ended] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._on_quiet: Callable[[], None] | None = None
        self._socket = ClientSocket(connect, keys)
        self._loop = Loop(f"spoke {index}", self._socket, self)

    def wait_admitted(self, deadline_s: float) -> str:
        try:
            match self._inbox.get(timeout=deadline_s):
                case Admitted(setup):
                    return setup
                case Ended(reason):
                    raise LinkError(f"{self._where} refused node {self._session.index}: {reason}")
                case Execute():
                    raise LinkError(f"{self._where} asked before it said welcome: install the same version")
        except queue.Empty:
            why = self._socket.trouble or "connected, but not welcomed"
            raise LinkError(
                f"node {self._session.index} could not join {self._where} in {deadline_s:g} s: {why}"
            ) from None

    def serve(self, handler: Handler, on_quiet: Callable[[], None]) -> Ended:
        with self._lock:
            self._on_quiet = on_quiet
            if self._ended.is_set():
                on_quiet()
        while True:
            match self._inbox.get():
                case Ended() as ended:
                    return ended
                case Execute(number, body) if not self._ended.is_set():
                    self._execute(handler, number, body)

    def close(self, reason: str) -> None:
        self._loop.call(lambda: self._act(self._session.leave(reason, time.monotonic())))
        self._loop.stop()

    def _execute(self, handler: Handler, number: int, body: Request) -> None:
        try:
            reply = handler(body)
            pack(reply)  # what cannot be sent must not reach the loop
        except TestbedError as error:
            reply = Failed(type(error).__name__, trim(str(error)))
        except BaseException as error:
            self.close(f"failed: {type(error).__name__}: {error}")
            raise
        self._loop.call(lambda: self._act(self._session.finished(number, reply, time.monotonic())))

    # On the loop's thread

    def arrived(self, arrival: Arrival, now: float) -> None:
        try:
            message = unpack(arrival.frames, ToAgent)
        except LinkError:
            self._session.counts["malformed"] += 1
        else:
            self._act(self._session.received(message, now))

    def tick(self, now: float) -> None:
        self._act(self._session.tick(now))

    def wake_at(self) -> float:
        return self._session.wake_at()

    def over(self) -> None:
        self._end(Ended("the link has stopped"))

    def _act(self, actions: Iterable[AgentAction]) -> None:
        for action in actions:
            match action:
                case Say(message):
                    self._socket.send(pack(message))
                case Ended():
                    self._end(action)
                case Admitted() | Execute():
                    self._inbox.put(action)

    def _end(self, action: Ended) -> None:
        with self._lock:
            if self._ended.is_set():
                return
            self._ended.set()
            self._inbox.put(action)
            if self._on_quiet is not None:
                self._on_quiet()
