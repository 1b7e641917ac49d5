"""Drawn channels without waveforms against the whole simulated air: same energy, same block errors, same words."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import pytest

from testbed.agents.assemble import air_settings, check
from testbed.agents.conduct import RunTotals, conduct
from testbed.agents.fading_world import FadingWorld, channel_fleet, fading_world
from testbed.agents.local import local_fleet
from testbed.campaign import Campaign, load_campaign
from testbed.experts.model import Model
from testbed.fleet import Crew
from testbed.frames import Frames
from testbed.outcome import RoundRecord
from testbed.radio.air import draw_links
from testbed.radio.fading import frequency_response

SEEDS = (1, 2, 3, 4, 5, 6)

# The front end costs the waveform 0 to 1.7 dB of SNR, 0.4 typically, which moves some links to the next lower scheme.
ENERGY_WITHIN = 0.02
"""Relative, mean over SEEDS: measured 0.006 predicted, 0.008 spent; the abstraction is the cheaper one."""
ENERGY_OF_ONE_SEED_WITHIN = 0.05
"""Measured 0.014 at most."""
ERRORS_WITHIN = 0.01
"""Difference of block error rates, all SEEDS together: measured 0.0010 against 0.0025."""

Make = Callable[[Campaign, Model], AbstractContextManager[Crew]]


@dataclass(frozen=True, eq=False)
class Run:
    totals: RunTotals
    records: list[RoundRecord]


def channels(campaign: Campaign, model: Model) -> AbstractContextManager[Crew]:
    return nullcontext(channel_fleet(campaign, model))


def run(make: Make, overrides: dict[str, object]) -> Run:
    campaign = load_campaign(None, overrides)
    model, records = check(campaign), []
    with make(campaign, model) as crew:
        totals = conduct(
            campaign,
            model,
            crew,
            on_round=lambda record, _: records.append(record),
            stopping=lambda: False,
            clock=time.monotonic,
        )
    return Run(totals, records)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Run, Run]]:
    return [(run(channels, {"seed": seed}), run(local_fleet, {"seed": seed})) for seed in SEEDS]


def test_energy_agrees(pairs: list[tuple[Run, Run]]) -> None:
    for figure in ("predicted_j", "spent_j"):
        ratio = np.array([getattr(c.totals, figure) / getattr(w.totals, figure) for c, w in pairs])
        assert np.abs(ratio - 1).max() < ENERGY_OF_ONE_SEED_WITHIN, (figure, ratio)
        assert abs(ratio.mean() - 1) < ENERGY_WITHIN, (figure, ratio)


def test_block_errors_agree(pairs: list[tuple[Run, Run]]) -> None:
    rates = [
        sum(one[side].totals.failed for one in pairs) / sum(one[side].totals.sent for one in pairs) for side in (0, 1)
    ]
    assert abs(rates[0] - rates[1]) < ERRORS_WITHIN, rates
    assert all(c.totals.lost == w.totals.lost == 0 for c, w in pairs)


def test_accuracy_agrees(pairs: list[tuple[Run, Run]]) -> None:
    hits = np.array([[run.totals.hits / run.totals.scored for run in pair] for pair in pairs])
    assert abs(hits[:, 0].mean() - hits[:, 1].mean()) < 0.01, hits


def test_snr_differs_by_the_front_end_alone(pairs: list[tuple[Run, Run]]) -> None:
    """Per link and first round: thermal SNR lies above what the simulated front end leaves, by less than 2 dB."""
    for channel, waveform in pairs:
        both = channel.records[0].measured.valid & waveform.records[0].measured.valid
        drawn, heard = (10 * np.log10(r.records[0].measured.snr[both].mean(axis=1)) for r in (channel, waveform))
        assert 0 < np.median(drawn - heard) < 1
        assert (drawn - heard).max() < 3


def test_the_world_is_the_fading_of_the_air() -> None:
    """The response that a world gives is that of `frequency_response` on the same draw, at the time it says."""
    campaign = load_campaign(None, {"channel.doppler_hz": 20.0})
    world, grid = fading_world(campaign), campaign.ofdm_grid()
    links = draw_links(air_settings(campaign))
    source, destination, at_s = np.array([0, 3, 0]), np.array([1, 2, 1]), np.array([0.05, 0.05, 0.2])
    for h, i, j, t in zip(world.response(source, destination, at_s), source, destination, at_s, strict=True):
        truth = frequency_response(links[i, j], t, grid.frequency_hz)
        scale = h[0] / truth[0]
        np.testing.assert_allclose(h / scale, truth, rtol=1e-3, atol=1e-4)


def test_a_frame_is_heard_in_the_middle_of_the_twice_its_length_that_it_takes() -> None:
    """Soundings of 10 ms by nodes 0 and 1, then frames of 30 and 5 ms: heard at 10, 30, 70 and 105 ms."""
    campaign = load_campaign(None, {"channel.doppler_hz": 20.0})
    world, still, grid = fading_world(campaign), fading_world(campaign), campaign.ofdm_grid()
    measured = world.sound(np.array([0, 1]), 0.01)
    h = still.response(np.array([0, 1]), np.array([1, 0]), np.array([0.01, 0.03]))
    assert np.abs(measured.h[[0, 1], [1, 0]] - h).max() < 0.2 * np.abs(h).mean()
    frames = Frames(
        layer=0,
        phase="forward",
        attempt=0,
        number=np.array([1, 2]),
        source=np.array([2, 3]),
        frame=np.array([0, 0, 1]),
        destination=np.array([0, 1, 2]),
        mcs=np.zeros(3, np.int64),
        share=np.array([0, 1, 2]),
        row=np.zeros(3, np.int64),
        holder=np.array([0, 1, 1, 2]),
        subcarrier=np.array([5, 6, 7, 5]),
    )
    used = grid.data[frames.subcarrier]
    snr = world.heard(frames, np.array([0.03, 0.005]), used)
    h = still.response(np.array([2, 2, 2, 3]), np.array([0, 1, 1, 2]), np.array([0.07, 0.07, 0.07, 0.105]))
    noise = measured.noise[0, 1].mean()
    np.testing.assert_allclose(snr, np.abs(h[np.arange(4), used]) ** 2 / noise, rtol=0.3)
    relative = snr / np.abs(h[np.arange(4), used]) ** 2
    np.testing.assert_allclose(relative, relative[0], rtol=1e-4)


def everywhere(world: FadingWorld) -> np.ndarray:
    """(K·(K − 1), U) linear SNR of all links at the beginning."""
    source, destination = np.nonzero(~np.eye(4, dtype=bool))
    h = world.response(source, destination, np.zeros(source.size))
    return np.abs(h) ** 2 / world.noise


def test_mean_snr_is_what_the_campaign_asks() -> None:
    snr: list[float] = []
    for seed in range(30):
        campaign = load_campaign(None, {"seed": seed, "channel.shadowing_db": 0.0, "channel.snr_db": 17.0})
        snr += everywhere(fading_world(campaign)).mean(axis=1).tolist()
    error = np.std(snr) / np.sqrt(len(snr))
    assert abs(np.mean(snr) - 10**1.7) < 4 * error


def test_a_sounding_errs_as_its_estimator_does() -> None:
    """Error of h: σ²/R·taps/U on average; SNR without bias."""
    campaign = load_campaign(None, {"channel.snr_db": 5.0, "channel.doppler_hz": 0.0})
    world, grid = fading_world(campaign), campaign.ofdm_grid()
    soundings = [world.sound(np.array([0, 1]), 1e-3) for _ in range(600)]
    truth = world.response(np.array([0]), np.array([1]), np.zeros(1))[0]
    noise = np.mean([one.noise[0, 1, 0] for one in soundings])
    error = np.mean([np.abs(one.h[0, 1] - truth) ** 2 for one in soundings])
    expected = noise / campaign.transmission.repetitions * grid.cyclic_prefix / grid.used.size
    assert error == pytest.approx(expected, rel=0.05)
    snr = np.abs(truth) ** 2 / world.noise
    strong = snr > 1
    ratio = np.mean([one.snr[0, 1] for one in soundings], axis=0)[strong] / snr[strong]
    assert ratio.mean() == pytest.approx(1.0, abs=0.02)


def test_the_same_campaign_twice_is_the_same_bit_for_bit() -> None:
    one, other = (run(channels, {"seed": 3, "nodes.tokens": 4}) for _ in range(2))
    for left, right in zip(one.records, other.records, strict=True):
        np.testing.assert_array_equal(left.measured.snr, right.measured.snr)
        np.testing.assert_array_equal(left.selected, right.selected)
