"""Who has no business on the link stays out, is recorded, and harms nobody who has."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zmq

from testbed.errors import LinkError
from testbed.link import messages
from testbed.link.codec import FRAME_BYTES, pack, unpack
from testbed.link.hub import Hub
from testbed.link.keys import ClientKeys, KeyPair, client_keys, ensure_keys, server_keys
from testbed.link.messages import ToAgent, ToController
from testbed.link.remote import serve_node
from testbed.link.sockets import DOMAIN, MOST_DENIED, ClientSocket, ServerSocket
from testbed.link.spoke import Spoke
from tests.reference.link_node import ReferenceNode
from tests.unit.link.test_codec import example_messages, mutated


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    ensure_keys(tmp_path / "keys", 2)
    return tmp_path / "keys"


@pytest.fixture
def hub(keys: Path) -> Iterator[Hub]:
    """Two nodes may join; node 1 is there and well."""
    with Hub("tcp://127.0.0.1:*", server_keys(keys, 2), 2, ["zero", "one"]) as hub:
        thread = threading.Thread(target=agent, args=(hub.address, keys, 1))
        thread.start()
        wait_until(lambda: hub.alive()[1])
        before = hub.incarnation(1)
        yield hub
        assert hub.ask(1, messages.Sound(7), 5.0) == messages.OnAir(1.0)
        assert hub.incarnation(1) == before  # whatever happened, it did not happen to node 1
    thread.join()


def agent(address: str, keys: Path, index: int) -> None:
    with Spoke(address, client_keys(keys, index), index) as spoke:
        spoke.join(10.0)
        spoke.serve(serve_node(ReferenceNode(index)), lambda: None)


def wait_until(true: Callable[[], bool], deadline_s: float = 8.0) -> None:
    end = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def refusals(hub: Hub) -> list[str]:
    return [event.text for event in hub.events() if event.kind == "refused"]


def stranger(keys: Path) -> ClientKeys:
    return ClientKeys(KeyPair(*zmq.curve_keypair()), server_keys(keys, 2).own.public)


@contextmanager
def raw(hub: Hub, keys: ClientKeys) -> Iterator[ClientSocket]:
    with ClientSocket(hub.address, keys) as client:
        yield client


def answer(client: ClientSocket, deadline_s: float = 5.0) -> object:
    """The body of the next message from the hub, heartbeats aside."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        client.wait(0.05)
        while (arrival := client.receive()) is not None:
            body = unpack(arrival.frames, ToAgent).body
            if not isinstance(body, messages.Heartbeat):
                return body
    raise AssertionError("no answer")


def hello(node: int, incarnation: int = 12, version: int = messages.VERSION) -> list[bytes | memoryview]:
    return pack(ToController(0, node, incarnation, 0, messages.Hello(version)))


def test_an_unknown_key_stays_out_and_learns_why(hub: Hub, keys: Path) -> None:
    with Spoke(hub.address, stranger(keys), 0) as spoke, pytest.raises(LinkError, match="our key is not authorised"):
        spoke.join(1.0)
    (text,) = refusals(hub)
    assert text.startswith("refused the unknown key of 127.0.0.1 ")
    assert hub.alive() == (False, True)


def test_a_flood_of_unknown_keys_neither_grows_nor_slows_what_is_remembered(hub: Hub) -> None:
    """Keys cost nothing: who has none of ours can make a thousand a second."""
    for n in range(20_000):
        key = n.to_bytes(4, "big") + bytes(28)
        judged = hub._socket._judge([b"1.0", b"1", DOMAIN, b"10.0.0.1", b"", b"CURVE", key])
        assert judged[2] == b"400"
    wait_until(lambda: len(refusals(hub)) == MOST_DENIED)
    assert hub._socket.newly_denied() == []


def test_a_full_queue_whose_sender_goes_away_harms_nobody(keys: Path) -> None:
    """ZeroMQ's own heartbeats would abort the process here, hence another one."""
    script = f"""
import threading, time
from pathlib import Path
from testbed.link import sockets
from testbed.link.keys import client_keys, server_keys
sockets._LINGER_MS = 0
keys = Path({str(keys)!r})
with sockets.ServerSocket("tcp://127.0.0.1:*", server_keys(keys, 2)) as server:
    sent = threading.Event()
    with sockets.ClientSocket(server.address, client_keys(keys, 0)) as client:
        def pour():
            while client.send([bytes(1 << 16)], 0.5):
                sent.set()
        pouring = threading.Thread(target=pour)
        pouring.start()
        while not sent.is_set():
            server.wait(0.05)
        pouring.join()
    time.sleep(1.5)
    print(sum(1 for _ in iter(server.receive, None)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


def test_without_a_key_nothing_comes_through(hub: Hub) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as plain:
        plain.linger = 0
        plain.connect(hub.address)
        plain.send_multipart([bytes(f) for f in hello(0)])
        assert not plain.poll(500)
    assert hub.alive() == (False, True)


def test_a_hub_with_another_key_is_not_believed(hub: Hub, keys: Path) -> None:
    fooled = ClientKeys(client_keys(keys, 0).own, client_keys(keys, 1).own.public)
    with Spoke(hub.address, fooled, 0) as spoke, pytest.raises(LinkError, match="public key"):
        spoke.join(1.0)
    assert hub.alive() == (False, True)


def test_a_node_cannot_take_another_s_place(hub: Hub, keys: Path) -> None:
    with (
        Spoke(hub.address, client_keys(keys, 0), 1) as spoke,
        pytest.raises(LinkError, match="your key is not the key of node 1"),
    ):
        spoke.join(5.0)
    assert refusals(hub) == ["refused node 0: your key is not the key of node 1"]


def test_a_node_cannot_speak_for_another(hub: Hub, keys: Path) -> None:
    """Even with the right epoch and incarnation, which it cannot know."""
    epoch, incarnation = hub._session.epoch, hub.incarnation(1)
    with raw(hub, client_keys(keys, 0)) as thief:
        assert thief.send(pack(ToController(epoch, 1, incarnation, 0, messages.Bye("stolen"))), 5.0)
        assert isinstance(answer(thief), messages.Refused)


@pytest.mark.parametrize("version", [0, messages.VERSION + 1])
def test_another_version_is_refused_by_name(hub: Hub, keys: Path, version: int) -> None:
    with raw(hub, client_keys(keys, 0)) as old:
        assert old.send(hello(0, version=version), 5.0)
        refused = answer(old)
    assert isinstance(refused, messages.Refused)
    assert f"speaks version {version}, the controller {messages.VERSION}" in refused.reason
    assert refused.reason in refusals(hub)[0]
    assert hub.alive() == (False, True)


def test_a_replayed_hello_is_refused(hub: Hub, keys: Path) -> None:
    with raw(hub, client_keys(keys, 0)) as client:
        assert client.send(hello(0), 5.0)
        welcome = answer(client)
        assert isinstance(welcome, messages.Welcome)
        assert welcome.setup == "zero"
        wait_until(lambda: not hub.alive()[0])  # it says nothing more and is lost
        assert isinstance(answer(client), messages.Refused)
        assert client.send(hello(0), 5.0)
        assert isinstance(answer(client), messages.Refused)
    assert not hub.alive()[0]
    assert hub.counts()["stale"] == 1


def test_without_its_zap_handler_a_server_lets_nobody_in(keys: Path) -> None:
    with (
        ServerSocket("tcp://127.0.0.1:*", server_keys(keys, 2), zap=False) as server,
        ClientSocket(server.address, client_keys(keys, 0)) as known,
    ):
        assert not known.send([b"hello"], 1.0)
        server.wait(0.0)
        assert server.receive() is None


def test_with_it_the_same_client_gets_in(keys: Path) -> None:
    with (
        ServerSocket("tcp://127.0.0.1:*", server_keys(keys, 2)) as server,
        ClientSocket(server.address, client_keys(keys, 1)) as known,
    ):
        sender = threading.Thread(target=known.send, args=([b"hello"], 5.0))
        sender.start()
        end, arrival = time.monotonic() + 5.0, None
        while arrival is None and time.monotonic() < end:
            server.wait(0.05)
            arrival = server.receive()
        sender.join()
    assert arrival is not None
    assert (arrival.client, arrival.frames) == (1, [b"hello"])


def test_noise_from_a_member_costs_it_its_membership(hub: Hub, keys: Path, rng: np.random.Generator) -> None:
    with raw(hub, client_keys(keys, 0)) as noisy:
        assert noisy.send(hello(0), 5.0)
        assert isinstance(answer(noisy), messages.Welcome)
        for n in range(30):
            assert noisy.send([rng.bytes(n)], 5.0)
        refused = answer(noisy)
    assert refused == messages.Refused("sent 20 unreadable messages")
    wait_until(lambda: hub.counts()["malformed"] == 30)
    assert not hub.alive()[0]


def test_thousands_of_mutated_messages_change_nothing(hub: Hub, keys: Path, rng: np.random.Generator) -> None:
    sent = [[bytes(f) for f in pack(m)] for m in example_messages(rng) if not isinstance(m.body, messages.Hello)]
    sent += [[bytes(f) for f in hello(1, hub.incarnation(1))]]
    with raw(hub, client_keys(keys, 0)) as noisy:
        for n in range(3000):
            assert noisy.send(mutated(sent[n % len(sent)], rng) or [b""], 5.0)
        assert noisy.send(hello(0), 5.0)
        wait_until(lambda: hub.alive()[0])
    assert hub.counts()["malformed"] > 1000


def test_an_oversize_frame_costs_its_sender_the_connection(hub: Hub, keys: Path) -> None:
    with raw(hub, client_keys(keys, 0)) as client:
        assert client.send([bytes(FRAME_BYTES + 1)], 5.0)
        wait_until(lambda: client.send(hello(0), 5.0) and hub.alive()[0])
        assert isinstance(answer(client), messages.Welcome)
    assert "malformed" not in hub.counts()


def test_garbage_on_the_port_harms_nobody(hub: Hub, rng: np.random.Generator) -> None:
    host, port = hub.address.removeprefix("tcp://").split(":")
    for n in range(200):
        with socket.create_connection((host, int(port)), 5.0) as garbage:
            garbage.sendall(rng.bytes(1 + n))
    assert hub.alive() == (False, True)


def test_a_flood_from_one_member_leaves_the_others_served(hub: Hub, keys: Path) -> None:
    """Everything that was sent arrives: what finds a queue full waits at its sender."""
    flood = 20_000
    with raw(hub, client_keys(keys, 0)) as client:
        assert client.send(hello(0), 5.0)
        welcome = answer(client)
        assert isinstance(welcome, messages.Welcome)
        stale = pack(ToController(1, 0, 12, 0, messages.Done()))

        def pour() -> None:
            for _ in range(flood):
                client.wait(0.0)
                while client.receive() is not None:
                    pass
                assert client.send(stale, 5.0)

        thread = threading.Thread(target=pour)
        thread.start()
        while thread.is_alive():
            assert hub.ask(1, messages.Sound(14), 5.0) == messages.OnAir(2.0)
        thread.join()
        wait_until(lambda: hub.counts()["stale"] == flood)
