"""Drawn channels without waveforms: the simulated air's fading, what a sounding would make of it, and its nodes.

The links are those of `testbed.radio.air` for the same settings and seed, and the clock moves as there: two frame
lengths a transmission. A sounding is the truth plus the error of the real estimator (`testbed.csi.estimate`): least
squares over R repetitions projected on channels of `cyclic_prefix` samples, so error σ²/R·leverage, and a noise
variance that is itself estimated. SNR is thermal: what the simulated front end adds (12 bits, phase noise, IQ
imbalance) is left out, and so is everything that `testbed.abstraction` leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from testbed.abstraction import AbstractFleet, World
from testbed.agents.assemble import air_settings, subcarrier_dbm, worker
from testbed.campaign import Campaign
from testbed.experts.model import Model
from testbed.frames import Frames
from testbed.ofdm.estimate import delay_basis, leverage
from testbed.ofdm.grid import Grid
from testbed.outcome import Measured
from testbed.radio.air import AirSettings, draw_links, thermal_noise_dbm
from testbed.radio.fading_kernels import gains_at
from testbed.units import from_db

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]
Complexes = NDArray[np.complex64]


@dataclass(frozen=True)
class Levels:
    """What a receiver hears.

    Attributes:
        signal_dbm: transmit power of one subcarrier.
        repetitions: sounding symbols averaged.
    """

    signal_dbm: float
    repetitions: int


class FadingWorld:
    """The links of a simulated air as SNR on each subcarrier; implements `testbed.abstraction.World`.

    Args:
        air: the channels, as the simulated air takes them; clocks are ignored.
        grid: OFDM grid, U used subcarriers.
        levels: transmit power and averaging.

    Attributes:
        noise: variance on a subcarrier, in units of a receiver's full scale.
    """

    def __init__(self, air: AirSettings, grid: Grid, levels: Levels) -> None:
        self._grid = grid
        self._repetitions = levels.repetitions
        self._units = air.units
        self.noise = float(from_db(thermal_noise_dbm(grid.spacing_hz) + air.noise_figure_db - air.full_scale_dbm))
        gain_db = np.array(air.path_gain_db) + levels.signal_dbm - air.full_scale_dbm
        self._frequency, sinusoid, self._steering = _stack(air, grid, np.sqrt(from_db(gain_db)))
        self._real, self._imag = np.ascontiguousarray(sinusoid.real), np.ascontiguousarray(sinusoid.imag)
        self._steering_back = np.ascontiguousarray(self._steering.T)
        self._basis = delay_basis(grid, grid.cyclic_prefix)
        self._leverage = leverage(grid, grid.cyclic_prefix)
        self._rng = np.random.default_rng([air.seed, 13])
        self._free_s = 0.0

    def response(self, source: Ints, destination: Ints, at_s: Doubles) -> Complexes:
        """(n, U) channels of n links, each at its own time; |h|² is in units of a receiver's full scale at gain 0."""
        return np.asarray(self._taps(source, destination, at_s) @ self._steering, np.complex64)

    def sound(self, nodes: Ints, seconds: float) -> Measured:
        """Links between `nodes` as soundings would measure them, one node after the other."""
        K, U = self._units, self._grid.used.size
        at_s = self._on_air(np.full(nodes.size, seconds))
        f, j = np.nonzero(nodes[:, None] != nodes[None, :])
        link = (source, destination) = nodes[f], nodes[j]
        error = self.noise / self._repetitions
        heard = self.response(source, destination, at_s[f]) + self._estimation_errors(f.size, error)
        estimate, shrink = self._noise_estimates(f.size)
        power = np.maximum(heard.real**2 + heard.imag**2 - error * self._leverage, 0.0)
        h, (noise, snr) = np.zeros((K, K, U), np.complex64), np.zeros((2, K, K, U), np.float32)
        h[link], noise[link], snr[link] = heard, estimate[:, None], power * (shrink / estimate)[:, None]
        valid = np.zeros((K, K), np.bool_)
        valid[link] = True
        return Measured(
            h=h,
            noise=noise,
            snr=snr,
            valid=valid,
            cfo_hz=np.zeros((K, K)),
            timing_samples=np.zeros((K, K)),
            clipped=np.zeros((K, K), np.bool_),
        )

    def heard(self, frames: Frames, seconds: Doubles, used: Ints) -> Doubles:
        """(Q,) linear SNR of `frames` as it is."""
        at_s = self._on_air(seconds)
        taps = self._taps(frames.sender, frames.destination, at_s[frames.frame])
        h = np.einsum("qt,qt->q", taps[frames.holder], self._steering_back[used])
        return np.asarray((h.real**2 + h.imag**2) / self.noise, np.float64)

    def _on_air(self, seconds: Doubles) -> Doubles:
        """(F,) when frames of that length, one after the other, are heard.

        A frame begins when the one before has taken twice its length, and is heard in its middle.
        """
        begin_s = self._free_s + np.cumsum(2 * seconds) - 2 * seconds
        self._free_s += 2 * float(seconds.sum())
        return begin_s + seconds

    def _taps(self, source: Ints, destination: Ints, at_s: Doubles) -> Complexes:
        """(n, taps) gains of n links, each at its own time."""
        return gains_at(self._frequency, self._real, self._imag, source, destination, at_s)

    def _estimation_errors(self, links: int, variance: float) -> Complexes:
        """(links, U) of the projected least-squares estimates."""
        draw = self._rng.standard_normal((links, 2, len(self._basis)), np.float32) * np.float32(np.sqrt(variance / 2))
        return np.asarray((draw[:, 0] + 1j * draw[:, 1]) @ self._basis, np.complex64)

    def _noise_estimates(self, links: int) -> tuple[Doubles, float]:
        """(links,) σ² from what the projection leaves over, and the factor that takes the bias out of its inverse."""
        left = float(self._grid.used.size * self._repetitions - len(self._basis))
        return self.noise * self._rng.gamma(left, size=links) / left, 1.0 - 1.0 / left


def _stack(air: AirSettings, grid: Grid, amplitude: Doubles) -> tuple[Doubles, Complexes, Complexes]:
    """All links: Doppler shifts and amplitudes (K, K, taps, S); steering (taps, U), the same for all of one profile.

    `amplitude` (K, K) is the gain of each path.
    """
    links, K = draw_links(air), air.units
    one = next(iter(links.values()))
    frequency = np.zeros((K, K, *one.frequencies_hz.shape))
    sinusoid = np.zeros((K, K, *one.amplitudes.shape), np.complex64)
    for at, fading in links.items():
        frequency[at], sinusoid[at] = fading.frequencies_hz, fading.amplitudes * amplitude[at]
    steering = np.exp(-2j * np.pi * np.outer(one.delays_s, grid.frequency_hz))
    return frequency, sinusoid, steering.astype(np.complex64)


def fading_world(campaign: Campaign) -> FadingWorld:
    """The channels of a campaign."""
    grid = campaign.ofdm_grid()
    levels = Levels(subcarrier_dbm(campaign, grid), campaign.transmission.repetitions)
    return FadingWorld(air_settings(campaign), grid, levels)


def channel_fleet(campaign: Campaign, model: Model, world: World | None = None) -> AbstractFleet:
    """Nodes of a campaign on drawn channels, without waveforms; `world` in the place of `fading_world(campaign)`."""
    everybody = worker(campaign, model, range(campaign.nodes.count))
    repetitions = campaign.transmission.repetitions
    return AbstractFleet(everybody, world or fading_world(campaign), campaign.ofdm_grid(), repetitions)
