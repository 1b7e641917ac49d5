"""A radio whose captures and transmissions are recorded on the way."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from testbed.radio.base import Capture, Radio, RadioSettings, Samples
from testbed.radio.tape import Informed, Occasion, Recorder


class RecordingRadio:
    """Passes everything on to `radio`, and what goes over the air to `recorder` as well.

    A transmission that cannot be recorded is silenced, and a capture that cannot be recorded is not delivered:
    whoever asked for a recording gets a whole one, or an error.
    """

    def __init__(self, radio: Radio, recorder: Recorder) -> None:
        self._radio = radio
        self._recorder = recorder
        self._settings: RadioSettings | None = None
        self._occasion: Occasion | None = None

    @property
    def address(self) -> str:
        """Of the radio behind."""
        return self._radio.address

    def about(self, occasion: Occasion) -> None:
        """What the transmissions and captures that follow are for."""
        self._occasion = occasion
        if isinstance(self._radio, Informed):
            self._radio.about(occasion)

    def configure(self, settings: RadioSettings) -> None:
        """Tune."""
        self._radio.configure(settings)
        self._settings = settings

    def transmit(self, samples: Samples) -> None:
        """Repeat `samples`, and record one period."""
        self._radio.transmit(samples)
        if self._settings is None:  # it radiates untuned: a radio's own matter
            return
        try:
            self._recorder.sent(self._occasion, samples, self._settings)
        except BaseException:
            self._radio.silence()
            raise

    def silence(self) -> None:
        """Leave the air."""
        self._radio.silence()

    def receive(self, count: int) -> Capture:
        """The next `count` samples, recorded."""
        capture = self._radio.receive(count)
        self._recorder.heard(self._occasion, capture)
        return capture

    def __enter__(self) -> Self:
        """The radio itself."""
        self._radio.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Silence the radio and let it go."""
        self._radio.__exit__(kind, error, trace)
