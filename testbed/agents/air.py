"""The simulated air as a process of its own."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from testbed.agents.ether import Configure, Done, Receive, Request, Silence, Transmit
from testbed.agents.log import log_stranger, logger
from testbed.agents.warm import warm_air
from testbed.errors import RadioError
from testbed.link.codec import pack, unpack
from testbed.link.keys import server_keys
from testbed.link.service import Frames, Service
from testbed.radio.air import Air, AirSettings

ORPHAN_S = 3.0
"""How long the air outlives a controller that was killed, so that agents whose lease runs out find it."""
LARGEST_CAPTURE = 1 << 23


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
    log = logger(units=air.settings.units)
    with Service("tcp://127.0.0.1:*", server_keys(keys, air.settings.units, "air"), log_stranger(log)) as service:
        threading.Thread(target=_stop_with_parent, args=(service,), daemon=True).start()
        announce(service.address)
        log.info("listening", address=service.address)
        service.serve(lambda client, frames: answer(air, client, frames))
        log.info("ended", air_time_s=air.clock_s, on_air=air.on_air())


def _stop_with_parent(service: Service) -> None:
    if not sys.stdin.readline():
        time.sleep(ORPHAN_S)
    service.stop()
