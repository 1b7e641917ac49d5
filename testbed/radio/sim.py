"""`sim:`, a radio on the simulated air.

The radio holds no physics: it hands samples to an `Air` and asks it for captures. The air may live in this
process or in another one that several node agents share.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from testbed.errors import RadioError
from testbed.radio.base import Capture, RadioSettings, Samples, checked_samples


class Ether(Protocol):
    """What a simulated radio needs of the air it shares with others."""

    def configure(self, unit: int, settings: RadioSettings) -> None:
        """Tune `unit`."""
        ...

    def transmit(self, unit: int, samples: Samples) -> None:
        """`unit` starts to repeat `samples`."""
        ...

    def silence(self, unit: int) -> None:
        """`unit` leaves the air."""
        ...

    def receive(self, unit: int, count: int) -> Capture:
        """What `unit` hears now."""
        ...


class SimRadio:
    """Unit number `unit` of a simulated air; see `Radio` for the verbs."""

    def __init__(self, ether: Ether, unit: int) -> None:
        self._ether = ether
        self._unit = unit

    @property
    def address(self) -> str:
        """`sim:` and the unit number."""
        return f"sim:{self._unit}"

    def configure(self, settings: RadioSettings) -> None:
        """Tune; ends a transmission."""
        self._ether.silence(self._unit)
        self._ether.configure(self._unit, settings)

    def transmit(self, samples: Samples) -> None:
        """Repeat `samples` until silenced."""
        self._ether.transmit(self._unit, checked_samples(samples))

    def silence(self) -> None:
        """Leave the air."""
        self._ether.silence(self._unit)

    def receive(self, count: int) -> Capture:
        """The next `count` samples."""
        if count < 1:
            raise RadioError(f"count = {count} must be at least 1")
        return self._ether.receive(self._unit, count)

    def __enter__(self) -> Self:
        """The radio itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the air."""
        self.silence()
