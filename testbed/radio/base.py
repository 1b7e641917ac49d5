"""The door to the air: what every radio can do, whatever is behind it.

Samples are complex64 with full scale 1.0 (real and imaginary part each within ±1). A transmission repeats
until it is silenced, because radios share no clock and a receiver has to find its frame in any capture that
is long enough. Leaving the `with` block silences the radio on every way out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from testbed.errors import RadioError

Samples = NDArray[np.complex64]


@dataclass(frozen=True)
class RadioSettings:
    """How a radio is tuned: sample rate and centre frequency in Hz, gains in dB.

    `transmit_gain_db` is 0 at full power and negative below it, as on the AD936x.
    """

    sample_rate_hz: float
    centre_hz: float
    transmit_gain_db: float = -10.0
    receive_gain_db: float = 30.0

    def __post_init__(self) -> None:
        for name in ("sample_rate_hz", "centre_hz", "receive_gain_db"):
            if not math.isfinite(getattr(self, name)):
                raise RadioError(f"{name} = {getattr(self, name)} must be a finite number")
        if self.sample_rate_hz <= 0:
            raise RadioError(f"sample_rate_hz = {self.sample_rate_hz} must be positive")
        if self.centre_hz <= 0:
            raise RadioError(f"centre_hz = {self.centre_hz} must be positive")
        if self.transmit_gain_db > 0:
            raise RadioError(f"transmit_gain_db = {self.transmit_gain_db} must not exceed 0 (full power)")


@dataclass(frozen=True, eq=False)
class Capture:
    """Received samples and the circumstances they were received in.

    Attributes:
        samples: (count,) complex64, full scale 1.0.
        sample_rate_hz, centre_hz: settings in force.
        gain_db: receive gain in force.
        time_s: start of the capture on the radio's own clock.
        overflow: samples were lost inside the capture.
    """

    samples: Samples
    sample_rate_hz: float
    centre_hz: float
    gain_db: float
    time_s: float
    overflow: bool = False


class Radio(Protocol):
    """Four verbs and a `with` block; a new radio is silent."""

    @property
    def address(self) -> str:
        """The address this radio was opened with; it tells where data came from."""
        ...

    def configure(self, settings: RadioSettings) -> None:
        """Tune. A transmission on the air ends first."""
        ...

    def transmit(self, samples: Samples) -> None:
        """Repeat `samples` (n,) until told otherwise; replaces what was on the air."""
        ...

    def silence(self) -> None:
        """Take the carrier off the air. Never fails because nothing is on it."""
        ...

    def receive(self, count: int) -> Capture:
        """The next `count` samples, none of them from before this call."""
        ...

    def __enter__(self) -> Self:
        """The radio itself."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Silence the radio and let it go."""
        ...


def checked_samples(samples: Samples) -> Samples:
    """`samples` as a contiguous (n,) complex64 array within full scale.

    Raises:
        RadioError: empty, not one-dimensional, not finite, or beyond full scale.
    """
    wave = np.ascontiguousarray(samples, dtype=np.complex64)
    if wave.ndim != 1 or wave.size == 0:
        raise RadioError(f"samples of shape {wave.shape} cannot be transmitted: expected (n,) with n ≥ 1")
    parts = wave.view(np.float32)
    peak = float(np.max(np.abs(parts)))
    if not np.isfinite(peak):
        raise RadioError("samples hold NaN or infinity")
    if peak > 1.0:
        raise RadioError(f"samples peak at {peak:.3f}, beyond full scale 1.0: scale them down")
    return wave
