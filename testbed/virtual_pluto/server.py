"""Virtual Plutos on sockets: one address a unit, one thread a connection."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Final, Self

from testbed.errors import RadioError
from testbed.virtual_pluto.claims import Claims
from testbed.virtual_pluto.conversation import Conversation
from testbed.virtual_pluto.unit import Unit

PORT: Final = 30431
CHUNK: Final = 1 << 16
MOST_CONNECTIONS: Final = 64
"""At once, for one unit."""
ACCEPT_AGAIN_S: Final = 0.1
KEEPALIVE: Final = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6))
"""Seconds, seconds, times: as the genuine server; a client that vanished is noticed after about 70 s."""


class SocketWire:
    """A `Wire` on a connected socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._kept = bytearray()

    def line(self, longest: int) -> bytes:
        """Up to and with the next line end, or `longest` bytes of it; empty at the end."""
        searched = 0
        while True:
            at = self._kept.find(b"\n", searched)
            if at >= 0 or len(self._kept) >= longest:
                return self._take(at + 1 if 0 <= at < longest else longest)
            searched = len(self._kept)
            data = self._socket.recv(CHUNK)
            if not data:
                return b""
            self._kept += data

    def exactly(self, count: int) -> bytes:
        """So many bytes; EOFError when the client left before."""
        if count <= len(self._kept):
            return self._take(count)
        whole = bytearray(count)
        view, filled = memoryview(whole), len(self._kept)
        view[:filled] = self._kept
        self._kept.clear()
        while filled < count:
            got = self._socket.recv_into(view[filled:])
            if not got:
                raise EOFError
            filled += got
        return bytes(whole)

    def send(self, *parts: bytes | memoryview) -> None:
        """Send all, small parts joined."""
        if sum(len(part) for part in parts) <= CHUNK:
            self._socket.sendall(b"".join(parts))
            return
        for part in parts:
            self._socket.sendall(part)

    def _take(self, count: int) -> bytes:
        taken = bytes(self._kept[:count])
        del self._kept[:count]
        return taken


class Server:
    """`unit` on host and port, from `start` to `stop` or within a `with` block."""

    def __init__(self, unit: Unit, host: str, port: int = PORT) -> None:
        self.unit = unit
        self._wanted = (host, port)
        self._listener: socket.socket | None = None
        self._stop = threading.Event()
        self._claims = Claims()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self._acceptor = threading.Thread(target=self._accept, name=f"virtual-pluto-{unit.number}")

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._listener is not None, "start first"
        return int(self._listener.getsockname()[1])

    @property
    def uri(self) -> str:
        """What an IIO client connects to; the port is named where it is not the usual one."""
        host = self._wanted[0]
        return f"ip:{host}" if self.port == PORT else f"ip:{host}:{self.port}"

    def start(self) -> None:
        """Listen.

        Raises:
            RadioError: the address is taken or is none of this machine's.
        """
        host, port = self._wanted
        try:
            self._listener = socket.create_server((host, port), backlog=MOST_CONNECTIONS)
        except OSError as error:
            raise RadioError(
                f"virtual Pluto at {host}:{port}: {error.strerror or error}; choose another --first or --port"
            ) from error
        self._acceptor.start()

    def stop(self) -> None:
        """Close every connection and wait for their threads."""
        self._stop.set()
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._acceptor.join()
            self._listener.close()
        self.disconnect()
        for thread in self._threads():
            thread.join()

    def disconnect(self) -> None:
        """Drop every client, as a pulled cable does once it is noticed."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def connections(self) -> int:
        """Clients connected now."""
        with self._lock:
            return len(self._open)

    def __enter__(self) -> Self:
        """Listening."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stopped."""
        self.stop()

    def _threads(self) -> list[threading.Thread]:
        with self._lock:
            return list(self._open.values())

    def _accept(self) -> None:
        assert self._listener is not None
        while not self._stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed, or no descriptor is free: whoever knocks waits until one is
                self._stop.wait(ACCEPT_AGAIN_S)
                continue
            if self.connections() >= MOST_CONNECTIONS:
                connection.close()
                continue
            _prepare(connection)
            thread = threading.Thread(
                target=self._serve, args=(connection,), name=f"virtual-pluto-{self.unit.number}-client"
            )
            with self._lock:
                self._open[connection] = thread
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            Conversation(self.unit, SocketWire(connection), self._stop, self._claims).run()
        finally:
            connection.close()
            with self._lock:
                del self._open[connection]


def _prepare(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE:
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
