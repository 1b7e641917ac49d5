"""Real processes over real sockets: they work, die, hang, stop, and come back."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from testbed.errors import LinkError, NodeFailed, NodeLost
from testbed.link.hub import Hub
from testbed.link.keys import ensure_keys, server_keys
from testbed.link.remote import Patience, RemoteNode
from testbed.protocol import Share, Slot
from tests.reference.link_node import ReferenceNode
from tests.system.link_process import read, start, wait_for
from tests.unit.link.test_codec import same

DETECT_S = 2.5
"""Limit for what takes 0.75 s on an idle machine."""


class Bench:
    """A hub with agents in processes of their own."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self.folder, self.nodes, self.keys = folder, nodes, folder / "keys"
        ensure_keys(self.keys, nodes)
        self.hub = Hub("tcp://127.0.0.1:*", server_keys(self.keys, nodes), nodes, lambda k: f"setup {k}")
        self.agents: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, index: int) -> None:
        self.agents[index] = start("agent", self.hub.address, index, self.keys, self.log(index))

    def log(self, index: int) -> Path:
        return self.folder / f"agent-{index}.log"

    def wait(self, true: Callable[[], bool], deadline_s: float = DETECT_S) -> float:
        """Seconds until it is so; fails when it does not become so."""
        begin = time.monotonic()
        while not true():
            assert time.monotonic() < begin + deadline_s, (self.hub.events(), self.hub.counts())
            time.sleep(0.005)
        return time.monotonic() - begin

    def texts(self, kind: str) -> list[str]:
        return [event.text for event in self.hub.events() if event.kind == kind]

    def close(self) -> None:
        self.hub.close()
        for agent in self.agents.values():
            agent.send_signal(signal.SIGCONT)
            try:
                agent.wait(3.0)
            except subprocess.TimeoutExpired:
                agent.kill()
                agent.wait()


@contextmanager
def two_agents(folder: Path) -> Iterator[Bench]:
    bench = Bench(folder, 2)
    try:
        for k in range(2):
            bench.start(k)
        bench.hub.wait_joined(20.0)
        yield bench
    finally:
        bench.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """For tests that harm it."""
    with two_agents(tmp_path) as bench:
        yield bench


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """For tests that do not."""
    with two_agents(tmp_path_factory.mktemp("steady")) as bench:
        yield bench


def example_slot(rng: np.random.Generator) -> Slot:
    return Slot(8, 1, "forward", 0, tuple(Share(k, rng.integers(0, 16, 5), np.arange(9), 2) for k in range(2)))


def test_a_node_behind_the_link_answers_like_the_node_itself(steady: Bench, rng: np.random.Generator) -> None:
    slot, selected = example_slot(rng), rng.random((16, 4)) < 0.5
    ask = [
        lambda node: node.begin(3),
        lambda node: node.sound(41),
        lambda node: node.measure(7, 41),
        lambda node: node.measure(7, 0),
        lambda node: node.silence(),
        lambda node: node.gate(2),
        lambda node: node.send(slot),
        lambda node: [node.receive(Slot(n, 0, "return", 1, slot.shares, 1)) for n in range(8)][7],
        lambda node: node.compute(2),
        lambda node: node.aggregate(2, selected),
        lambda node: node.predict(),
        lambda node: node.index,
    ]
    for k in range(2):
        here, there = ReferenceNode(k), RemoteNode(steady.hub, k)
        for verb in ask:
            assert same(verb(there), verb(here))
    assert wait_for(steady.log(1), "joined")[2] == "setup 1"


def test_what_a_node_cannot_do_is_told_in_its_own_words(steady: Bench) -> None:
    node = RemoteNode(steady.hub, 1)
    with pytest.raises(NodeFailed, match=r"node 1: unit 1 cannot hear itself: measure another \(RadioError\)"):
        node.measure(1, 5)
    assert node.sound(7) == 1.0


def test_a_killed_process_is_noticed_and_another_takes_its_place(bench: Bench) -> None:
    node, other = RemoteNode(bench.hub, 0), RemoteNode(bench.hub, 1)
    node.begin(0)
    killer = threading.Timer(0.2, bench.agents[0].kill)
    killer.start()
    begin = time.monotonic()
    with pytest.raises(NodeLost, match=r"node 0 (its connection is gone|was silent)"):
        node.compute(1020)
    assert time.monotonic() - begin < 0.2 + DETECT_S
    killer.join()
    bench.agents[0].wait()
    assert bench.hub.alive() == (False, True)
    with pytest.raises(NodeLost, match="node 0 is not there"):
        node.gate(0)
    other.begin(0)
    bench.start(0)
    bench.hub.wait_joined(20.0)
    with pytest.raises(NodeLost, match="joined anew"):
        node.gate(0)
    assert node.sound(14) == 2.0
    node.begin(0)
    assert node.gate(0).score.shape == (16, 4)
    assert [e.kind for e in bench.hub.events() if e.node == 0] == ["joined", "lost", "joined"]


def test_a_stopped_process_is_noticed_fenced_silenced_and_let_in_again(bench: Bench) -> None:
    node = RemoteNode(bench.hub, 0)
    node.begin(0)
    first = bench.hub.incarnation(0)
    bench.agents[0].send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    with pytest.raises(NodeLost, match="node 0 was silent for"):
        node.gate(0)
    assert time.monotonic() - begin < DETECT_S
    bench.agents[0].send_signal(signal.SIGCONT)
    bench.wait(lambda: bench.hub.alive()[0], 10.0)
    wait_for(bench.log(0), "quiet")
    assert "controller was silent" in wait_for(bench.log(0), "ended")[2]
    assert bench.hub.incarnation(0) != first
    with pytest.raises(NodeLost, match="joined anew"):
        node.gate(0)
    node.begin(0)
    assert node.compute(1) == 4


def test_a_node_that_hangs_at_work_is_lost_and_silenced_though_its_heart_beats(bench: Bench) -> None:
    node = RemoteNode(bench.hub, 0, Patience(1.2))
    node.begin(0)
    begin = time.monotonic()
    with pytest.raises(NodeLost, match=r"node 0 did not answer 'compute' within 1\.2 s"):
        node.compute(1003)
    assert time.monotonic() - begin < 1.2 + DETECT_S
    quiet, _, _ = wait_for(bench.log(0), "quiet", DETECT_S)
    ended, _, _ = wait_for(bench.log(0), "ended", 10.0)
    assert quiet + 1.0 < ended  # silenced while it still hung
    bench.wait(lambda: bench.hub.alive()[0], 10.0)


def test_long_work_is_waited_for(steady: Bench) -> None:
    node = RemoteNode(steady.hub, 0)
    node.begin(0)
    assert node.compute(1002) == 1005
    assert steady.hub.alive() == (True, True)
    assert steady.texts("lost") == []


def test_nodes_are_asked_at_the_same_time_and_one_after_the_other(steady: Bench) -> None:
    """Two threads a node; every answer belongs to its question."""
    wrong: list[object] = []

    def ask(k: int, first: int) -> None:
        node = RemoteNode(steady.hub, k)
        for number in range(first, first + 100):
            if node.sound(number) != number / 7:
                wrong.append((k, number))

    threads = [threading.Thread(target=ask, args=(k, 1000 * n)) for k in range(2) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_killed_controller_silences_the_radios(tmp_path: Path) -> None:
    keys, log = tmp_path / "keys", tmp_path / "hub.log"
    ensure_keys(keys, 2)
    logs = [tmp_path / f"agent-{k}.log" for k in range(2)]
    processes = [start("hub", "tcp://127.0.0.1:*", 2, keys, log)]
    try:
        address = wait_for(log, "address")[2]
        processes += [start("agent", address, k, keys, logs[k]) for k in range(2)]
        wait_for(log, "complete", 20.0)
        killed = time.monotonic()
        processes[0].kill()
        for agent_log in logs:
            quiet, _, _ = wait_for(agent_log, "quiet", DETECT_S)
            assert 0.4 < quiet - killed < DETECT_S
            assert "the controller was silent for" in wait_for(agent_log, "ended")[2]
        again = start("hub", address, 2, keys, log)  # a controller that comes back finds its agents
        processes.append(again)
        wait_for(log, "complete", 20.0, count=2)
        assert [word for _, word, _ in read(logs[0])] == ["joined", "quiet", "ended", "joined"]
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


def test_who_is_missing_is_named(tmp_path: Path) -> None:
    ensure_keys(tmp_path / "keys", 3)
    bench = Bench(tmp_path, 3)
    try:
        bench.start(1)
        wait_for(bench.log(1), "joined")
        with pytest.raises(LinkError, match=r"node 0, 2 did not join within 0\.1 s; .*127\.0\.0\.1"):
            bench.hub.wait_joined(0.1)
    finally:
        bench.close()
