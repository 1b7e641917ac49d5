"""Whether channel state can be trusted, and how fast it ages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from testbed.ofdm.csi_value import Csi
from testbed.ofdm.estimate import relative_delay
from testbed.ofdm.grid import Grid
from testbed.ofdm.sounding import Sounded
from testbed.units import db

LEAST_SNR_DB: Final = -3.0
MOST_ERROR_DB: Final = -10.0


@dataclass(frozen=True)
class Quality:
    """A judgement on channel state.

    Attributes:
        reasons: why not to trust it, in words; empty when there is nothing against it.
        snr_db: SNR of the mean subcarrier, in dB.
        error_db: expected mean squared error of h over its mean power, in dB.
    """

    reasons: tuple[str, ...]
    snr_db: float
    error_db: float

    @property
    def trusted(self) -> bool:
        """Nothing speaks against it."""
        return not self.reasons


def assess(csi: Csi, *, least_snr_db: float = LEAST_SNR_DB, most_error_db: float = MOST_ERROR_DB) -> Quality:
    """Judge channel state by clipping, truncation, SNR and expected error."""
    snr_db = float(db(float(np.mean(csi.snr))))
    power = max(float(np.mean(np.abs(csi.h) ** 2)) - (csi.error if csi.method != "lmmse" else 0.0), 0.0)
    error_db = float(db(csi.error / power)) if power > 0 else float("inf")
    against = {
        "clipped: samples reached full scale, lower the receive gain": csi.clipped,
        "truncated: the capture ended before the frame, capture two frame lengths": csi.truncated,
        f"weak: mean SNR {snr_db:.1f} dB is below {least_snr_db:g} dB": snr_db < least_snr_db,
        f"inexact: error {error_db:.1f} dB is above {most_error_db:g} dB, average longer": error_db > most_error_db,
    }
    return Quality(tuple(reason for reason, holds in against.items() if holds), snr_db, error_db)


def change(grid: Grid, before: Csi, after: Csi) -> float:
    """How much a channel has changed from one measurement to another, as a share of its power, 0…2.

    Radios share neither clock nor phase, so a common turn and delay are no change. The expected errors of both
    estimates are subtracted; where they are all there is, the result is 0.
    """
    if len(before.h) != len(after.h):
        return 2.0
    _, moved = relative_delay(grid, before.h, after.h[None], grid.cyclic_prefix / 2)
    noise = sum(one.error / max(float(np.mean(np.abs(one.h) ** 2)), 1e-30) for one in (before, after))
    return float(np.clip(moved[0] - noise, 0.0, 2.0))


def motion(sounded: Sounded) -> float:
    """Change of the channel between first and second half of a sounding, as a share of its power, noise subtracted.

    NaN for fewer than 2 repetitions.
    """
    half = len(sounded.estimates) // 2
    if not half:
        return float("nan")
    first, second = sounded.estimates[:half].mean(axis=0), sounded.estimates[-half:].mean(axis=0)
    power = float(np.mean(np.abs(sounded.estimates.mean(axis=0)) ** 2))
    moved = float(np.mean(np.abs(second - first) ** 2)) - 2 * sounded.noise / half
    return max(moved, 0.0) / max(power, 1e-30)
