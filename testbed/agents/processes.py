"""The child processes of a run, none of which outlives it.

A child is told the end of the run by a line on its standard input, and knows that this process was killed when
that ends without one; who does not leave then is terminated, and killed after that. Children are forked by a
nursery and have a session of their own, so that a Ctrl+C reaches this process alone.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import msgspec

from testbed.agents.nursery import LARGEST_ORDER, Born, Died, Order, ending
from testbed.errors import LinkError

NURSERY = (sys.executable, "-m", "testbed", "nursery")
LEAVE_S, TERMINATE_S = 3.0, 2.0
START_S = 120.0
"""For the nursery: compiled code may have to be built."""
_LOOK_S = 0.02


class Child:
    """A process that was ordered.

    Attributes:
        name: of its log.
        lasting: the others need it: it ends after them, and is told nothing else.
        said: bytes that it wrote to standard output and nobody has read as lines yet.
        silent: its standard output has ended.
        born: process number, 0 until it is known.
        returncode: how it ended, negative for a signal; None while it lives.
    """

    def __init__(self, name: str, farewell: int, words: int, lasting: bool) -> None:
        self.name = name
        self.lasting = lasting
        self.returncode: int | None = None
        self.words = words
        self.said = b""
        self.silent = False
        self._farewell = farewell
        self._handle: int | None = None
        self.born = 0

    def has_pid(self, pid: int) -> None:
        """The nursery says which process it is."""
        self.born = pid
        with contextlib.suppress(OSError):
            self._handle = os.pidfd_open(pid)

    def is_no_more(self) -> bool:
        """Whether its process has ended, as far as can be seen without the nursery."""
        return self._handle is None or bool(select.select([self._handle], [], [], 0.0)[0])

    def send_signal(self, number: int) -> None:
        """A signal, if it lives."""
        if self._handle is not None and self.returncode is None:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._handle, number)

    def tell(self, line: bytes) -> None:
        """A line to its standard input, unless that is closed or full."""
        if self._farewell >= 0:
            with contextlib.suppress(OSError):
                os.write(self._farewell, line)

    def say_farewell(self) -> None:
        """The run has ended."""
        self.tell(b"the run has ended\n")
        self.hang_up()

    def hang_up(self) -> None:
        """End its standard input."""
        if self._farewell >= 0:
            os.close(self._farewell)
            self._farewell = -1

    def close(self) -> None:
        """Let everything go."""
        self.hang_up()
        os.close(self.words)
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class Children:
    """Processes of `testbed …`; leaving the `with` block ends them all.

    Args:
        logs: folder for what they say on standard error.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, Child] = {}
        self._ordered: list[Child] = []
        self._deaf = False
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        with theirs, self._log("nursery") as log:
            self._nursery = subprocess.Popen(
                NURSERY, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def start(self, name: str, arguments: Sequence[str], *, lasting: bool = False) -> Child:
        """Start `testbed arguments…`.

        Args:
            name: of its log file, which a second child of that name goes on writing.
            arguments: of the command.
            lasting: the others need it: it ends after them.
        """
        (their_in, farewell), (words, their_out) = os.pipe(), os.pipe()
        os.set_blocking(farewell, False)
        child = Child(name, farewell, words, lasting)
        with self._lock, self._log(name) as log:
            order = Order(len(self._ordered), name, tuple(arguments))
            self._ordered.append(child)
            before, self._running[name] = self._running.get(name), child
            try:
                socket.send_fds(self._orders, [msgspec.json.encode(order)], [their_in, their_out, log.fileno()])
            except OSError as error:
                raise LinkError(f"{name} cannot be started: {self.last_words('nursery')}") from error
            finally:
                os.close(their_in)
                os.close(their_out)
        if before is not None:
            before.close()
        return child

    def pid(self, name: str) -> int:
        """Process number of child `name`.

        Raises:
            LinkError: the nursery has failed.
        """
        child, deadline = self._running[name], time.monotonic() + START_S
        while not child.born:
            if self._nursery.poll() is not None or time.monotonic() > deadline:
                raise LinkError(f"{name} was not started: {self.last_words('nursery')}")
            self._listen(_LOOK_S)
        return child.born

    def next_line(self, name: str, deadline_s: float) -> str:
        """The next line that child `name` prints.

        Raises:
            LinkError: it said nothing within `deadline_s`, or ended; the message holds the end of its log.
        """
        child, deadline = self._running[name], time.monotonic() + deadline_s
        while True:
            if lines := self.lines(name, max(0.0, min(_LOOK_S, deadline - time.monotonic())), most=1):
                return lines[0]
            if name in self.ended() and child.silent:
                raise LinkError(f"{name} ended before it was ready: {self.last_words(name)}")
            if time.monotonic() >= deadline:
                raise LinkError(f"{name} was not ready within {deadline_s:g} s: {self.last_words(name)}")

    def lines(self, name: str, wait_s: float = 0.0, most: int = 1000) -> list[str]:
        """Whole lines that child `name` has printed since this was last asked."""
        child = self._running[name]
        if b"\n" not in child.said and not child.silent and select.select([child.words], [], [], wait_s)[0]:
            read = os.read(child.words, 1 << 16)
            child.said, child.silent = child.said + read, not read
        *whole, rest = child.said.split(b"\n", most)
        child.said = rest
        return [line.decode(errors="replace").strip() for line in whole]

    def wait(self, names: Iterable[str], timeout_s: float) -> None:
        """Until one of these children prints, one of all ends, or `timeout_s` has passed."""
        children = [self._running[name] for name in names]
        words = [child.words for child in children if not child.silent]
        orders = [] if self._deaf else [self._orders.fileno()]
        select.select([*orders, *words], [], [], timeout_s)

    def last_words(self, name: str) -> str:
        """The last line in the log of `name` that is no event: the end of a traceback, as a rule."""
        path = self._logs / f"{name}.log"
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        words = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("{")]
        return words[-1] if words else "it said nothing"

    def gone_for_good(self) -> str:
        """How the first of the lasting children ended, in words; empty while all live."""
        self.ended()
        for name, child in self._running.items():
            if child.lasting and child.returncode is not None:
                return f"{name} {ending(child.returncode)} ({self.last_words(name)})"
        return ""

    def ended(self) -> list[str]:
        """Names of children that are no more."""
        self._listen(0.0)
        if self._nursery.poll() is not None:
            for child in self._running.values():
                if child.returncode is None and child.is_no_more():
                    child.returncode = -1  # whose nursery is dead, nobody can ask how
        return [name for name, child in self._running.items() if child.returncode is not None]

    def pids(self) -> dict[str, int]:
        """Process numbers by name."""
        return {name: self.pid(name) for name in list(self._running)}

    def tell_all(self, line: bytes) -> None:
        """A line to the standard input of every child but lasting ones; callable from signal handlers."""
        for child in list(self._running.values()):
            if not child.lasting:
                child.tell(line)

    def end(self) -> None:
        """End them all, lasting ones last."""
        for lasting in (False, True):
            self._end([child for child in self._running.values() if child.lasting == lasting])
        for child in self._running.values():
            child.close()
        self._running.clear()
        self._orders.close()
        try:
            self._nursery.wait(TERMINATE_S)
        except subprocess.TimeoutExpired:
            self._nursery.kill()
            self._nursery.wait()

    def _end(self, children: Sequence[Child]) -> None:
        """Ask, then terminate, then kill; at last the nursery too, that has not told of their end."""
        for child in children:
            child.say_farewell()
        for number, patience_s in ((None, LEAVE_S), (signal.SIGTERM, TERMINATE_S), (signal.SIGKILL, TERMINATE_S)):
            if number == signal.SIGKILL and not all(child.born for child in children):
                self._nursery.kill()  # who is not born yet must not be any more
            if number is not None:
                for child in children:
                    child.send_signal(number)
            if self._wait(children, patience_s):
                return
        self._nursery.kill()
        self._wait(children, TERMINATE_S)

    def _wait(self, children: Sequence[Child], patience_s: float) -> bool:
        deadline = time.monotonic() + patience_s
        while not {child.name for child in children} <= set(self.ended()):
            if time.monotonic() >= deadline:
                return False
            self._listen(_LOOK_S)
        return True

    def _listen(self, wait_s: float) -> None:
        """What the nursery has to say."""
        with self._lock:
            while select.select([self._orders], [], [], wait_s)[0]:
                text = self._orders.recv(LARGEST_ORDER)
                if not text:  # the nursery is dead
                    self._deaf = True
                    time.sleep(wait_s)
                    return
                wait_s = 0.0
                match msgspec.json.decode(text, type=Born | Died):
                    case Born(number, pid):
                        self._ordered[number].has_pid(pid)
                    case Died(number, code):
                        self._ordered[number].returncode = code

    def _log(self, name: str) -> TextIO:
        return (self._logs / f"{name}.log").open("a", encoding="utf-8")
