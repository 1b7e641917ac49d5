"""Drawn channels whose estimates are worse than soundings make them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from testbed.agents.fading_world import FadingWorld, fading_world
from testbed.campaign import Campaign
from testbed.frames import Frames
from testbed.outcome import Measured
from testbed.units import from_db


class MisjudgedWorld:
    """A `FadingWorld` that adds an error to every estimate; frames meet the true channel. Implements `World`.

    The error is complex normal, independent from subcarrier to subcarrier and from sounding to sounding, with a
    variance `error_db` beside the mean |h|² of the link. Nobody knows of it: the noise estimate stays as it was.
    """

    def __init__(self, campaign: Campaign, error_db: float) -> None:
        self._truth: FadingWorld = fading_world(campaign)
        self._error = float(from_db(error_db))
        self._rng = np.random.default_rng([campaign.seed, 17])

    def sound(self, nodes: NDArray[np.int64], seconds: float) -> Measured:
        """What `FadingWorld.sound` measures, and the error."""
        measured = self._truth.sound(nodes, seconds)
        h, valid = measured.h, measured.valid[:, :, None]
        variance = self._error * (np.abs(h) ** 2).mean(axis=2, keepdims=True)
        draw = self._rng.standard_normal((2, *h.shape), np.float32) * np.sqrt(variance / 2)
        heard = np.where(valid, h + draw[0] + 1j * draw[1], 0).astype(np.complex64)
        snr = np.divide(np.abs(heard) ** 2, measured.noise, out=np.zeros(h.shape, np.float32), where=valid)
        return replace(measured, h=heard, snr=snr)

    def heard(self, frames: Frames, seconds: NDArray[np.float64], used: NDArray[np.int64]) -> NDArray[np.float64]:
        """As `FadingWorld.heard`: the truth."""
        return self._truth.heard(frames, seconds, used)
