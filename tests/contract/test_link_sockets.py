"""Hub, spoke, service and client over real sockets in one process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from testbed.errors import LinkError, NodeLost, RadioError
from testbed.link import messages
from testbed.link.codec import pack, unpack
from testbed.link.hub import Hub
from testbed.link.keys import CONTROLLER, client_keys, ensure_keys, server_keys
from testbed.link.remote import RemoteNode, serve_node
from testbed.link.service import Client, Service
from testbed.link.sockets import Arrival, ClientSocket, ServerSocket
from testbed.link.spoke import Spoke
from tests.reference.link_node import ReferenceNode

ANY_PORT = "tcp://127.0.0.1:*"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    ensure_keys(tmp_path / "keys", 2)
    return tmp_path / "keys"


@contextmanager
def hub_of(keys: Path, nodes: int = 1) -> Iterator[Hub]:
    with Hub(ANY_PORT, server_keys(keys, nodes), nodes, ["setup"] * nodes) as hub:
        yield hub


class Agent:
    """A spoke on a thread of its own; what became of it."""

    def __init__(self, hub: Hub, keys: Path, node: ReferenceNode) -> None:
        self.reasons: list[str] = []
        self.quiet: list[str] = []
        self.error: BaseException | None = None
        self._arguments = hub.address, client_keys(keys, node.index), node.index
        self._handler = serve_node(node)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            with Spoke(*self._arguments) as spoke:
                while not self.reasons or "run has ended" not in self.reasons[-1]:
                    spoke.join(5.0)
                    self.reasons.append(spoke.serve(self._handler, self._silence))
        except (LinkError, ZeroDivisionError) as error:
            self.error = error

    def _silence(self) -> None:
        self.quiet.append(threading.current_thread().name)

    def __enter__(self) -> Agent:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.join(10.0)
        assert not self._thread.is_alive()


def wait_until(true: Callable[[], bool], deadline_s: float = 5.0) -> None:
    end = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_the_end_of_a_run_reaches_the_agent(keys: Path) -> None:
    with Agent(hub := Hub(ANY_PORT, server_keys(keys, 1), 1, ["x"]), keys, ReferenceNode(0)) as agent:
        hub.wait_joined(10.0)
        RemoteNode(hub, 0).begin(0)  # it serves
        hub.close()
    assert agent.reasons == ["the run has ended"]
    assert agent.quiet == ["spoke 0"]
    with pytest.raises(LinkError, match="closed"):
        hub.ask(0, messages.Silence(), 1.0)
    with pytest.raises(LinkError, match="closed"):
        hub.wait_joined(1.0)
    hub.close()


def test_a_fenced_agent_is_told_and_joins_again(keys: Path) -> None:
    with Agent(hub := Hub(ANY_PORT, server_keys(keys, 1), 1, ["x"]), keys, ReferenceNode(0)) as agent, hub:
        hub.wait_joined(10.0)
        first = hub.incarnation(0)
        hub.fence(0, "ended with exit code 3")
        wait_until(lambda: hub.incarnation(0) not in (0, first))
        assert [e.text for e in hub.events()] == ["node 0 joined", "node 0 ended with exit code 3", "node 0 joined"]
    assert agent.reasons == ["ended with exit code 3", "the run has ended"]
    assert len(agent.quiet) == 2


def test_a_bug_at_work_ends_the_agent_and_is_reported(keys: Path) -> None:
    with Agent(hub := Hub(ANY_PORT, server_keys(keys, 1), 1, ["x"]), keys, ReferenceNode(0)) as agent, hub:
        hub.wait_joined(10.0)
        node = RemoteNode(hub, 0)
        node.begin(0)
        with pytest.raises(NodeLost, match="ZeroDivisionError: a bug"):
            node.gate(999)
    assert isinstance(agent.error, ZeroDivisionError)
    assert agent.quiet == ["spoke 0"]


def test_what_cannot_be_sent_harms_nobody(keys: Path) -> None:
    with Agent(hub := Hub(ANY_PORT, server_keys(keys, 1), 1, ["x"]), keys, ReferenceNode(0)), hub:
        hub.wait_joined(10.0)
        with pytest.raises(LinkError, match="cannot be sent"):
            hub.ask(0, messages.Aggregate(0, np.array([object()])), 1.0)
        assert hub.ask(0, messages.Sound(7), 5.0) == messages.OnAir(1.0)


def test_closing_the_hub_ends_whoever_waits(keys: Path) -> None:
    with Agent(hub := Hub(ANY_PORT, server_keys(keys, 1), 1, ["x"]), keys, ReferenceNode(0)):
        hub.wait_joined(10.0)
        closer = threading.Timer(0.2, hub.close)
        closer.start()
        with pytest.raises(NodeLost, match="the run has ended"):
            hub.ask(0, messages.Compute(1001), 30.0)
        closer.join()


def test_a_repeated_request_is_executed_once(keys: Path) -> None:
    """A controller made by hand asks twice, as after a loss, and a third time once it is answered."""
    node = ReferenceNode(0)
    with ServerSocket(ANY_PORT, server_keys(keys, 1)) as server:
        hub = Hub.__new__(Hub)
        hub.address = server.address
        with Agent(hub, keys, node) as agent:
            hello = next_message(server, messages.Hello)
            number = unpack(hello.frames, messages.ToController).incarnation

            def say(body: object, request: int = 0) -> None:
                message = messages.ToAgent(5, 0, number, request, body)
                assert server.send(hello.address, pack(message))

            say(messages.Welcome(5.0, 0.25, "x"))
            say(messages.Sound(7), 1)
            say(messages.Sound(7), 1)
            next_message(server, messages.OnAir)
            say(messages.Sound(7), 1)
            next_message(server, messages.OnAir)
            say(messages.Bye("the run has ended"))
            next_message(server, messages.Bye)
    assert agent.reasons == ["the run has ended"]
    assert node.asked == 1


def next_message(server: ServerSocket, body: type) -> Arrival:
    """The next message with such a body; others are skipped."""
    end = time.monotonic() + 10.0
    while time.monotonic() < end:
        server.wait(0.1)
        while (arrival := server.receive()) is not None:
            if isinstance(unpack(arrival.frames, messages.ToController).body, body):
                return arrival
    raise AssertionError(f"no {body.__name__}")


def test_serving_comes_after_joining(keys: Path) -> None:
    with Spoke("tcp://127.0.0.1:9", client_keys(keys, 0), 0) as spoke, pytest.raises(LinkError, match="call join"):
        spoke.serve(serve_node(ReferenceNode(0)), lambda: None)


def test_joining_where_nobody_listens_says_so(keys: Path) -> None:
    with (
        Spoke("tcp://127.0.0.1:9", client_keys(keys, 0), 0) as spoke,
        pytest.raises(LinkError, match=r"node 0 could not join tcp://127\.0\.0\.1:9 in 0\.3 s: nobody answers there"),
    ):
        spoke.join(0.3)


@pytest.mark.parametrize("address", ["nonsense", "tcp://127.0.0.1", "carrier-pigeon://x"])
def test_what_is_no_address_is_refused(keys: Path, address: str) -> None:
    with pytest.raises(LinkError, match="cannot listen at"):
        ServerSocket(address, server_keys(keys, 1))
    with pytest.raises(LinkError, match="is no address"):
        ClientSocket(address, client_keys(keys, 0))


def test_a_port_in_use_is_refused(keys: Path) -> None:
    with ServerSocket(ANY_PORT, server_keys(keys, 1)) as first, pytest.raises(LinkError, match="in use"):
        Hub(first.address, server_keys(keys, 1), 1, ["x"])


# Service and client


@contextmanager
def echo(keys: Path) -> Iterator[Service]:
    """Answers with the client's index and what it said; "sleep", "refuse" and "big" are obeyed."""

    def handler(client: int, frames: list[bytes | memoryview]) -> list[bytes | memoryview]:
        match frames:
            case [b"sleep"]:
                time.sleep(0.4)
            case [b"refuse", *_]:
                raise RadioError("unit 7 is not on this air: use 0 to 1")
        return [str(client).encode(), *frames]

    with Service(ANY_PORT, server_keys(keys, 2, "air")) as service:
        thread = threading.Thread(target=service.serve, args=(handler,))
        thread.start()
        try:
            yield service
        finally:
            service.stop()
            thread.join(10.0)
            assert not thread.is_alive()


def test_clients_are_known_by_their_keys(keys: Path) -> None:
    with echo(keys) as service:
        for index in (0, 1, CONTROLLER):
            with Client(service.address, client_keys(keys, index, "air")) as client:
                assert client.request([b"hello", b""], 5.0) == [str(index).encode(), b"hello", b""]


def test_samples_cross_unchanged_and_writable(keys: Path, rng: np.random.Generator) -> None:
    samples = rng.standard_normal(2 << 18).astype(np.float32).view(np.complex64)
    message = messages.Measured(None)
    with echo(keys) as service, Client(service.address, client_keys(keys, 1, "air")) as client:
        _, *back = client.request([*pack(message), samples.view(np.uint8).data], 10.0)
        assert unpack(back[:1], messages.Measured) == message
        assert bytes(back[1]) == samples.tobytes()
        assert np.frombuffer(back[1], np.complex64).flags.writeable


def test_a_service_s_refusal_reaches_its_client(keys: Path) -> None:
    with echo(keys) as service, Client(service.address, client_keys(keys, 1, "air")) as client:
        with pytest.raises(LinkError, match="unit 7 is not on this air"):
            client.request([b"refuse"], 5.0)
        assert client.request([b"again"], 5.0) == [b"1", b"again"]


def test_a_late_answer_is_not_taken_for_the_next_one(keys: Path) -> None:
    with echo(keys) as service, Client(service.address, client_keys(keys, 1, "air")) as client:
        client.request([b"warm"], 5.0)
        with pytest.raises(LinkError, match=r"no answer from .* within 0\.1 s: it is busy or has stopped"):
            client.request([b"sleep"], 0.1)
        assert client.request([b"next"], 5.0) == [b"1", b"next"]


def test_threads_may_share_a_client(keys: Path) -> None:
    wrong: list[bytes] = []
    with echo(keys) as service, Client(service.address, client_keys(keys, 0, "air")) as client:

        def ask(name: bytes) -> None:
            for n in range(50):
                said = name + str(n).encode()
                if client.request([said], 10.0) != [b"0", said]:
                    wrong.append(said)

        threads = [threading.Thread(target=ask, args=(name,)) for name in (b"a", b"b", b"c")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_a_service_that_is_gone_is_noticed(keys: Path) -> None:
    with echo(keys) as service:
        client = Client(service.address, client_keys(keys, 0, "air"))
        client.request([b"x"], 5.0)
    with client, pytest.raises(LinkError, match="nobody answers there"):
        client.request([b"x"], 0.5)


def test_a_bug_of_the_handler_ends_the_service_loudly(keys: Path) -> None:
    caught: list[BaseException] = []

    def serve(service: Service) -> None:
        try:
            service.serve(lambda client, frames: 1 // 0)
        except ZeroDivisionError as error:
            caught.append(error)

    with Service(ANY_PORT, server_keys(keys, 2, "air")) as service:
        thread = threading.Thread(target=serve, args=(service,))
        thread.start()
        with (
            Client(service.address, client_keys(keys, 0, "air")) as client,
            pytest.raises(LinkError, match="no answer"),
        ):
            client.request([b"x"], 0.5)
        thread.join(5.0)
    assert len(caught) == 1


def test_noise_from_a_client_is_dropped(keys: Path, rng: np.random.Generator) -> None:
    with echo(keys) as service:
        with ClientSocket(service.address, client_keys(keys, 0, "air")) as noisy:
            assert noisy.send([b""], 5.0)
            for n in range(200):
                assert noisy.send([rng.bytes(n % 40)] * (1 + n % 3), 5.0)
            wait_until(lambda: service.dropped >= 201)
        with Client(service.address, client_keys(keys, 1, "air")) as client:
            assert client.request([b"x"], 5.0) == [b"1", b"x"]
