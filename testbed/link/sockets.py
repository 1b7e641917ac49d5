"""Encrypted sockets that only move frames: one server with many clients, and a client.

CURVE is always on. The server asks its own ZAP handler about every key; without the handler nobody gets in
(ZAP_ENFORCE_DOMAIN). What arrives is marked with the client index that its key stands for, so that no client
can speak for another. Each socket belongs to one thread, `wake` alone may be called from any.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import zmq
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from testbed.errors import LinkError
from testbed.link.codec import FRAME_BYTES, FRAMES
from testbed.link.codec import Frame as Frames
from testbed.link.keys import ClientKeys, KeyPair, ServerKeys

DOMAIN = b"testbed"
MOST_DENIED = 1000
"""Unknown keys that are remembered."""
_COPY_BELOW = 1 << 16
_QUEUE = 256
_SEND_TIMEOUT_MS = 100
_LINGER_MS = 250


@dataclass(frozen=True)
class Arrival:
    """What came in.

    Attributes:
        address: connection to answer to, empty at a client.
        client: index that the sender's key stands for, 0 at a client.
        frames: the message, at most `FRAMES` frames.
    """

    address: bytes
    client: int
    frames: list[bytes | memoryview]


class _Wire:
    """A CURVE socket in a context of its own, and a pipe that wakes whoever waits for it."""

    def __init__(self, kind: int, own: KeyPair) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(kind)
        _limit(self._socket)
        self._socket.curve_publickey, self._socket.curve_secretkey = own.public, own.secret
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._wake_in, zmq.POLLIN)
        self._closed = False
        self._waking = threading.RLock()  # a signal handler may interrupt the thread that holds it

    def wake(self) -> None:
        """End the present or the next `wait`; callable from any thread and from signal handlers."""
        with self._waking, contextlib.suppress(BlockingIOError):
            if not self._closed:
                os.write(self._wake_out, b"!")

    def wait(self, timeout_s: float) -> None:
        """Until something arrives, `wake` is called or `timeout_s` has passed."""
        ready = dict(self._poller.poll(math.ceil(min(max(timeout_s, 0.0), 3600.0) * 1e3)))
        if self._wake_in in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_in, 4096)
        self._attend(ready)

    def watch(self, descriptor: int) -> None:
        """`wait` ends also when `descriptor` can be read."""
        self._poller.register(descriptor, zmq.POLLIN)

    def forget(self, descriptor: int) -> None:
        """No longer; before `descriptor` is closed."""
        self._poller.unregister(descriptor)

    def close(self) -> None:
        """What was sent may leave within 0.25 s; then everything is gone."""
        with self._waking:
            if self._closed:
                return
            self._closed = True
            os.close(self._wake_in)
            os.close(self._wake_out)
        self._close_helpers()
        self._socket.close(_LINGER_MS)
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _attend(self, ready: dict[object, int]) -> None:
        """Look after the socket's helpers that are `ready`."""

    def _close_helpers(self) -> None:
        """Close the socket's helpers."""

    def _receive(self) -> list[zmq.Frame] | None:
        try:
            return self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None

    def _send(self, frames: Sequence[Frames]) -> bool:
        try:
            self._socket.send_multipart(frames, copy=False)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return False
            raise
        return True


class ServerSocket(_Wire):
    """Bound at `bind`; clients with a key in `keys.clients` get in.

    Attributes:
        address: where clients connect, with the port that was found for `tcp://…:*`.

    Raises:
        LinkError: the address is in use or cannot be bound.
    """

    def __init__(self, bind: str, keys: ServerKeys, *, zap: bool = True) -> None:
        super().__init__(zmq.ROUTER, keys.own)
        self._clients = dict(keys.clients)
        self._denied: set[str] = set()
        self._newly_denied: list[str] = []
        self._zap = self._context.socket(zmq.REP)
        self._zap.linger = 0
        if zap:
            self._zap.bind("inproc://zeromq.zap.01")
        self._poller.register(self._zap, zmq.POLLIN)
        self._socket.router_mandatory = True
        self._socket.curve_server = True
        self._socket.zap_domain = DOMAIN
        self._socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        try:
            self._socket.bind(bind)
        except zmq.ZMQError as error:
            self.close()
            raise LinkError(f"cannot listen at {bind} ({error.strerror}): choose another address or port") from error
        self.address: str = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def receive(self) -> Arrival | None:
        """The next message, None when there is none now."""
        frames = self._receive()
        if frames is None:
            return None
        address, *rest = frames
        return Arrival(address.bytes, int(address.get("User-Id")), _contents(rest))

    def newly_denied(self) -> list[str]:
        """Unknown keys, as "address key", that were refused for the first time since this was last asked.

        Who has none of ours can make as many as he likes: after `MOST_DENIED` of them no more are told.
        """
        new, self._newly_denied = self._newly_denied, []
        return new

    def send(self, address: bytes, frames: Sequence[Frames]) -> bool:
        """Whether `frames` are on their way to connection `address`; False: it is gone or does not read."""
        return self._send([address, *frames])

    def _attend(self, ready: dict[object, int]) -> None:
        if self._zap in ready:
            self._zap.send_multipart(self._judge(self._zap.recv_multipart()))

    def _judge(self, request: list[bytes]) -> list[bytes]:
        """Answer to a ZAP 1.0 request (ZeroMQ RFC 27): 200 and the client index, or 400."""
        version, number, domain, peer, _identity, mechanism, *credentials = request
        client = None
        if (version, domain, mechanism) == (b"1.0", DOMAIN, b"CURVE") and len(credentials) == 1:
            key = z85.encode(credentials[0])
            client = self._clients.get(key)
            if client is None:
                self._note_denied(f"{peer.decode(errors='replace')} {key.decode()}")
        if client is None:
            return [b"1.0", number, b"400", b"unknown key", b"", b""]
        return [b"1.0", number, b"200", b"OK", str(client).encode(), b""]

    def _note_denied(self, who: str) -> None:
        if who not in self._denied and len(self._denied) < MOST_DENIED:
            self._denied.add(who)
            self._newly_denied.append(who)

    def _close_helpers(self) -> None:
        self._poller.unregister(self._zap)
        self._zap.close()


class ClientSocket(_Wire):
    """Connected, sooner or later, to the server at `connect`.

    Attributes:
        trouble: why there is no connection, as far as known; empty when nothing is wrong.

    Raises:
        LinkError: `connect` is not an address.
    """

    def __init__(self, connect: str, keys: ClientKeys) -> None:
        super().__init__(zmq.DEALER, keys.own)
        self.trouble = "nobody answers there"
        self._monitor = self._socket.get_monitor_socket()
        self._poller.register(self._monitor, zmq.POLLIN)
        self._socket.curve_serverkey = keys.server
        self._socket.immediate = True
        self._socket.reconnect_ivl, self._socket.reconnect_ivl_max = 50, 1000
        self._socket.connect_timeout = 1000
        try:
            self._socket.connect(connect)
        except zmq.ZMQError as error:
            self.close()
            raise LinkError(f"{connect} is no address ({error.strerror}): use tcp://HOST:PORT") from error

    def receive(self) -> Arrival | None:
        """The next message, None when there is none now."""
        frames = self._receive()
        return None if frames is None else Arrival(b"", 0, _contents(frames))

    def send(self, frames: Sequence[Frames], timeout_s: float = _SEND_TIMEOUT_MS / 1e3) -> bool:
        """Whether `frames` are on their way; False: there was no connection within `timeout_s`."""
        self._socket.sndtimeo = int(timeout_s * 1e3)
        return self._send(frames)

    def _attend(self, ready: dict[object, int]) -> None:
        while self._monitor in ready and self._monitor.poll(0):
            event = zmq.Event(recv_monitor_message(self._monitor)["event"])
            self.trouble = _TROUBLE.get(event, self.trouble)

    def _close_helpers(self) -> None:
        self._poller.unregister(self._monitor)
        self._socket.disable_monitor()
        self._monitor.close(0)


_TROUBLE = {
    zmq.Event.HANDSHAKE_SUCCEEDED: "",
    zmq.Event.HANDSHAKE_FAILED_AUTH: "our key is not authorised there",
    zmq.Event.HANDSHAKE_FAILED_PROTOCOL: "it does not speak our protocol",
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL: "it broke off the handshake: is its public key the one we have?",
    zmq.Event.CLOSED: "nobody answers there",
}


def _limit(socket: zmq.Socket[bytes]) -> None:
    """Bounds on everything that could wait or grow for ever.

    Dead connections are told by TCP: ZeroMQ's own heartbeats abort the process when one comes due on a connection that
    broke while nothing could be read from it any more (libzmq issues 4364 and 4767, in 4.3.5).
    """
    socket.linger = _LINGER_MS
    socket.sndtimeo = _SEND_TIMEOUT_MS
    socket.maxmsgsize = FRAME_BYTES
    socket.sndhwm = socket.rcvhwm = _QUEUE
    socket.handshake_ivl = 5000
    socket.tcp_keepalive, socket.tcp_keepalive_idle, socket.tcp_keepalive_intvl, socket.tcp_keepalive_cnt = 1, 1, 1, 3
    socket.setsockopt(zmq.TCP_MAXRT, 3000)
    socket.copy_threshold = _COPY_BELOW


def _contents(frames: Sequence[zmq.Frame]) -> list[bytes | memoryview]:
    """Small frames as copies, large ones as views; one frame too many is kept to be refused."""
    return [f.buffer if len(f) > _COPY_BELOW else f.bytes for f in frames[: FRAMES + 1]]
