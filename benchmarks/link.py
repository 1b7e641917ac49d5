"""What the link costs: a question to another process, a message's header, noise.

    python benchmarks/link.py [--rounds 7]

Peers, measured in turn with ours: bare pyzmq with CURVE and no session, and the standard library's
multiprocessing.connection, which pickles. Figures are medians over rounds; times in microseconds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import pickle
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Client as PipeClient
from multiprocessing.connection import Listener
from pathlib import Path

import numpy as np

from testbed.errors import LinkError
from testbed.link import messages
from testbed.link.codec import pack, unpack
from testbed.link.hub import Hub
from testbed.link.keys import client_keys, ensure_keys, server_keys
from testbed.link.messages import ToController
from testbed.link.service import Client, Service
from testbed.link.sockets import ClientSocket, ServerSocket
from testbed.link.spoke import Spoke
from testbed.protocol import Sounding

ANY_PORT = "tcp://127.0.0.1:*"
ASKS = 300
LARGE = np.zeros(1 << 19, np.complex64)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys"
        ensure_keys(keys, 1)
        with hub(keys) as ask, bare(keys) as bare_ask, pipe() as pipe_ask, service(keys) as ask_service:
            ways = {
                "hub → agent, small question": ask,
                "service, small question": lambda: ask_service([b"x" * 191]),
                "  bare pyzmq, CURVE, 191 B": lambda: bare_ask([b"x" * 191]),
                "  multiprocessing.connection, 191 B": lambda: pipe_ask(b"x" * 191),
                "service, 4 MiB there and back": lambda: ask_service([LARGE.view(np.uint8).data]),
                "  bare pyzmq, CURVE, 4 MiB": lambda: bare_ask([LARGE.view(np.uint8).data]),
                "  multiprocessing.connection, 4 MiB (no encryption)": lambda: pipe_ask(LARGE),
            }
            show(ways, rounds)
    show(coding(), rounds)


def show(ways: dict[str, Callable[[], object]], rounds: int) -> None:
    """Each way in turn, `rounds` times; the median over rounds of each round's median and 99th percentile."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, act in ways.items():
            found[name].append(spent(act, 15 if "4 MiB" in name else ASKS))
    for name, figures in found.items():
        p50, p99 = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"{name:52s} p50 {p50 * 1e6:9.1f} µs   p99 {p99 * 1e6:9.1f} µs")


def spent(act: Callable[[], object], times: int) -> tuple[float, float]:
    """Median and 99th percentile of the seconds that `act` takes."""
    act()
    seconds = np.empty(times)
    for n in range(times):
        start = time.perf_counter()
        act()
        seconds[n] = time.perf_counter() - start
    return float(np.median(seconds)), float(np.percentile(seconds, 99))


def coding() -> dict[str, Callable[[], object]]:
    """Header and arrays of a measured link, against pickle; and a message that is refused."""
    h = np.zeros(240, np.complex64)
    link = Sounding(0, 1, h, np.zeros(240, np.float32), np.zeros(240, np.float32), 1.0, 2.0, False)
    message = ToController(5, 1, 7, 3, messages.Measured(link))
    frames = [bytes(frame) for frame in pack(message)]
    noise = [frames[0][:-7] + b"\xc1" * 7, *frames[1:]]
    pickled = pickle.dumps(link, 5)
    return {
        "pack a sounding": lambda: pack(message),
        "unpack a sounding": lambda: unpack(frames, ToController),
        "  pickle.dumps": lambda: pickle.dumps(link, 5),
        "  pickle.loads": lambda: pickle.loads(pickled),
        "refuse a mutated sounding": lambda: refuse(noise),
        "refuse noise": lambda: refuse([b"\xc1noise"]),
    }


def refuse(frames: list[bytes]) -> None:
    """Frames that are no message."""
    try:
        unpack(frames, ToController)
    except LinkError:
        return
    raise AssertionError("the noise was taken for a message")


@contextmanager
def process(target: Callable[..., None], *arguments: object) -> Iterator[None]:
    """A process that runs `target`, ended at last."""
    child = multiprocessing.get_context("spawn").Process(target=target, args=arguments, daemon=True)
    child.start()
    try:
        yield
    finally:
        child.terminate()
        child.join()


@contextmanager
def hub(keys: Path) -> Iterator[Callable[[], object]]:
    """A question to an agent in another process."""
    with Hub(ANY_PORT, server_keys(keys, 1), 1, [""]) as there, process(run_agent, there.address, keys):
        there.wait_joined(30.0)
        yield lambda: there.ask(0, messages.Sound(1), 10.0)


def run_agent(address: str, keys: Path) -> None:
    """Answers every question with a constant."""
    with Spoke(address, client_keys(keys, 0), 0) as spoke:
        spoke.join(30.0)
        spoke.serve(lambda request: messages.OnAir(0.1), lambda: None)


@contextmanager
def service(keys: Path) -> Iterator[Callable[[list[bytes | memoryview]], object]]:
    """An echo in another process."""
    ours, theirs = multiprocessing.Pipe()
    with process(run_service, keys, theirs), Client(ours.recv(), client_keys(keys, 0, "air")) as client:
        yield lambda frames: client.request(frames, 10.0)


def run_service(keys: Path, parent: multiprocessing.connection.Connection[str, str]) -> None:
    """Echo for ever."""
    with Service(ANY_PORT, server_keys(keys, 1, "air")) as here:
        parent.send(here.address)
        here.serve(lambda client, frames: frames)


@contextmanager
def bare(keys: Path) -> Iterator[Callable[[list[bytes | memoryview]], object]]:
    """The same sockets with nothing on top."""
    with ServerSocket(ANY_PORT, server_keys(keys, 1)) as server:
        address = server.address
    with process(run_bare, keys, address), ClientSocket(address, client_keys(keys, 0)) as client:
        client.send([b"x"], 30.0)
        listen(client)
        yield lambda frames: (client.send(frames), listen(client))


def listen(client: ClientSocket) -> object:
    """The next message."""
    while (arrival := client.receive()) is None:
        client.wait(10.0)
    return arrival


def run_bare(keys: Path, address: str) -> None:
    """Echo for ever."""
    with ServerSocket(address, server_keys(keys, 1)) as server:
        while True:
            server.wait(10.0)
            while (arrival := server.receive()) is not None:
                server.send(arrival.address, arrival.frames)


@contextmanager
def pipe() -> Iterator[Callable[[object], object]]:
    """The standard library's connection over TCP."""
    with (
        Listener(("127.0.0.1", 0), authkey=b"key") as listener,
        process(run_pipe, listener.address),
        listener.accept() as there,
    ):
        yield lambda value: (there.send(value), there.recv())


def run_pipe(address: tuple[str, int]) -> None:
    """Echo for ever."""
    with PipeClient(address, authkey=b"key") as there:
        while True:
            there.send(there.recv())


if __name__ == "__main__":
    main()
    assert threading.active_count() <= 2
