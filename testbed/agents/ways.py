"""A guard's own way to the radio of its agent, beside the agent's, for nothing but silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from testbed.agents.ether import RemoteEther
from testbed.errors import RadioError
from testbed.link.keys import client_keys
from testbed.link.service import Client
from testbed.radio.pluto import silence_context
from testbed.radio.pluto_connect import connect, resolve


class Way(Protocol):
    """To one radio."""

    def silence(self) -> None:
        """Off the air; RadioError where that cannot be known."""
        ...


class PlutoWay:
    """A connection of its own to a Pluto: one in the network takes several, on USB it waits until the agent is dead."""

    def __init__(self, address: str) -> None:
        self._uri = resolve(address)
        self._context: Any = None if self._uri.startswith("usb:") else connect(self._uri)

    def silence(self) -> None:
        """Mute and switch off; over a new connection where the old one fails."""
        try:
            self._silence()
        except RadioError:
            self._context = None
            self._silence()

    def _silence(self) -> None:
        if self._context is None:
            self._context = connect(self._uri)
        silence_context(self._context)
        if self._uri.startswith("usb:"):
            self._context = None  # the next agent needs it


class AirWay:
    """To the simulated air, as the node whose agent it guards."""

    def __init__(self, address: str, keys: Path, index: int) -> None:
        self._ether = RemoteEther(Client(address, client_keys(keys, index, "air")))
        self._index = index

    def silence(self) -> None:
        """The unit leaves the air."""
        self._ether.silence(self._index)


def way_to(radio: str, air: str, keys: Path, index: int) -> Way | None:
    """The way to `radio`, over the simulated air at `air` if it is there; None where nothing can radiate.

    Raises:
        RadioError: the radio does not answer.
    """
    if radio.startswith("pluto:"):
        return PlutoWay(radio)
    return AirWay(air, keys, index) if air else None
