"""Drawn channels without waveforms: the simulated air's fading, what a sounding would make of it, and its nodes.

The links are those of `testbed.radio.air` for the same settings and seed, and the clock moves as there: two frame
lengths a transmission. A sounding is the truth plus the error of the real estimator (`testbed.csi.estimate`): least
squares over R repetitions projected on channels of `cyclic_prefix` samples, so error σ²/R·leverage, and a noise
variance that is itself estimated. SNR is thermal: what the simulated front end adds (12 bits, phase noise, IQ
imbalance) is left out, and so is everything that `testbed.abstraction` leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from testbed.abstraction import AbstractNode, Ledger
from testbed.agents.assemble import air_settings, subcarrier_dbm, worker
from testbed.campaign import Campaign
from testbed.experts.model import Model
from testbed.fleet import Fleet
from testbed.ofdm.estimate import delay_basis, leverage
from testbed.ofdm.grid import Grid
from testbed.protocol import Node, Sounding
from testbed.radio.air import AirSettings, draw_links, thermal_noise_dbm
from testbed.units import from_db

Floats = NDArray[np.float32]
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
    """

    def __init__(self, air: AirSettings, grid: Grid, levels: Levels) -> None:
        self._grid = grid
        self._repetitions = levels.repetitions
        self._units = air.units
        self._noise = float(from_db(thermal_noise_dbm(grid.spacing_hz) + air.noise_figure_db - air.full_scale_dbm))
        gain_db = np.array(air.path_gain_db) + levels.signal_dbm - air.full_scale_dbm
        self._amplitude = np.sqrt(from_db(gain_db))
        self._frequency, self._sinusoid, self._steering = _stack(air, grid)
        self._basis = delay_basis(grid, grid.cyclic_prefix)
        self._leverage = leverage(grid, grid.cyclic_prefix)
        self._rng = np.random.default_rng([air.seed, 13])
        self._clock_s, self._now_s, self._begun_s = 0.0, 0.0, 0.0
        self._moving = air.doppler_hz > 0
        self._responses: dict[int, Complexes] = {}

    def response(self, source: int) -> Complexes:
        """(K, U) channels from `source` now; |h|² is in units of a receiver's full scale at gain 0."""
        if source not in self._responses:
            phase = np.mod(self._frequency[source] * self._now_s, 1.0).astype(np.float32) * np.float32(2 * np.pi)
            turn = np.empty(phase.shape, np.complex64)
            turn.real, turn.imag = np.cos(phase), np.sin(phase)
            taps = np.einsum("jts,jts->jt", self._sinusoid[source], turn)
            h = (taps * self._amplitude[source][:, None]) @ self._steering
            self._responses[source] = np.asarray(h, np.complex64)
        return self._responses[source]

    def snr(self, source: int, destination: int) -> Floats:
        """(U,) linear SNR as it is."""
        h = self.response(source)[destination]
        return np.asarray((h.real**2 + h.imag**2) / self._noise, np.float32)

    def sounding(self, source: int, destination: int) -> Sounding:
        """The link as a sounding would measure it."""
        error = self._noise / self._repetitions
        h = self.response(source)[destination] + self._estimation_error(error)
        noise, shrink = self._noise_estimate()
        power = np.maximum(h.real**2 + h.imag**2 - error * self._leverage, 0.0)
        return Sounding(
            source=source,
            destination=destination,
            h=h,
            noise=np.full(h.size, noise, np.float32),
            snr=(power / noise * shrink).astype(np.float32),
            cfo_hz=0.0,
            timing_samples=0.0,
            clipped=False,
        )

    def on_air(self, seconds: float) -> None:
        """A frame begins: the one before has taken twice its length, and this one is heard in its middle."""
        self._clock_s += 2 * self._begun_s
        self._begun_s = seconds
        self._now_s = self._clock_s + seconds
        if self._moving:
            self._responses.clear()

    def _estimation_error(self, variance: float) -> Complexes:
        """(U,) of the projected least-squares estimate."""
        draw = self._rng.standard_normal((2, len(self._basis)), np.float32) * np.float32(np.sqrt(variance / 2))
        return np.asarray((draw[0] + 1j * draw[1]) @ self._basis, np.complex64)

    def _noise_estimate(self) -> tuple[float, float]:
        """σ² from what the projection leaves over, and the factor that takes the bias out of its inverse."""
        left = float(self._grid.used.size * self._repetitions - len(self._basis))
        return self._noise * float(self._rng.gamma(left)) / left, 1.0 - 1.0 / left


def _stack(air: AirSettings, grid: Grid) -> tuple[NDArray[np.float64], Complexes, Complexes]:
    """All links: Doppler shifts and amplitudes (K, K, taps, S); steering (taps, U), the same for all of one profile."""
    links, K = draw_links(air), air.units
    one = next(iter(links.values()))
    frequency = np.zeros((K, K, *one.frequencies_hz.shape))
    sinusoid = np.zeros((K, K, *one.amplitudes.shape), np.complex64)
    for at, fading in links.items():
        frequency[at], sinusoid[at] = fading.frequencies_hz, fading.amplitudes
    steering = np.exp(-2j * np.pi * np.outer(one.delays_s, grid.frequency_hz))
    return frequency, sinusoid, steering.astype(np.complex64)


def fading_world(campaign: Campaign) -> FadingWorld:
    """The channels of a campaign."""
    grid = campaign.ofdm_grid()
    levels = Levels(subcarrier_dbm(campaign, grid), campaign.transmission.repetitions)
    return FadingWorld(air_settings(campaign), grid, levels)


@contextmanager
def channel_fleet(
    campaign: Campaign, model: Model, make: Callable[[Sequence[Node]], Fleet] = Fleet
) -> Iterator[Fleet]:
    """Nodes of a campaign on drawn channels, without waveforms, in the fleet that `make` makes of them."""
    ledger, grid = Ledger(fading_world(campaign)), campaign.ofdm_grid()
    repetitions = campaign.transmission.repetitions
    yield make(
        [
            AbstractNode(worker(campaign, model, k), ledger, grid, repetitions)
            for k in range(campaign.nodes.count)
        ]
    )
