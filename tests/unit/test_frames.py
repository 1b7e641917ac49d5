"""Frames as arrays cost what the modem's frames last, and say the same as the slots made of them."""

from __future__ import annotations

import numpy as np

from testbed.frames import Frames, cost
from testbed.ofdm.frame import Link, frame_samples, link_symbols
from testbed.ofdm.grid import PRESETS

GRID = PRESETS["demo"]


def drawn(rng: np.random.Generator) -> Frames:
    """Three frames of 2, 1 and 3 shares."""
    frame = np.array([0, 0, 1, 2, 2, 2])
    blocks, held = rng.integers(1, 9, 6), rng.integers(1, 12, 6)
    place = rng.permutation(GRID.data.size)[: held.sum()]
    return Frames(
        layer=1,
        phase="forward",
        attempt=0,
        number=np.array([5, 6, 7]),
        source=np.array([3, 0, 1]),
        frame=frame,
        destination=np.array([0, 1, 2, 0, 2, 3]),
        mcs=rng.integers(0, 10, 6),
        share=np.repeat(np.arange(6), blocks),
        row=np.concatenate([rng.permutation(16)[:n] for n in blocks]),
        holder=np.repeat(np.arange(6), held),
        subcarrier=place,
    )


def test_time_on_the_air_is_the_modems(rng: np.random.Generator) -> None:
    for _ in range(20):
        frames = drawn(rng)
        got = cost(GRID, 130, frames.frame, frames.mcs, frames.blocks, frames.subcarriers)
        for f, slot in enumerate(frames.slots()):
            links = [Link(share.subcarriers, share.mcs, share.rows.size, 130) for share in slot.shares]
            longest_s = max(map(link_symbols, links)) * GRID.symbol_s
            assert np.isclose(got.air_time_s[f], frame_samples(GRID, links) / GRID.sample_rate_hz)
            assert np.isclose(got.overhead_s[f], got.air_time_s[f] - longest_s)
            np.testing.assert_allclose(
                got.share_s[frames.frame == f], [link_symbols(link) * GRID.symbol_s for link in links]
            )


def test_slots_hold_every_block_and_subcarrier_once(rng: np.random.Generator) -> None:
    frames = drawn(rng)
    slots = frames.slots()
    assert [(slot.number, slot.source, len(slot.shares)) for slot in slots] == [(5, 3, 2), (6, 0, 1), (7, 1, 3)]
    shares = [share for slot in slots for share in slot.shares]
    np.testing.assert_array_equal(np.concatenate([share.rows for share in shares]), frames.row)
    np.testing.assert_array_equal(np.concatenate([share.subcarriers for share in shares]), frames.subcarrier)
    assert [share.destination for share in shares] == frames.destination.tolist()


def test_no_frame_costs_nothing() -> None:
    none = np.zeros(0, np.int64)
    got = cost(GRID, 130, none, none, none, none)
    assert got.air_time_s.size == got.share_s.size == got.overhead_s.size == 0
