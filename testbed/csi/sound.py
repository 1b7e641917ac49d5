"""A capture to channel state in one call."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from testbed.csi.estimate import Csi, Method, estimate
from testbed.ofdm.grid import Grid
from testbed.ofdm.sounding import receive_sounding


def sound(
    grid: Grid,
    samples: NDArray[np.complex64],
    *,
    number: int | None = None,
    method: Method = "lmmse",
    taps: int | None = None,
) -> Csi | None:
    """Channel state from the first sounding frame of a capture; None when there is none to be read.

    Args:
        grid: what the transmitter used.
        samples: (n,) complex64, full scale 1.0; two frame lengths hold one complete frame.
        number: skip frames with another number.
        method: "ls", "dft" or "lmmse", see `testbed.csi.estimate.estimate`.
        taps: longest channel in samples; the cyclic prefix unless given.

    Raises:
        FrameError: samples are not a one-dimensional complex array, or empty, NaN, infinite or beyond 1e8.
        SignalError: unknown method, taps out of range.
    """
    sounded = receive_sounding(grid, samples, number=number)
    return None if sounded is None else estimate(grid, sounded, method=method, taps=taps)
