"""The inner loops over all numbers of a file, compiled: power of a link, scaled numbers onto the common grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from testbed.compiled import kernel


@kernel()
def link_power(h: NDArray[np.complex64], fit: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(frames, links) mean of |h|² over fit tones of (frames, links, tones)."""
    out = np.zeros(h.shape[:2])
    count = max(1, fit.sum())
    for f in range(h.shape[0]):
        for k in range(h.shape[1]):
            total = 0.0
            for t in range(h.shape[2]):
                if fit[t]:
                    value = h[f, k, t]
                    total += value.real * value.real + value.imag * value.imag
            out[f, k] = total / count
    return out


@kernel()
def spread(
    h: NDArray[np.complex64],
    factor: NDArray[np.float32],
    packet: NDArray[np.int64],
    link: NDArray[np.int64],
    tone: NDArray[np.int64],
    out: NDArray[np.complex64],
) -> None:
    """out[packet[f], link[k], tone[t]] = factor[f, k] · h[f, k, t]; tones with a negative place are left out."""
    for f in range(h.shape[0]):
        for k in range(h.shape[1]):
            row = out[packet[f], link[k]]
            scale = factor[f, k]
            for t in range(h.shape[2]):
                if tone[t] >= 0:
                    row[tone[t]] = h[f, k, t] * scale
