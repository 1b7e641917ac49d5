"""A warm process that forks the others of a run: what takes seconds to import and to load is paid once.

It has one thread, opens neither sockets nor radios, and so is safe to fork at any time. Orders come over a Unix
socket, each with the descriptors that become the child's standard input, output and error; what it answers is who
was born and how they died. It ends with that socket; its children look after themselves.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import msgspec

LARGEST_ORDER = 1 << 20
Command = Callable[[list[str]], object]


class Order(msgspec.Struct, frozen=True):
    """Start `testbed arguments…` as child `number`, called `name` in lists of processes."""

    number: int
    name: str
    arguments: tuple[str, ...]


class Born(msgspec.Struct, frozen=True, tag=True):
    """Child `number` is process `pid`."""

    number: int
    pid: int


class Died(msgspec.Struct, frozen=True, tag=True):
    """Child `number` ended with `code`, negative for a signal."""

    number: int
    code: int


def run_nursery(command: Command, warm: Callable[[], None]) -> None:
    """Obey the orders that come over the socket at standard input until it ends.

    Args:
        command: the command line, called in a child with its arguments.
        warm: loads what children need, before the first of them.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it has nothing to save, and ends with its owner
    warm()
    orders = socket.socket(fileno=os.dup(0))
    children: dict[int, int] = {}
    with orders, _children_ended() as bell:
        while True:
            ready = select.select([orders.fileno(), bell], [], [])[0]
            if bell in ready:
                _tell_deaths(orders, bell, children)
            if orders.fileno() in ready and not _obey(orders, command, children):
                return


def set_name(name: str) -> None:
    """What lists of processes call this one; 15 bytes of it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name[:15], encoding="ascii")


def fork(body: Callable[[], int]) -> int:
    """Process number of a child that does `body`, ends with what it returns, and never comes back here."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    _end(body)


def ending(code: int) -> str:
    """How a process ended, in words; `code` is negative for a signal."""
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"


@contextmanager
def _children_ended() -> Iterator[int]:
    """A descriptor that can be read when a child has ended."""
    bell, ring = os.pipe()
    os.set_blocking(bell, False)
    os.set_blocking(ring, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
    yield bell


def _tell_deaths(orders: socket.socket, bell: int, children: dict[int, int]) -> None:
    with contextlib.suppress(BlockingIOError):
        os.read(bell, 4096)
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        _answer(orders, Died(children.pop(pid), os.waitstatus_to_exitcode(status)))


def _obey(orders: socket.socket, command: Command, children: dict[int, int]) -> bool:
    text, descriptors, _, _ = socket.recv_fds(orders, LARGEST_ORDER, 3)
    if not text:
        return False
    order = msgspec.json.decode(text, type=Order)
    pid = fork(lambda: _become(orders, order, descriptors, command))
    for descriptor in descriptors:
        os.close(descriptor)
    children[pid] = order.number
    _answer(orders, Born(order.number, pid))
    return True


def _answer(orders: socket.socket, words: Born | Died) -> None:
    with contextlib.suppress(OSError):  # who ordered is gone: the next read says so
        orders.send(msgspec.json.encode(words))


def _become(orders: socket.socket, order: Order, descriptors: list[int], command: Command) -> int:
    """In the child: be `testbed arguments…`, with a session and signals of its own."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for at, descriptor in enumerate(descriptors):
        os.dup2(descriptor, at)
        os.close(descriptor)
    orders.close()
    set_name(order.name)
    sys.argv = ["testbed", *order.arguments]
    command(list(order.arguments))
    return 0


def _end(body: Callable[[], int]) -> NoReturn:
    """Nothing of the parent's that is still open here is closed in its name: no finalisers run."""
    code = 1
    try:
        code = body()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:  # noqa: BLE001 - the child must not come back here
        traceback.print_exc()
    finally:
        try:
            atexit._run_exitfuncs()  # noqa: SLF001
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
