"""The transmit guard: whether a radio may transmit at all, decided before any radio is touched.

It keeps an experiment from leaving its band, its power and its time by mistake. What the law allows stays the
question of the person who signs `licence` or says `cabled`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from testbed.errors import TransmitRefused
from testbed.radio.base import RadioSettings

LONGEST_AIRTIME_S = 60.0
HIGHEST_GAIN_DB = -10.0


@dataclass(frozen=True)
class TransmitPermit:
    """What a campaign allows its radios to transmit; the default allows nothing.

    Attributes:
        bands_hz: (lowest, highest) edges; a signal must fit into one of them with its whole occupied bandwidth.
        cabled: antennas are replaced by cables and attenuators.
        licence: the words under which the signal may be radiated; recorded with the run.
        occupied_hz: bandwidth of the signal around the centre; None counts the whole sample rate.
        highest_gain_db: transmit gain that must not be exceeded, 0 at full power.
        longest_airtime_s: a transmission ends by itself after this time.
        antenna_gain_dbi, full_scale_dbm, highest_eirp_dbm: radiated power at gain 0 is the sum of the first two;
            None as highest leaves it to highest_gain_db.
    """

    bands_hz: tuple[tuple[float, float], ...] = ()
    cabled: bool = False
    licence: str = ""
    occupied_hz: float | None = None
    highest_gain_db: float = HIGHEST_GAIN_DB
    longest_airtime_s: float = LONGEST_AIRTIME_S
    antenna_gain_dbi: float = 0.0
    full_scale_dbm: float = 7.0
    highest_eirp_dbm: float | None = None


NOTHING = TransmitPermit()


def check_transmit(permit: TransmitPermit, settings: RadioSettings) -> None:
    """Return when a radio tuned like this may transmit.

    Raises:
        TransmitRefused: naming what stands against it and what would mend it.
    """
    if not permit.bands_hz:
        raise TransmitRefused("no transmit band is named: name bands_hz, and cabled = true or a licence text")
    if not (permit.cabled or permit.licence.strip()):
        raise TransmitRefused("cabled is false and licence is empty: say cabled = true, or give the licence text")
    _check_band(permit, settings)
    _check_power(permit, settings)
    if not 0 < permit.longest_airtime_s < math.inf:
        raise TransmitRefused(f"longest_airtime_s = {permit.longest_airtime_s} must be positive and finite")


def _check_band(permit: TransmitPermit, settings: RadioSettings) -> None:
    width = settings.sample_rate_hz if permit.occupied_hz is None else permit.occupied_hz
    if not 0 < width <= settings.sample_rate_hz:
        raise TransmitRefused(f"occupied_hz = {width} must lie in 0…sample_rate_hz = {settings.sample_rate_hz}")
    low, high = settings.centre_hz - width / 2, settings.centre_hz + width / 2
    if not any(bottom <= low and high <= top for bottom, top in permit.bands_hz):
        bands = ", ".join(f"{bottom / 1e6:g}…{top / 1e6:g} MHz" for bottom, top in permit.bands_hz)
        raise TransmitRefused(
            f"{low / 1e6:.6f}…{high / 1e6:.6f} MHz lies outside the allowed bands ({bands}): move centre_hz, or "
            "state occupied_hz if the signal is narrower than the sample rate"
        )


def _check_power(permit: TransmitPermit, settings: RadioSettings) -> None:
    if not math.isfinite(settings.transmit_gain_db):
        raise TransmitRefused(f"transmit_gain_db = {settings.transmit_gain_db} must be a finite number")
    if not settings.transmit_gain_db <= permit.highest_gain_db:
        raise TransmitRefused(
            f"transmit_gain_db = {settings.transmit_gain_db} exceeds highest_gain_db = {permit.highest_gain_db}"
        )
    eirp = permit.full_scale_dbm + settings.transmit_gain_db + permit.antenna_gain_dbi
    if permit.highest_eirp_dbm is not None and not eirp <= permit.highest_eirp_dbm:
        raise TransmitRefused(
            f"{eirp:.1f} dBm EIRP exceeds highest_eirp_dbm = {permit.highest_eirp_dbm}: lower transmit_gain_db by "
            f"{eirp - permit.highest_eirp_dbm:.2f} dB"
        )
