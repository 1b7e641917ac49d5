"""A node whose answers follow from the questions alone, to compare what came over a link."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from testbed.errors import RadioError
from testbed.protocol import Aggregated, Gated, Prediction, Reception, Sent, Slot, Sounding


class ReferenceNode:
    """Node `index`; its answers are drawn from a generator seeded with what was asked.

    `compute` of layer 1000 + n takes n seconds; `measure` of itself fails; `gate` of layer 999 has a bug.
    """

    def __init__(self, index: int) -> None:
        self._index = index
        self.batch = -1
        self.on_air = -1
        self.asked = 0

    @property
    def index(self) -> int:
        return self._index

    def begin(self, batch: int) -> None:
        self.batch = batch

    def resume(self, batch: int, layer: int) -> None:
        self.batch = batch

    def sound(self, number: int) -> float:
        self.asked += 1
        self.on_air = number
        return number / 7

    def measure(self, source: int, number: int) -> Sounding | None:
        if source == self._index:
            raise RadioError(f"unit {source} cannot hear itself: measure another")
        if number == 0:
            return None
        draw = self._draw(source, number)
        h = (draw.standard_normal(240) + 1j * draw.standard_normal(240)).astype(np.complex64)
        noise, snr = draw.random((2, 240), np.float32)
        return Sounding(source, self._index, h, noise, snr, draw.normal(), draw.normal(), bool(draw.integers(2)))

    def silence(self) -> None:
        self.on_air = -1

    def gate(self, layer: int, own: bool = True) -> Gated:
        if layer == 999:
            raise ZeroDivisionError("a bug")
        return Gated(self._draw(self.batch, layer).dirichlet(np.ones(4), 16))

    def send(self, slot: Slot) -> Sent:
        self.on_air = slot.number
        return Sent(0.01, np.array([share.rows.sum() * share.mcs for share in slot.shares], float), 0.001)

    def receive(self, slot: Slot) -> Reception:
        draw = self._draw(slot.number, slot.layer, slot.attempt, slot.phase == "return")
        heard = bool(draw.integers(2))
        snr_db = draw.normal() if heard else float("nan")
        points = draw.standard_normal((9, 2)).view(np.complex128)[:, 0].astype(np.complex64)
        return Reception(heard, draw.random(slot.shares[0].rows.size) < 0.5, snr_db, 0.1, points)

    def compute(self, layer: int) -> int:
        if layer >= 1000:
            time.sleep(layer - 1000)
        return layer + 3

    def aggregate(self, layer: int, selected: NDArray[np.bool_]) -> Aggregated:
        return Aggregated(selected.sum(1) == layer, ~selected.any(1))

    def predict(self) -> Prediction:
        draw = self._draw(self.batch)
        return Prediction(*draw.integers(0, 256, (2, 16), np.uint8), draw.random(16, np.float32))

    def _draw(self, *asked: int) -> np.random.Generator:
        return np.random.default_rng([self._index, 1, *(int(a) + 1 for a in asked)])
