"""Channel state from a received sounding, by the estimator of choice.

R repetitions are averaged coherently, so the least-squares error is σ²/R. `dft` keeps only what a channel of `taps`
samples can contain (error σ²/R · taps/U), `lmmse` weighs it by the SNR as well. The SNR comes from least squares
with its own noise subtracted, |ĥ|² − error, whichever estimator is chosen: estimates that shrink towards
zero would bias it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from testbed.errors import SignalError
from testbed.ofdm.csi_value import Csi
from testbed.ofdm.estimate import dft_smooth, leverage, lmmse, ramp, snr_per_subcarrier
from testbed.ofdm.grid import Grid
from testbed.ofdm.sounding import Sounded

__all__ = ["Csi", "Method", "estimate"]

Method = Literal["ls", "dft", "lmmse"]
Channel = NDArray[np.complex64]


def estimate(grid: Grid, sounded: Sounded, *, method: Method = "lmmse", taps: int | None = None) -> Csi:
    """Channel state of a sounding.

    Args:
        grid: of the sounding.
        sounded: what was received.
        method: "ls", "dft" or "lmmse".
        taps: longest channel in samples, counted from `sounded.lead` samples before the first path; the cyclic
            prefix unless given. Too few cut off late paths and bias SNR and channel.

    Raises:
        SignalError: unknown method, taps outside 1…N.
    """
    taps = grid.cyclic_prefix if taps is None else taps
    ls = sounded.estimates.mean(axis=0)
    error = sounded.noise / len(sounded.estimates)
    h, mse = _apply(grid, ls, error, method, taps)
    snr = snr_per_subcarrier(grid, ls, error, sounded.noise, sounded.degrees, taps)
    return Csi(
        header=sounded.header,
        h=(h * ramp(grid, -sounded.lead)).astype(np.complex64),
        noise=np.full(len(ls), sounded.noise, np.float32),
        snr=snr.astype(np.float32),
        error=mse,
        cfo_hz=sounded.cfo * grid.spacing_hz,
        timing_samples=float(sounded.start),
        phase_samples=sounded.middle,
        sfo_ppm=1e6 * sounded.sfo,
        symbols=len(sounded.estimates),
        method=method,
        clipped=sounded.clipped,
        truncated=sounded.truncated,
    )


def _apply(grid: Grid, ls: Channel, error: float, method: Method, taps: int) -> tuple[Channel, float]:
    if method == "ls":
        return ls, error
    if method == "dft":
        return dft_smooth(grid, ls, taps), error * float(np.mean(leverage(grid, taps)))
    if method == "lmmse":
        return lmmse(grid, ls, error, taps)
    raise SignalError(f"method={method!r} is unknown; choose 'ls', 'dft' or 'lmmse'")
