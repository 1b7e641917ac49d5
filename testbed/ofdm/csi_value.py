"""What is known of one radio channel: the value that estimation yields and every later stage reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from testbed.ofdm.frame_format import Header


@dataclass(frozen=True, eq=False)
class Csi:
    """Channel state of a directed link on the grid's U used subcarriers.

    Attributes:
        header: of the frame that was measured: source, kind, number.
        h: (U,) complex64 channel including the transmit amplitude: |h|² is the received power of one subcarrier,
            1 for a complex tone that reaches full scale. Delays count from `timing_samples`.
        noise: (U,) float32 noise variance on a subcarrier, same unit. Noise is taken as white over the band.
        snr: (U,) float32 linear SNR of one symbol on one subcarrier, without bias, 0 or more.
        error: mean squared error expected of h on a subcarrier, same unit.
        cfo_hz: the transmitter's carrier minus the receiver's.
        timing_samples: sample of the capture where the frame begins on its first path.
        phase_samples: sample of the capture at which the phase of h holds; the offset turns it by
            2π·cfo_hz·(n − phase_samples)/sample_rate. Between captures it is random: radios share no clock.
        sfo_ppm: how much faster the transmitter's sample clock runs; NaN when the frame was too short to tell.
        symbols: known symbols that were averaged.
        method: estimator of h: "ls", "dft" or "lmmse".
        clipped: samples of the frame that reached full scale on an axis: amplitudes are not to be trusted.
        truncated: the capture ended before the frame.
    """

    header: Header
    h: NDArray[np.complex64]
    noise: NDArray[np.float32]
    snr: NDArray[np.float32]
    error: float
    cfo_hz: float
    timing_samples: float
    phase_samples: float
    sfo_ppm: float
    symbols: int
    method: str
    clipped: bool
    truncated: bool
