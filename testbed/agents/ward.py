"""The controller's watch over guards: what they tell reaches the hub at once, and a guard that dies is replaced."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from testbed.agents.processes import Children
from testbed.agents.watch import LIMIT, QUICK_S
from testbed.errors import LinkError
from testbed.link.hub import Hub

_LOOK_S = 0.1


class Ward:
    """Keeps one guard a node; to be used in a `with`, inside those of `hub` and `children`.

    Args:
        hub: where nodes are fenced when their process is seen to end.
        children: starts the guards, as "node-0" ….
        commands: (K,) the arguments of each guard.
    """

    def __init__(self, hub: Hub, children: Children, commands: Sequence[Sequence[str]]) -> None:
        self._hub, self._children, self._commands = hub, children, commands
        self._lost: dict[int, str] = {}
        self._started = [0.0] * len(commands)
        self._young = [0] * len(commands)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ward")

    def __enter__(self) -> Self:
        for node in range(len(self._commands)):
            self._start(node)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def given_up(self, node: int) -> str:
        """Why a node will not come back, empty while it may."""
        return self._lost.get(node, "")

    def lost(self) -> dict[int, str]:
        """Nodes that will not come back, and why."""
        return dict(self._lost)

    def _start(self, node: int) -> None:
        self._started[node] = time.monotonic()
        self._children.start(f"node-{node}", self._commands[node])

    def _run(self) -> None:
        names = [f"node-{node}" for node in range(len(self._commands))]
        while not self._over.is_set():
            self._children.wait(names, _LOOK_S)
            if reason := self._children.gone_for_good():
                self._lose_all(reason)
            ended = set(self._children.ended())
            for node in range(len(self._commands)):
                self._look(node, f"node-{node}" in ended)

    def _lose_all(self, reason: str) -> None:
        """What every radio needs is gone."""
        for node in range(len(self._commands)):
            if node not in self._lost:
                self._lost[node] = reason
                self._hub.fence(node, f"has no radio any more: {reason}")

    def _look(self, node: int, ended: bool) -> None:
        name = f"node-{node}"
        for line in self._children.lines(name):
            word, _, reason = line.partition(" ")
            if word == "lost":
                self._lost[node] = f"{reason}: {self._children.last_words(name)}"
            if word in ("down", "lost"):
                self._hub.fence(node, reason)
        if ended and node not in self._lost:
            self._replace(node)

    def _replace(self, node: int) -> None:
        self._hub.fence(node, "lost its guard")
        young = time.monotonic() < self._started[node] + QUICK_S
        self._young[node] = self._young[node] + 1 if young else 0
        words = self._children.last_words(f"node-{node}")
        if self._young[node] >= LIMIT:
            self._lost[node] = f"its guard ended at once {LIMIT} times: {words}"
            return
        try:
            self._start(node)
        except LinkError as error:
            self._lost[node] = str(error)
