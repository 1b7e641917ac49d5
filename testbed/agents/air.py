"""The simulated air as a process of its own, and the way to it that agents use."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from testbed.agents.log import logger
from testbed.agents.warm import warm_air
from testbed.errors import LinkError, RadioError
from testbed.link.codec import Frame, pack, unpack
from testbed.link.keys import server_keys
from testbed.link.messages import Count
from testbed.link.service import Client, Frames, Service
from testbed.radio.air import Air, AirSettings
from testbed.radio.base import Capture, RadioSettings, Samples

TIMEOUT_S = 30.0
SILENCE_S = 2.0
ORPHAN_S = 3.0
"""How long the air outlives a controller that was killed, so that agents whose lease runs out find it."""
LARGEST_CAPTURE = 1 << 23


class Configure(msgspec.Struct, frozen=True, tag=True):
    """Tune a unit."""

    unit: Count
    settings: RadioSettings


class Transmit(msgspec.Struct, frozen=True, tag=True):
    """Repeat samples."""

    unit: Count
    samples: NDArray[np.complex64]


class Silence(msgspec.Struct, frozen=True, tag=True):
    """Leave the air."""

    unit: Count


class Receive(msgspec.Struct, frozen=True, tag=True):
    """Capture samples."""

    unit: Count
    count: Count


class Done(msgspec.Struct, frozen=True, tag=True):
    """Nothing to tell."""


Request = Configure | Transmit | Silence | Receive


def answer(air: Air, client: int, frames: Frames) -> list[bytes | memoryview]:
    """What the air says to node `client`, which may speak for its own unit alone.

    Raises:
        RadioError: another node's unit, or a request that the air refuses.
    """
    request = unpack(frames, Request)
    if request.unit != client:
        raise RadioError(f"node {client} may not use unit {request.unit} of the air")
    match request:
        case Configure(unit, settings):
            air.configure(unit, settings)
        case Transmit(unit, samples):
            air.transmit(unit, samples)
        case Silence(unit):
            air.silence(unit)
        case Receive(unit, count):
            if count > LARGEST_CAPTURE:
                raise RadioError(f"count = {count} exceeds {LARGEST_CAPTURE} samples a capture")
            return pack(air.receive(unit, count))
    return pack(Done())


def run_air(settings: str, keys: Path, announce: Callable[[str], None]) -> None:
    """Serve the air until standard input says so, or has ended because the parent is gone.

    Args:
        settings: `AirSettings` as JSON.
        keys: folder of keys.
        announce: told the address once it listens.
    """
    warm_air()
    air = Air(msgspec.json.decode(settings, type=AirSettings))
    with Service("tcp://127.0.0.1:*", server_keys(keys, air.settings.units, "air")) as service:
        threading.Thread(target=_stop_with_parent, args=(service,), daemon=True).start()
        announce(service.address)
        log = logger(units=air.settings.units)
        log.info("listening", address=service.address)
        service.serve(lambda client, frames: answer(air, client, frames))
        log.info("ended", air_time_s=air.clock_s, on_air=air.on_air())


def _stop_with_parent(service: Service) -> None:
    if not sys.stdin.readline():
        time.sleep(ORPHAN_S)
    service.stop()


class RemoteEther:
    """The air of another process; implements `testbed.radio.sim.Ether`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def configure(self, unit: int, settings: RadioSettings) -> None:
        """Tune `unit`."""
        self._ask(Configure(unit, settings))

    def transmit(self, unit: int, samples: Samples) -> None:
        """`unit` starts to repeat `samples`."""
        self._ask(Transmit(unit, samples))

    def silence(self, unit: int) -> None:
        """`unit` leaves the air."""
        self._ask(Silence(unit), SILENCE_S)

    def receive(self, unit: int, count: int) -> Capture:
        """What `unit` hears now."""
        return unpack(self._request(Receive(unit, count), TIMEOUT_S), Capture)

    def _ask(self, request: Request, timeout_s: float = TIMEOUT_S) -> None:
        unpack(self._request(request, timeout_s), Done)

    def _request(self, request: Request, timeout_s: float) -> list[Frame]:
        try:
            return list(self._client.request(pack(request), timeout_s))
        except LinkError as error:
            raise RadioError(f"simulated air: {error}") from error
