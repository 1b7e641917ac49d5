"""A man in the middle of the link who holds all keys, and does to messages what networks do.

    agent k ──CURVE──► FaultProxy ──CURVE (key of node k)──► hub

What is corrupted on a wire never becomes a message, because CURVE authenticates every frame: see `byte_proxy`.
Faults are named after toxiproxy's toxics where it has them. What is done to a message is drawn from one seeded
generator; when it happens is the wall clock's business, so a walk is repeatable in kind, not in order.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from testbed.link.keys import client_keys, server_keys
from testbed.link.sockets import Arrival, ClientSocket, ServerSocket

UP, DOWN = "up", "down"
"""Towards the hub, and towards the agents."""
_FAULTS = ("drop", "duplicate", "reorder", "truncate")


@dataclass(frozen=True)
class Toxics:
    """Probability of each fault a message, in both directions.

    Attributes:
        drop: it never arrives.
        duplicate: it arrives twice, the second time up to `late_s` later.
        reorder: it arrives up to `late_s` late, so that others overtake it.
        truncate: its last frame is missing, or the end of its only one.
        latency_s: what every message is delayed by.
        late_s: see above.
    """

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    truncate: float = 0.0
    latency_s: float = 0.0
    late_s: float = 0.05


class FaultProxy:
    """Stands between `nodes` agents and the hub at `connect`; to be used in a `with`.

    Attributes:
        address: where agents connect.
        done: how many messages met which fault.
        toxics: the faults now; may be replaced at any time.
        blocked: {(node, direction)} that nothing passes; what is stopped is lost, as in a partition by DROP with
            a sender that gives up. May be changed at any time.
        held: {(node, direction)} whose messages wait until the hold is lifted, as in TCP after a partition.
    """

    def __init__(self, connect: str, keys: Path, nodes: int, toxics: Toxics, rng: np.random.Generator) -> None:
        self.toxics, self.done = toxics, Counter[str]()
        self.blocked: set[tuple[int, str]] = set()
        self.held: set[tuple[int, str]] = set()
        self._rng = rng
        self._server = ServerSocket("tcp://127.0.0.1:*", server_keys(keys, nodes))
        self._clients = [ClientSocket(connect, client_keys(keys, k)) for k in range(nodes)]
        self._agents: dict[int, bytes] = {}
        self._due: list[tuple[float, int, int, str, list[bytes]]] = []
        self._order = itertools.count()
        self._stopping = False
        self.address = self._server.address
        self._thread = threading.Thread(target=self._run, name="fault proxy")
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._thread.join()

    def flood(self, node: int, frames: list[bytes], count: int) -> None:
        """Let `count` copies of `frames` come from `node`."""
        for _ in range(count):
            heapq.heappush(self._due, (time.monotonic(), next(self._order), node, UP, frames))

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._server.wait(0.002)
                self._listen()
                self._deliver(time.monotonic())
        finally:
            for wire in (self._server, *self._clients):
                wire.close()

    def _listen(self) -> None:
        for arrival in _waiting(self._server.receive):
            self._agents[arrival.client] = arrival.address
            self._meet(arrival.client, UP, arrival)
        for k, client in enumerate(self._clients):
            client.wait(0)
            for arrival in _waiting(client.receive):
                self._meet(k, DOWN, arrival)

    def _meet(self, node: int, direction: str, arrival: Arrival) -> None:
        """Draw what happens to a message, and when it goes on."""
        toxics, drawn = self.toxics, self._rng.random(4)
        met = {fault for fault, draw in zip(_FAULTS, drawn, strict=True) if draw < getattr(toxics, fault)}
        self.done.update(met)
        if "drop" in met or (node, direction) in self.blocked:
            return
        frames = [bytes(frame) for frame in arrival.frames]
        if "truncate" in met:
            frames = frames[:-1] if len(frames) > 1 else [frames[0][: len(frames[0]) // 2]]
        now = time.monotonic() + toxics.latency_s
        lateness = [self._rng.uniform(0, toxics.late_s) if "reorder" in met else 0.0]
        if "duplicate" in met:
            lateness.append(self._rng.uniform(0, toxics.late_s))
        for late_s in lateness:
            heapq.heappush(self._due, (now + late_s, next(self._order), node, direction, frames))

    def _deliver(self, now: float) -> None:
        waiting = []
        while self._due and self._due[0][0] <= now:
            entry = heapq.heappop(self._due)
            _at, _order, node, direction, frames = entry
            if (node, direction) in self.held:
                waiting.append(entry)
            elif direction == UP:
                self._clients[node].send(frames)
            elif node in self._agents:
                self._server.send(self._agents[node], frames)
        for entry in waiting:
            heapq.heappush(self._due, entry)


def _waiting(receive: Callable[[], Arrival | None]) -> list[Arrival]:
    """All that has arrived by now."""
    found = []
    while (arrival := receive()) is not None and len(found) < 256:
        found.append(arrival)
    return found
