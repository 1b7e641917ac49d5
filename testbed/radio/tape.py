"""What radios heard and sent, kept and heard again: what a tape is to a radio, whatever it is stored in.

Who uses a radio says before each transmission and capture what it is for; a tape finds it again by that. A radio
without a tape is told nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from testbed.radio.base import Capture, RadioSettings, Samples


@dataclass(frozen=True)
class Occasion:
    """What a transmission or a capture is for.

    Attributes:
        kind: "sounding", "forward" or "return".
        source: node that transmits.
        frame: frame number, once in a run.
        layer: of the tokens of the node that was listening or sending.
        round: batch × layers + layer, which is the number of the round in a run without faults.
        attempt: 0 for the first transmission of a slot's blocks.
        slot: sum of all that the slot says (who is served where, by which scheme); empty for soundings.
    """

    kind: str
    source: int
    frame: int
    round: int
    layer: int
    attempt: int = 0
    slot: str = ""


class Recorder(Protocol):
    """Takes down what one radio hears and sends."""

    def heard(self, occasion: Occasion | None, capture: Capture) -> None:
        """A capture, and what it was for, where that was said."""
        ...

    def sent(self, occasion: Occasion | None, samples: Samples, settings: RadioSettings) -> None:
        """One period of a transmission."""
        ...


class Tape(Protocol):
    """What one radio heard."""

    def tunings(self) -> frozenset[tuple[float, float]]:
        """(sample rate, centre) in Hz of all that was heard."""
        ...

    def hear(self, occasion: Occasion | None, count: int) -> Capture:
        """What was heard on an occasion, at each call the next of it.

        Raises:
            TestbedError: nothing of the kind was recorded, or not so many samples; says why.
        """
        ...


@runtime_checkable
class Informed(Protocol):
    """A radio that wants to know what it is used for."""

    def about(self, occasion: Occasion) -> None:
        """What the transmissions and captures that follow are for."""
        ...


def nobody(occasion: Occasion) -> None:
    """Told to nobody."""
