"""A radio that can be made silent for good, from another thread than the one that uses it."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from testbed.errors import TransmitRefused
from testbed.radio.base import Capture, Radio, RadioSettings, Samples


class Latched:
    """Passes everything on to `radio` until `latch`; after that nothing is transmitted any more.

    A lease that runs out while a request is under way must not let that request transmit afterwards.
    """

    def __init__(self, radio: Radio) -> None:
        self._radio = radio
        self._closed = threading.Event()
        self._on_air = threading.Lock()

    @property
    def address(self) -> str:
        """Of the radio behind."""
        return self._radio.address

    def latch(self) -> None:
        """Silent from now on."""
        self._closed.set()
        with self._on_air:
            self._radio.silence()

    def configure(self, settings: RadioSettings) -> None:
        """Tune."""
        self._radio.configure(settings)

    def transmit(self, samples: Samples) -> None:
        """Repeat `samples`; TransmitRefused once latched."""
        with self._on_air:
            if self._closed.is_set():
                raise TransmitRefused("this node's membership has ended: it joins again before it transmits")
            self._radio.transmit(samples)

    def silence(self) -> None:
        """Leave the air."""
        self._radio.silence()

    def receive(self, count: int) -> Capture:
        """The next `count` samples."""
        return self._radio.receive(count)

    def __enter__(self) -> Self:
        """The radio itself."""
        self._radio.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Silence the radio and let it go."""
        self._closed.set()
        self._radio.__exit__(kind, error, trace)
