"""Partitions of a real network: an agent in a network namespace of its own, whose packets nftables drops.

Needs iproute2 and nftables, which `.ci/run` installs, and a kernel that lets this user make namespaces.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed.errors import NodeLost
from testbed.link.hub import Hub
from testbed.link.keys import ensure_keys, server_keys
from testbed.link.remote import RemoteNode
from tests.reference.link_node import ReferenceNode
from tests.system.link_process import REPOSITORY, read, wait_for
from tests.system.test_faults_messages import BACK_S, DETECT_S, until
from tests.unit.link.test_codec import same

HERE, THERE = "10.213.77.1", "10.213.77.2"
DROP = {"in": "type filter hook input", "out": "type filter hook output"}

missing = [tool for tool in ("ip", "nft") if shutil.which(tool) is None]
pytestmark = pytest.mark.skipif(
    bool(missing) and not os.environ.get("CI"), reason=f"needs iproute2 and nftables (missing: {', '.join(missing)})"
)


def sh(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def namespace(name: str) -> Iterator[str]:
    """A network namespace that reaches this one over a pair of virtual Ethernet ports."""
    here, there = f"{name}h", f"{name}t"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"this user cannot make network namespaces here: {made.stderr.strip()}")
    try:
        sh("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
        sh("ip", "addr", "add", f"{HERE}/24", "dev", here)
        sh("ip", "link", "set", here, "up")
        sh("ip", "-n", name, "addr", "add", f"{THERE}/24", "dev", there)
        sh("ip", "-n", name, "link", "set", there, "up")
        yield name
    finally:
        sh("ip", "netns", "del", name)


def drop(name: str, ways: tuple[str, ...]) -> None:
    """Packets into or out of the namespace are lost from now on."""
    for way in ways:
        sh("ip", "netns", "exec", name, "nft", "add", "table", "inet", way)
        sh("ip", "netns", "exec", name, "nft", f"add chain inet {way} c {{ {DROP[way]} priority 0; policy drop; }}")


def heal(name: str) -> None:
    sh("ip", "netns", "exec", name, "nft", "flush", "ruleset")


@contextmanager
def agent_in(name: str, address: str, folder: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.system.link_process", "agent"]
    arguments = [address, "0", str(folder / "keys"), str(folder / "agent.log")]
    process = subprocess.Popen(["ip", "netns", "exec", name, *command, *arguments], cwd=REPOSITORY)
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize(
    ("ways", "cut_s"),
    [
        (("in", "out"), 3.0),
        (("in",), 3.0),
        (("out",), 3.0),
        pytest.param(("in", "out"), 30.0, marks=pytest.mark.long),
    ],
)
def test_a_cut_network_silences_and_fences_a_node_and_takes_it_back(
    ways: tuple[str, ...], cut_s: float, tmp_path: Path
) -> None:
    ensure_keys(tmp_path / "keys", 1)
    log = tmp_path / "agent.log"
    with (
        namespace(f"dmoe{os.getpid() % 100000}") as name,
        Hub(f"tcp://{HERE}:*", server_keys(tmp_path / "keys", 1), 1, ["setup"]) as hub,
        agent_in(name, hub.address, tmp_path),
    ):
        hub.wait_joined(20.0)
        wait_for(log, "joined")
        node, first = RemoteNode(hub, 0), hub.incarnation(0)
        node.begin(1)
        drop(name, ways)
        cut = time.monotonic()
        with pytest.raises(NodeLost):
            node.gate(1)
        until(lambda: not hub.alive()[0], DETECT_S)
        detected_s = time.monotonic() - cut
        if "in" in ways:
            assert wait_for(log, "quiet", DETECT_S)[0] - cut < DETECT_S
        time.sleep(max(0.0, cut + cut_s - time.monotonic()))
        assert not hub.alive()[0]
        heal(name)
        until(lambda: hub.alive()[0], BACK_S)
        assert hub.incarnation(0) != first
        wait_for(log, "joined", BACK_S, count=2)
        assert [word for _, word, _ in read(log)].count("quiet") == 1
        truth = ReferenceNode(0)
        node.begin(2)
        truth.begin(2)
        assert same(node.gate(2), truth.gate(2))
        assert detected_s < DETECT_S
