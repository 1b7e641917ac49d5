"""`replay:`, a radio that hears what another one heard before.

It transmits nothing: what its transmissions did is in the recording already. It must be used as the recorded one
was, tuned alike and asked for the same captures; for anything else there is an error instead of samples.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from testbed.errors import RadioError
from testbed.radio.base import Capture, RadioSettings, Samples, checked_samples
from testbed.radio.tape import Occasion, Tape


class ReplayRadio:
    """The radio that `tape` was recorded at; see `Radio` for the verbs."""

    def __init__(self, address: str, tape: Tape) -> None:
        self._address = address
        self._tape = tape
        self._settings: RadioSettings | None = None
        self._occasion: Occasion | None = None

    @property
    def address(self) -> str:
        """As it was opened."""
        return self._address

    def about(self, occasion: Occasion) -> None:
        """What the captures that follow are for; they are found by that, and without it in their order."""
        self._occasion = occasion

    def configure(self, settings: RadioSettings) -> None:
        """Tune as the recorded radio was.

        Raises:
            RadioError: nothing was recorded at this rate and centre.
        """
        recorded = self._tape.tunings()
        wanted = settings.sample_rate_hz, settings.centre_hz
        if recorded and wanted not in recorded:
            raise RadioError(
                f"{self._address} was recorded at {_words(*recorded)}, not at {_words(wanted)}: "
                "run the campaign that it was recorded with"
            )
        self._settings = settings

    def transmit(self, samples: Samples) -> None:
        """Nothing goes on the air; impossible samples are refused as by any radio."""
        checked_samples(samples)
        self._tuned()

    def silence(self) -> None:
        """It is silent."""

    def receive(self, count: int) -> Capture:
        """The recorded samples of the occasion.

        Raises:
            RadioError: count below 1, never tuned, or tuned otherwise than the recorded radio was then.
            TestbedError: no such capture was recorded.
        """
        if count < 1:
            raise RadioError(f"count = {count} must be at least 1")
        settings = self._tuned()
        capture = self._tape.hear(self._occasion, count)
        found, wanted = (capture.sample_rate_hz, capture.centre_hz), (settings.sample_rate_hz, settings.centre_hz)
        if found != wanted:
            raise RadioError(f"{self._address}: recorded at {_words(found)}, now tuned to {_words(wanted)}")
        return capture

    def __enter__(self) -> Self:
        """The radio itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """There is nothing to let go."""

    def _tuned(self) -> RadioSettings:
        if self._settings is None:
            raise RadioError(f"{self._address} was never tuned: call configure first")
        return self._settings


def _words(*tunings: tuple[float, float]) -> str:
    return " or ".join(f"{rate / 1e6:g} MS/s around {centre / 1e6:g} MHz" for rate, centre in sorted(tunings))
