"""A thread that owns one socket and one session: it waits, listens and keeps time, others hand it work."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Protocol

from testbed.link.sockets import Arrival

_BATCH = 256


class Wire(Protocol):
    """What the loop needs of a socket."""

    def wake(self) -> None:
        """End a wait."""

    def wait(self, timeout_s: float) -> None:
        """Until something arrives."""

    def receive(self) -> Arrival | None:
        """The next message."""

    def close(self) -> None:
        """Release everything."""


class Conversation(Protocol):
    """What happens on the loop's thread."""

    def arrived(self, arrival: Arrival, now: float) -> None:
        """A message came."""

    def tick(self, now: float) -> None:
        """Time has passed."""

    def wake_at(self) -> float:
        """When `tick` has something to do, on the monotonic clock."""

    def over(self) -> None:
        """The thread ends, by `stop` or by an error; nothing follows."""


class Loop:
    """Runs `conversation` over `wire` on its own thread until `stop`, then closes the wire."""

    def __init__(self, name: str, wire: Wire, conversation: Conversation) -> None:
        self._wire, self._conversation = wire, conversation
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, command: Callable[[], None]) -> None:
        """Run `command` soon on the loop's thread; callable from any thread."""
        self._commands.put(command)
        self._wire.wake()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Finish what was handed over, end the thread and close the wire."""
        if self._thread.is_alive():
            self.call(self._stop)
        self._thread.join(timeout_s)

    def _stop(self) -> None:
        self._stopping = True

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._wire.wait(self._conversation.wake_at() - time.monotonic())
                self._obey()
                self._listen()
                self._conversation.tick(time.monotonic())
        finally:
            try:
                self._conversation.over()
            finally:
                self._wire.close()

    def _obey(self) -> None:
        while not self._commands.empty():
            self._commands.get()()

    def _listen(self) -> None:
        for _ in range(_BATCH):
            arrival = self._wire.receive()
            if arrival is None:
                return
            self._conversation.arrived(arrival, time.monotonic())
