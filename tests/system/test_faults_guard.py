"""A transmitter is never left on: guards silence the radio of an agent that is killed, stopped or abandoned.

The radio is a virtual Pluto in this process, so that its state can be read; agent and guard are real processes that
reach it over the network, each on its own connection.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil
import pytest

from testbed.agents.agent import Setup
from testbed.agents.processes import Child, Children
from testbed.campaign import load_campaign
from testbed.errors import NodeLost
from testbed.link.hub import Hub
from testbed.link.keys import ensure_keys, server_keys
from testbed.link.remote import RemoteNode
from testbed.virtual_pluto.serve import serving
from testbed.virtual_pluto.server import Server
from testbed.virtual_pluto.unit import Unit
from tests.libiio import need_libiio
from tests.system.test_virtual_pluto_driver import is_quiet, wait_until
from tests.unit.virtual_pluto.wires import air

SLACK_S = 1.5
"""On top of the promised times, for a machine with more to do than this test."""


@dataclass
class Scene:
    """One agent with a carrier on the air."""

    hub: Hub
    node: RemoteNode
    unit: Unit
    children: Children
    guard: Child
    folder: Path

    def agent(self) -> psutil.Process:
        (agent,) = psutil.Process(self.children.pid("node-0")).children()
        return agent

    def quiet_after(self, act: Callable[[], object]) -> float:
        """Seconds until the radio is silent."""
        begin = time.monotonic()
        act()
        while not is_quiet(self.unit):
            assert time.monotonic() < begin + 10, (self.unit.aether.on_air(), self.log())
            time.sleep(0.002)
        took = time.monotonic() - begin
        sys.stdout.write(f"quiet after {took:.3f} s\n")
        return took

    def log(self) -> str:
        return (self.folder / "logs" / "node-0.log").read_text()


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Children, Path]]:
    need_libiio()
    folder = tmp_path_factory.mktemp("guard")
    ensure_keys(folder / "keys", 2)
    with Children(folder / "logs") as children:
        yield children, folder


@pytest.fixture
def server() -> Iterator[Server]:
    need_libiio()
    with serving(air(1), first_host="127.0.0.1", port=0) as servers:
        yield servers[0]


@contextmanager
def on_stage(nursery: tuple[Children, Path], server: Server, *more: str) -> Iterator[Scene]:
    """An agent that has put a sounding on the air of a Pluto, again and again until it is told otherwise."""
    children, folder = nursery
    campaign = load_campaign(None, {"radio.address": "virtual-pluto", "nodes.count": 2, "nodes.compute_energy_j": 1e-9})
    setup = msgspec.json.encode(Setup(campaign.text(), f"pluto:{server.uri}", None)).decode()
    keys = folder / "keys"
    with Hub("tcp://127.0.0.1:*", server_keys(keys, 2), 2, [setup] * 2) as hub:
        command = ["agent", f"--connect={hub.address}", "--index=0", f"--keys={keys}", "--with-parent", *more]
        guard = children.start("node-0", command)
        deadline = time.monotonic() + 60
        while not hub.alive()[0]:
            assert time.monotonic() < deadline, (folder / "logs" / "node-0.log").read_text()
            time.sleep(0.01)
        scene = Scene(hub, RemoteNode(hub, 0), server.unit, children, guard, folder)
        scene.node.begin(0)
        scene.node.sound(1)
        assert server.unit.aether.on_air() == (0,)
        assert not is_quiet(server.unit)
        try:
            yield scene
        finally:
            guard.say_farewell()
            while guard.returncode is None:
                assert time.monotonic() < deadline + 60
                children.ended()
                time.sleep(0.01)


@pytest.fixture
def scene(nursery: tuple[Children, Path], server: Server) -> Iterator[Scene]:
    with on_stage(nursery, server) as scene:
        yield scene


def test_a_killed_agent_leaves_no_carrier_and_another_takes_its_place(scene: Scene) -> None:
    agent = scene.agent()
    assert scene.quiet_after(agent.kill) < 0.5 + SLACK_S
    wait_until(lambda: "was killed by signal 9" in scene.log())
    with pytest.raises(NodeLost):
        scene.node.gate(0)
    deadline = time.monotonic() + 3 + SLACK_S
    while not scene.hub.alive()[0] or scene.agent().pid == agent.pid:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    scene.node.begin(0)
    scene.node.sound(2)
    assert not is_quiet(scene.unit)


def test_a_stopped_agent_is_silenced_over_the_guards_own_way(scene: Scene) -> None:
    agent = scene.agent()
    assert scene.quiet_after(agent.suspend) < 1.0 + SLACK_S
    psutil.wait_procs([agent], 5)
    assert not agent.is_running()


def test_the_end_of_the_lease_silences(scene: Scene) -> None:
    """A controller that is gone says nothing, not even farewell."""
    assert scene.quiet_after(scene.hub._loop.stop) < 1.0 + SLACK_S
    wait_until(lambda: "the controller was silent" in scene.log())


def test_a_parent_that_is_gone_silences_and_ends_them(scene: Scene) -> None:
    agent = scene.agent()
    assert scene.quiet_after(scene.guard.hang_up) < 0.5 + SLACK_S
    assert not psutil.wait_procs([agent], 5)[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_to_the_whole_group_silences_and_ends_them(scene: Scene, number: int) -> None:
    agent = scene.agent()
    assert scene.quiet_after(lambda: os.killpg(scene.children.pid("node-0"), number)) < 0.5 + SLACK_S
    assert not psutil.wait_procs([agent], 5)[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_to_the_group_while_the_agent_is_stopped_silences_too(scene: Scene, number: int) -> None:
    """A closed terminal tells its whole group; an agent that hangs does not hear it."""
    agent = scene.agent()
    agent.suspend()
    assert scene.quiet_after(lambda: os.killpg(scene.children.pid("node-0"), number)) < 0.5 + SLACK_S
    assert not psutil.wait_procs([agent], 5)[1]


def test_an_agent_whose_guard_is_killed_silences_itself(scene: Scene) -> None:
    agent = scene.agent()
    guard = psutil.Process(scene.children.pid("node-0"))
    assert scene.quiet_after(guard.kill) < 0.5 + SLACK_S
    assert not psutil.wait_procs([agent], 5)[1]


def test_without_agent_and_guard_the_carrier_would_stay(scene: Scene) -> None:
    """What all this is for."""
    agent, guard = scene.agent(), psutil.Process(scene.children.pid("node-0"))
    guard.suspend()
    agent.kill()
    time.sleep(0.5)
    assert not is_quiet(scene.unit)
    assert scene.quiet_after(guard.resume) < 0.5 + SLACK_S


def test_an_agent_started_by_hand_waits_for_the_next_controller(nursery: tuple[Children, Path]) -> None:
    """No parent, no radio: a controller that was killed, and another one at the same address."""
    children, folder = nursery
    keys = folder / "keys"
    campaign = load_campaign(None, {"nodes.count": 2, "nodes.compute_energy_j": 1e-9, "radio.address": "virtual-pluto"})
    need_libiio()
    with serving(air(1), first_host="127.0.0.1", port=0) as (server,):
        setup = msgspec.json.encode(Setup(campaign.text(), f"pluto:{server.uri}", None)).decode()
        first = Hub("tcp://127.0.0.1:*", server_keys(keys, 2), 2, [setup] * 2)
        command = ["agent", f"--connect={first.address}", "--index=0", f"--keys={keys}"]
        guard = children.start("node-0", command)
        try:
            wait_until(lambda: first.alive()[0])
            first._loop.stop()
            time.sleep(2.0)  # the lease ends, and nobody is there
            with Hub(first.address, server_keys(keys, 2), 2, [setup] * 2) as second:
                wait_until(lambda: second.alive()[0])
                RemoteNode(second, 0).begin(0)
            wait_until(lambda: "node-0" in children.ended())  # the farewell of the second one
            assert guard.returncode == 0
        finally:
            guard.send_signal(signal.SIGTERM)
        assert is_quiet(server.unit)
