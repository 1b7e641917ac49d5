"""Fixtures that every test shares: one seed, and nothing left behind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

for library in ("OPENBLAS", "OMP", "MKL"):  # as the command does: sums are rounded alike in every process
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import psutil  # noqa: E402
import pytest  # noqa: E402

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background: children would not hear Ctrl+C
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the full-size form of long tests")
    parser.addoption("--radio", default=None, help="address of a real radio, or two: A,B, for hardware tests")
    parser.addoption("--seed", type=int, default=20250317, help="seed of every random test input")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "long" in item.keywords and not config.getoption("--long"):
            item.add_marker(pytest.mark.skip(reason="long: run with --long"))
        if "hardware" in item.keywords and config.getoption("--radio") is None:
            item.add_marker(pytest.mark.skip(reason="hardware: give --radio pluto:…"))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--seed"))


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _belongings() -> tuple[set[str], set[int], set[tuple[int, int]]]:
    """Names of live threads, child processes, and (fd, peer port) of open inet sockets."""
    me = psutil.Process()
    threads = {t.name for t in threading.enumerate() if not t.daemon}
    children = {c.pid for c in me.children(recursive=True) if c.status() != psutil.STATUS_ZOMBIE}
    sockets = {(c.fd, c.laddr.port) for c in me.net_connections(kind="inet")}
    return threads, children, sockets


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """A test that leaves a thread, a process or a socket behind fails."""
    before = _belongings()
    yield
    after = _belongings()
    for kind, old, new in zip(("thread", "process", "socket"), before, after, strict=True):
        assert not new - old, f"left behind: {kind} {new - old}"
