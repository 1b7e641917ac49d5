"""Small-scale fading of one directed link: the TDL profiles of 3GPP TR 38.901 and their sums of sinusoids.

A tap's gain is g_k(t) = Σ_s a_ks·exp(j(2π·f_ks·t + φ_ks)) with f_ks = f_D·cos(α_ks), the arrival angles α evenly
spaced on the circle from a random start and the phases random: Clarke's model, Rayleigh with autocorrelation
J0(2π·f_D·τ) (R. H. Clarke, BSTJ 47, 1968; M. F. Pop and N. C. Beaulieu, IEEE Trans. Commun. 49(4), 2001). The
line of sight of TDL-D and -E is one more tap of constant magnitude at 0.7·f_D (TR 38.901, 7.7.2).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from testbed.errors import SignalError
from testbed.units import from_db

Doubles = NDArray[np.float64]
Complexes = NDArray[np.complex128]

PROFILES: Final = ("TDL-A", "TDL-B", "TDL-C", "TDL-D", "TDL-E")
LINE_OF_SIGHT_DOPPLER: Final = 0.7


@dataclass(frozen=True, eq=False)
class Profile:
    """A power-delay profile.

    Attributes:
        name: e.g. "TDL-A".
        delays: (K,) delays in units of the root-mean-square delay spread.
        powers_db: (K,) mean tap powers in dB, as tabulated (not normalised).
        line_of_sight: the first tap does not fade.
    """

    name: str
    delays: Doubles
    powers_db: Doubles
    line_of_sight: bool

    @property
    def powers(self) -> Doubles:
        """(K,) mean tap powers that add up to 1."""
        linear = from_db(self.powers_db)
        return np.asarray(linear / linear.sum(), dtype=np.float64)


@cache
def load_profile(name: str) -> Profile:
    """The tabulated profile; SignalError for a name that is not one of PROFILES."""
    if name not in PROFILES:
        raise SignalError(f"profile {name!r} is unknown; choose one of {', '.join(PROFILES)}")
    path = resources.files("testbed.radio").joinpath("data", "tdl-38.901", f"{name}.json")
    table = json.loads(path.read_text(encoding="ascii"))
    return Profile(name, np.array(table["delays"]), np.array(table["powers"]), bool(table["los"]))


FLAT: Final = Profile("flat", np.zeros(1), np.zeros(1), line_of_sight=True)
"""One tap that does not fade: a cable."""


@dataclass(frozen=True, eq=False)
class Fading:
    """The fading of one directed link, drawn once; a function of time alone from then on.

    Attributes:
        delays_s: (K,) tap delays in seconds.
        amplitudes: (K, S) complex amplitude of each sinusoid at time 0; mean total power 1.
        frequencies_hz: (K, S) Doppler shift of each sinusoid.
    """

    delays_s: Doubles
    amplitudes: Complexes
    frequencies_hz: Doubles


def draw_fading(
    profile: Profile,
    delay_spread_s: float,
    doppler_hz: float,
    rng: np.random.Generator,
    *,
    sinusoids: int = 32,
) -> Fading:
    """Draw one link's fading; E|Σ taps|² = 1 over the draws.

    Args:
        profile: the power-delay profile.
        delay_spread_s: root-mean-square delay spread that scales the profile, 0 or more.
        doppler_hz: maximum Doppler shift, 0 or more; at 0 the link stands still.
        rng: source of angles and phases.
        sinusoids: per tap.

    Raises:
        SignalError: a negative or non-finite delay spread or Doppler, fewer than 1 sinusoid.
    """
    _at_least("delay_spread_s", delay_spread_s, 0.0)
    _at_least("doppler_hz", doppler_hz, 0.0)
    _at_least("sinusoids", sinusoids, 1)
    taps = len(profile.delays)
    start = rng.uniform(0.0, 2 * np.pi, (taps, 1))
    angle = (start + 2 * np.pi * np.arange(sinusoids)) / sinusoids
    phase = rng.uniform(0.0, 2 * np.pi, (taps, sinusoids))
    amplitude = np.sqrt(profile.powers / sinusoids)[:, None] * np.exp(1j * phase)
    frequency = doppler_hz * np.cos(angle)
    if profile.line_of_sight:
        amplitude[0] *= np.where(np.arange(sinusoids) == 0, np.sqrt(sinusoids), 0.0)
        frequency[0] = LINE_OF_SIGHT_DOPPLER * doppler_hz
    return Fading(profile.delays * delay_spread_s, amplitude, frequency)


def mix_fading(own: Fading, common: Fading, share: float) -> Fading:
    """√(1 − share)·own + √share·common, of one profile: mean power stays 1; SignalError for a share beyond 0…1."""
    _at_least("share", share, 0.0)
    _at_least("1 − share", 1.0 - share, 0.0)
    parts = np.sqrt(1.0 - share) * own.amplitudes, np.sqrt(share) * common.amplitudes
    frequencies = np.concatenate([own.frequencies_hz, common.frequencies_hz], axis=1)
    return Fading(own.delays_s, np.concatenate(parts, axis=1), frequencies)


def tap_gains(fading: Fading, time_s: ArrayLike) -> Complexes:
    """Complex tap gains (t, K) at times time_s (t,) in seconds."""
    time = np.asarray(time_s, dtype=float)[:, None]
    gains = np.zeros((len(time), len(fading.delays_s)), complex)
    for s in range(fading.amplitudes.shape[1]):
        gains += fading.amplitudes[:, s] * np.exp(2j * np.pi * (fading.frequencies_hz[:, s] * time))
    return gains


def frequency_response(fading: Fading, time_s: float, frequency_hz: ArrayLike) -> Complexes:
    """H (M,) at one time and baseband frequencies frequency_hz (M,): Σ_k g_k(t)·exp(−j2πfτ_k)."""
    frequency = np.asarray(frequency_hz, dtype=float)
    steering = np.exp(-2j * np.pi * frequency[:, None] * fading.delays_s)
    return np.asarray(steering @ tap_gains(fading, [time_s])[0])


def _at_least(field: str, value: float, least: float) -> None:
    if not (np.isfinite(value) and value >= least):
        raise SignalError(f"{field} = {value} must be a finite number of {least:g} or more")
