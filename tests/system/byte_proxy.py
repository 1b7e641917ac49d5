"""A TCP relay that does to bytes what wires, routers and slow links do; it holds no key and understands nothing."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

_CHUNK = 4096


@dataclass(frozen=True)
class Wire:
    """What happens to the bytes of each direction.

    Attributes:
        flip: probability a chunk of up to 4096 B that one of its bits is flipped.
        cut: probability a chunk that half of it is passed on and the connection closed.
        bandwidth_bps: bit/s a connection and direction, 0 = no limit.
    """

    flip: float = 0.0
    cut: float = 0.0
    bandwidth_bps: float = 0.0


class ByteProxy:
    """Relays TCP connections to `port` of this machine; to be used in a `with`.

    Attributes:
        address: where to connect, as ZeroMQ writes it.
        wire: what happens now; may be replaced at any time.
        flipped: chunks with a flipped bit so far.
        cuts: connections cut so far.
    """

    def __init__(self, port: int, wire: Wire, rng: np.random.Generator) -> None:
        self.wire, self.flipped, self.cuts = wire, 0, 0
        self._port, self._rng = port, rng
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="byte proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._relay(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.address = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._over.wait()
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Both directions of one connection, until either ends."""
        writers = [writer]
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
            writers.append(far_writer)
            ways = [asyncio.create_task(self._pass(*way)) for way in ((reader, far_writer), (far_reader, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass
        finally:
            for each in writers:
                each.close()
                with contextlib.suppress(OSError):
                    await each.wait_closed()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(_CHUNK):
            wire = self.wire
            if self._rng.random() < wire.cut:
                self.cuts += 1
                writer.write(chunk[: len(chunk) // 2])
                return
            if self._rng.random() < wire.flip:
                self.flipped += 1
                chunk = _flipped(chunk, self._rng)
            writer.write(chunk)
            await writer.drain()
            if wire.bandwidth_bps:
                await asyncio.sleep(8 * len(chunk) / wire.bandwidth_bps)


def _flipped(chunk: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(chunk)
    changed[int(rng.integers(len(chunk)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)
