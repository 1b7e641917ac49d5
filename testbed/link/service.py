"""Requests and answers in raw frames between a service and its authenticated clients.

For what several agents share, such as the simulated air. A request is carried out once or not at all; whoever
gets no answer in time does not know which.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Annotated, Self

from msgspec import Meta, Struct

from testbed.errors import LinkError, TestbedError
from testbed.link.codec import Frame, pack, unpack
from testbed.link.keys import ClientKeys, ServerKeys
from testbed.link.sockets import Arrival, ClientSocket, ServerSocket

Frames = list[bytes | memoryview]
_BATCH = 256


class _Ticket(Struct, frozen=True, forbid_unknown_fields=True):
    """Number of a request, and in the answer why it failed, empty when it did not."""

    request: Annotated[int, Meta(ge=1, le=(1 << 63) - 1)]
    failed: Annotated[str, Meta(max_length=4096)] = ""


class Service:
    """Listens at `bind`; `serve` answers, one request at a time; to be used in a `with`.

    Args:
        bind: "tcp://127.0.0.1:*" for a free port on this machine.
        keys: its own pair, and the public keys of those who may ask.
        refused: told the address and the key of each stranger, once.

    Attributes:
        address: where clients connect.
        dropped: messages that were no requests.

    Raises:
        LinkError: the address cannot be bound.
    """

    def __init__(self, bind: str, keys: ServerKeys, refused: Callable[[str], None] = lambda who: None) -> None:
        self._socket = ServerSocket(bind, keys)
        self._refused = refused
        self.address = self._socket.address
        self.dropped = 0
        self._stopping = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def serve(
        self,
        handler: Callable[[int, Frames], Sequence[Frame]],
        tick: Callable[[], None] = lambda: None,
        tick_s: float = 1.0,
    ) -> None:
        """Answer until `stop`.

        Args:
            handler: (client index, request frames) → answer frames; a `TestbedError` reaches the client as
                `LinkError`, any other error is raised here.
            tick: called between requests, at the latest after `tick_s`, e.g. to see whether a parent lives.
            tick_s: see `tick`.
        """
        while not self._stopping:
            self.attend(handler, tick_s)
            tick()

    def attend(self, handler: Callable[[int, Frames], Sequence[Frame]], timeout_s: float) -> None:
        """Wait once, for requests or a watched descriptor, and answer what has come; for loops of other people."""
        self._socket.wait(timeout_s)
        for who in self._socket.newly_denied():
            self._refused(who)
        self._answer_waiting(handler)

    def watch(self, descriptor: int) -> None:
        """`attend` returns also when `descriptor` can be read."""
        self._socket.watch(descriptor)

    def forget(self, descriptor: int) -> None:
        """No longer; before `descriptor` is closed."""
        self._socket.forget(descriptor)

    def stop(self) -> None:
        """End `serve` soon; callable from any thread and from signal handlers."""
        self._stopping = True
        self._socket.wake()

    def _answer_waiting(self, handler: Callable[[int, Frames], Sequence[Frame]]) -> None:
        for _ in range(_BATCH):
            arrival = self._socket.receive()
            if arrival is None or self._stopping:
                return
            self._answer(arrival, handler)

    def _answer(self, arrival: Arrival, handler: Callable[[int, Frames], Sequence[Frame]]) -> None:
        try:
            ticket = unpack(arrival.frames[:1], _Ticket)
        except LinkError:
            self.dropped += 1
            return
        try:
            answer, failed = handler(arrival.client, arrival.frames[1:]), ""
        except TestbedError as error:
            answer, failed = (), str(error)[:4096] or type(error).__name__
        self._socket.send(arrival.address, [*pack(_Ticket(ticket.request, failed)), *answer])


class Client:
    """Asks the service at `connect`; thread-safe, one request at a time; to be used in a `with`."""

    def __init__(self, connect: str, keys: ClientKeys) -> None:
        self._where = connect
        self._socket = ClientSocket(connect, keys)
        self._lock = threading.Lock()
        self._requests = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect."""
        with self._lock:
            self._socket.close()

    def request(self, frames: Sequence[Frame], timeout_s: float) -> Frames:
        """The answer frames.

        Raises:
            LinkError: the service said why it could not, or did not answer within `timeout_s`.
        """
        with self._lock:
            deadline = time.monotonic() + timeout_s
            self._requests += 1
            if self._socket.send([*pack(_Ticket(self._requests)), *frames], timeout_s):
                while (left := deadline - time.monotonic()) > 0:
                    answer = self._socket.receive()
                    if answer is None:
                        self._socket.wait(left)
                    elif (found := self._match(answer)) is not None:
                        return found
            self._socket.wait(0)
            why = self._socket.trouble or "it is busy or has stopped"
        raise LinkError(f"no answer from {self._where} within {timeout_s:g} s: {why}")

    def _match(self, answer: Arrival) -> Frames | None:
        """The frames after the ticket of the present request; None for the answer to an earlier one."""
        ticket = unpack(answer.frames[:1], _Ticket)
        if ticket.request != self._requests:
            return None
        if ticket.failed:
            raise LinkError(ticket.failed)
        return answer.frames[1:]
