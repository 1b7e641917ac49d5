"""From a receiver's numbers to milliwatt, by the RSSI of each receive antenna."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from testbed.record.foreign.dialect import Headers
from testbed.record.foreign.grid import Layout
from testbed.record.foreign.spread import link_power


def rssi_scale(h: NDArray[np.complex64], headers: Headers, layout: Layout) -> NDArray[np.float32]:
    """Factors (frames, links) after which |h|² summed over transmit streams has the mean RSSI, in mW, over fit tones.

    Every receive antenna has a gain control of its own, so each is scaled by its own RSSI. NaN where the RSSI is
    unknown, infinite where all numbers are 0.
    """
    fit = ~(layout.null | layout.unfit)
    power = link_power(h, fit)
    receivers = np.array([rx for rx, _ in layout.links])
    factor = np.empty(h.shape[:2], np.float32)
    for rx in np.unique(receivers):
        at = receivers == rx
        milliwatt = 10.0 ** (headers.rssi_dbm[:, rx].astype(float) / 10)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor[:, at] = np.sqrt(milliwatt / power[:, at].sum(axis=1))[:, None]
    return factor


def noise_milliwatt(headers: Headers) -> NDArray[np.float32]:
    """(frames,) noise variance of a tone in the units of `rssi_scale`."""
    return np.asarray(10.0 ** (headers.noise_dbm / 10), np.float32)


def unknown_noise(headers: Headers) -> NDArray[np.float32]:
    """(frames,) NaN."""
    return np.full(headers.ticks.size, np.nan, np.float32)
