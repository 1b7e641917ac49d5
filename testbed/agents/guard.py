"""The parent process of an agent: keeps it alive, and its radio silent whenever it is not.

The guard decides nothing by itself (see `watch`); here are its pipes, its signals, and its own way to the radio. It
has one thread, so that it can fork agents at any time.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from testbed.agents.latch import is_latched, on_duty
from testbed.agents.log import log_stranger, logger
from testbed.agents.nursery import ending, fork, set_name
from testbed.agents.panic import Arm, Obeyed, Panic
from testbed.agents.pulse import Ear, Pulse
from testbed.agents.watch import Action, Kill, Leave, Silence, Start, Tell, Watch
from testbed.agents.ways import Way, way_to
from testbed.errors import TestbedError
from testbed.link.codec import Frame, pack, unpack
from testbed.link.keys import guard_keys
from testbed.link.service import Frames, Service

SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
"""Also those of a terminal that is closed: they reach guard and agent alike, and one of the two must live on."""
RETRY_S = 0.5
"""Pause between attempts to silence a radio that does not answer."""
_LONGEST_S = 3600.0

Body = Callable[[Path, Pulse], int]
"""An agent: where its tokens are kept, whom it tells that it lives; its exit code."""


@dataclass(frozen=True)
class Post:
    """What is guarded.

    Attributes:
        index: number of the node.
        keys: folder of keys.
        state: folder for the node's tokens, one that ends with the guard where None.
        with_parent: standard input tells the end of the run, and its end that the parent was killed.
        iq: folder for recorded samples, if the campaign wants any.
        listen: where it hears of a panic.
    """

    index: int
    keys: Path
    state: Path | None
    with_parent: bool
    iq: Path | None = None
    listen: str = "tcp://127.0.0.1:*"


def run_guard(post: Post, body: Body) -> int:
    """Guard agents that do `body` until the run is over; the exit code."""
    with ExitStack() as stack:
        strangers = log_stranger(logger(guard=post.index))
        service = stack.enter_context(Service(post.listen, guard_keys(post.keys, post.index), strangers))
        stack.enter_context(on_duty(post.keys, post.index, service.address))
        state = post.state or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="testbed-node-")))
        return _Guard(post, state, body, service).run()


class _Guard:
    """The state of a guard: its watch, its agent, its way."""

    def __init__(self, post: Post, state: Path, body: Body, service: Service) -> None:
        self._post, self._state, self._body, self._service = post, state, body, service
        self._log = logger(guard=post.index)
        self._watch = Watch(latched=is_latched(post.keys))
        self._agent: int | None = None
        self._handle = -1
        self._ear: Ear | None = None
        self._way: Way | None = None
        self._retry_at = float("inf")
        self._code: int | None = None
        self._signals = _signals()
        for descriptor in (self._signals, *([0] if post.with_parent else [])):
            service.watch(descriptor)

    def run(self) -> int:
        while True:
            ready = self._wait(min(self._watch.wake_at(), self._retry_at) - time.monotonic())
            now = time.monotonic()  # what comes while a slow radio is silenced is heard before silence is judged
            self._hear(ready)
            if self._code is not None:
                return self._code
            self._act(self._watch.tick(now))
            if now >= self._retry_at:
                self._silence("again")

    def _wait(self, timeout_s: float) -> set[int]:
        self._service.attend(self._obey, min(max(timeout_s, 0.0), _LONGEST_S))
        watched = [self._signals, *([0] if self._post.with_parent else [])]
        watched += [] if self._ear is None else [self._ear.fileno(), self._handle]
        return set(select.select(watched, [], [], 0)[0])

    def _obey(self, client: int, frames: Frames) -> Sequence[Frame]:
        """What the controller's owner orders, whatever the controller does."""
        match unpack(frames, Panic | Arm):
            case Panic():
                self._act(self._watch.panic(time.monotonic()))
            case Arm():
                self._act(self._watch.arm(time.monotonic()))
        return pack(Obeyed(silent=self._retry_at == float("inf")))

    def _hear(self, ready: set[int]) -> None:
        if self._ear is not None and self._ear.fileno() in ready:
            for words in self._ear.lines():
                self._heard(words)
        if self._handle in ready:
            self._agent_ended()
        if self._signals in ready and SIGNALS & set(os.read(self._signals, 4096)):
            self._act(self._watch.farewell(time.monotonic(), orderly=False))
        if 0 in ready:
            line = os.read(0, 4096)
            self._act(self._watch.farewell(time.monotonic(), orderly=b"the run has ended" in line))
            if not line:
                self._service.forget(0)
                self._post = replace(self._post, with_parent=False)

    def _heard(self, words: list[str]) -> None:
        if words[:1] == ["radio"]:
            self._find_way(words[1], words[2] if len(words) > 2 else "")
        elif words:
            self._act(self._watch.heard(words[0], time.monotonic()))

    def _find_way(self, radio: str, air: str) -> None:
        try:
            self._way = way_to(radio, air, self._post.keys, self._post.index)
        except TestbedError as error:
            self._log.warning("no way of its own to the radio", radio=radio, error=str(error))

    def _act(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Start():
                    self._start()
                case Kill(gently):
                    self._kill(signal.SIGTERM if gently else signal.SIGKILL)
                case Silence(reason):
                    self._silence(reason)
                case Tell(words):
                    self._log.warning("agent", event_is=words)
                    _tell(words)
                case Leave(code):
                    self._code = code

    def _start(self) -> None:
        theirs, ours = None, None
        ours, theirs = os.pipe()
        self._agent = fork(lambda: self._be_agent(ours, theirs))
        os.close(theirs)
        self._ear, self._handle = Ear(ours), os.pidfd_open(self._agent)
        self._service.watch(ours)
        self._service.watch(self._handle)

    def _be_agent(self, ours: int, theirs: int) -> int:
        os.close(ours)
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        set_name(f"agent {self._post.index}")
        return self._body(self._state, Pulse(theirs))

    def _kill(self, number: int) -> None:
        if self._handle >= 0:
            signal.pidfd_send_signal(self._handle, number)

    def _agent_ended(self) -> None:
        assert self._agent is not None
        _, status = os.waitpid(self._agent, 0)
        assert self._ear is not None
        for descriptor in (self._ear.fileno(), self._handle):
            self._service.forget(descriptor)
            os.close(descriptor)
        self._ear, self._handle, self._agent = None, -1, None
        code = os.waitstatus_to_exitcode(status)
        self._act(self._watch.ended(ending(code), code, time.monotonic()))

    def _silence(self, reason: str) -> None:
        """Off the air; where that fails, again and again while no agent could do it."""
        self._retry_at = float("inf")
        if self._way is None:
            return
        try:
            self._way.silence()
        except TestbedError as error:
            self._retry_at = time.monotonic() + RETRY_S
            self._log.error("the radio may be on the air", reason=reason, error=str(error))
        else:
            self._log.info("silenced", reason=reason)


def _signals() -> int:
    """A descriptor that yields the numbers of signals as they come."""
    bell, ring = os.pipe()
    os.set_blocking(bell, False)
    os.set_blocking(ring, False)
    signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # under nohup a closed terminal is no reason to go
            signal.signal(number, lambda number, frame: None)
    return bell


def _tell(words: str) -> None:
    """A line for the controller, who may be gone."""
    try:
        print(words, flush=True)  # noqa: T201 - the protocol between guard and controller
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
