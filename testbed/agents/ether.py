"""The way to the simulated air of another process, and what is said on it."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from testbed.errors import LinkError, RadioError
from testbed.link.codec import Frame, pack, unpack
from testbed.link.messages import Count
from testbed.link.service import Client
from testbed.radio.base import Capture, RadioSettings, Samples

TIMEOUT_S = 30.0
SILENCE_S = 2.0


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
