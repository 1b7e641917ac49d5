"""From measured channels and scores to frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from testbed.agents.assemble import CHECKSUM_BITS, check
from testbed.campaign import load_campaign
from testbed.errors import CampaignError
from testbed.exchange import retry_mcs
from testbed.ofdm.grid import PRESETS
from testbed.ofdm.mcs import MCS, effective_snr
from testbed.outcome import Measured
from testbed.plan import RoundSettings, decide, pose, rates, rows_within
from testbed.units import db, from_db

GRID = PRESETS["small"]
K, N = 3, 5
SETTINGS = RoundSettings(
    grid=GRID,
    scheduler="jesa",
    z=1.0,
    gamma=(0.7, 0.49, 0.343),
    max_experts=2,
    hops=2,
    rate="mcs",
    payload_bits=8 * 130 + CHECKSUM_BITS,
    tx_power_w=1e-8,
    compute_energy_j=np.full(K, 1e-10),
    attempts=3,
    margin_db=2.0,
    fill_energy_factor=1.3,
    seed=0,
)
ALIVE = np.ones(K, np.bool_)


@pytest.fixture
def measured(rng: np.random.Generator) -> Measured:
    U = GRID.used.size
    off_diagonal = ~np.eye(K, dtype=bool)
    snr = (from_db(22.0) * rng.exponential(size=(K, K, U)) * off_diagonal[:, :, None]).astype(np.float32)
    return Measured(
        h=np.sqrt(snr).astype(np.complex64),
        noise=np.ones((K, K, U), np.float32),
        snr=snr,
        valid=off_diagonal,
        cfo_hz=np.zeros((K, K)),
        timing_samples=np.zeros((K, K)),
        clipped=np.zeros((K, K), np.bool_),
    )


@pytest.fixture
def scores(rng: np.random.Generator) -> dict[int, np.ndarray]:
    return {k: rng.dirichlet(np.full(K, 0.4), N) for k in range(K)}


def test_rates_are_zero_where_nothing_was_measured_or_nobody_lives(measured: Measured) -> None:
    all_alive = rates(SETTINGS, measured, ALIVE)
    assert all_alive.shape == (K, K, GRID.data.size)
    assert (all_alive[np.arange(K), np.arange(K)] == 0).all()
    assert (rates(SETTINGS, measured, np.array([True, False, True]))[1] == 0).all()
    deaf = replace(measured, valid=np.zeros((K, K), np.bool_))
    assert (rates(SETTINGS, deaf, ALIVE) == 0).all()


def test_mcs_rates_stay_below_shannon(measured: Measured) -> None:
    shannon = rates(replace(SETTINGS, rate="shannon"), measured, ALIVE)
    assert (rates(SETTINGS, measured, ALIVE) <= shannon).all()
    snr = measured.snr[0, 1, GRID.data]
    np.testing.assert_allclose(shannon[0, 1], GRID.spacing_hz * np.log2(1 + snr), rtol=1e-6)


def test_quality_falls_with_depth_from_the_first_layer_on() -> None:
    np.testing.assert_allclose([SETTINGS.qos(layer) for layer in range(3)], [0.7, 0.49, 0.343])


@pytest.mark.parametrize("hops", [1, 2])
@pytest.mark.parametrize("scheduler", ["jesa", "jesa-alternate", "top-2", "homogeneous", "channel-only", "random"])
def test_every_remote_pair_has_subcarriers_of_its_own_both_ways(
    measured: Measured, scores: dict[int, np.ndarray], scheduler: str, hops: int
) -> None:
    settings = replace(SETTINGS, scheduler=scheduler, hops=hops)
    plan = decide(settings, pose(settings, 0, scores, rates(settings, measured, ALIVE)), measured, None)
    for phase, turn in (("forward", 1), ("return", -1)):
        allocation = plan.allocation(phase)  # type: ignore[arg-type]
        links = np.unique(allocation.subcarrier_link[allocation.subcarrier_link >= 0])
        holder, taken = allocation.subcarriers_of(links)
        assert (np.flatnonzero(allocation.subcarrier_link >= 0) == np.sort(taken)).all()
        held = {(k // K, k % K): taken[holder == n] for n, k in enumerate(links.tolist())}
        for token, expert in np.argwhere(plan.decision.selected):
            link = (int(plan.problem.source[token]), int(expert))[::turn]
            if link[0] != link[1]:
                assert held[link].size >= 1
                scheme = MCS[allocation.mcs[link]]
                snr = measured.snr[link][GRID.data][held[link]]
                assert scheme.index == 0 or db(effective_snr(snr, scheme)) >= scheme.snr_threshold_db + 2.0


@pytest.mark.parametrize("scheduler", ["jesa", "top-2"])
def test_a_link_without_a_way_back_is_not_used_even_if_only_the_way_out_is_priced(
    measured: Measured, scores: dict[int, np.ndarray], scheduler: str
) -> None:
    measured.snr[1, 0] = 0.0
    settings = replace(SETTINGS, scheduler=scheduler, hops=1)
    plan = decide(settings, pose(settings, 0, scores, rates(settings, measured, ALIVE)), measured, None)
    assert not plan.decision.selected[plan.problem.source == 0, 1].any()
    assert plan.decision.selected[plan.problem.source == 2, 1].any()


def test_idle_subcarriers_shorten_frames_within_the_factor(measured: Measured, scores: dict[int, np.ndarray]) -> None:
    alone = replace(SETTINGS, fill_energy_factor=1.0)
    problem = pose(SETTINGS, 0, scores, rates(SETTINGS, measured, ALIVE))
    single, filled = decide(alone, problem, measured, None), decide(SETTINGS, problem, measured, None)
    np.testing.assert_allclose(single.predicted.total_j(), single.decision.total_energy_j)
    counts = [plan.forward.count for plan in (single, filled)]
    assert counts[1].sum() > counts[0].sum() >= (single.forward.mcs >= 0).sum()
    assert filled.predicted.forward.sum() <= 1.3 * single.predicted.forward.sum() * (1 + 1e-9)


def test_rows_count_each_nodes_own_tokens() -> None:
    np.testing.assert_array_equal(rows_within(np.array([2, 0, 2, 2, 0])), [0, 0, 1, 2, 1])


def again(mcs: int, snr_db: float, attempt: int) -> int:
    return int(retry_mcs(SETTINGS, np.array([mcs]), np.array([snr_db]), attempt)[0])


def test_what_failed_is_sent_again_with_a_scheme_that_can_succeed() -> None:
    top = len(MCS) - 1
    enough = MCS[top].snr_threshold_db + SETTINGS.margin_db
    assert again(top, enough - 2.9, attempt=0) == top  # two receptions gain 3 dB
    assert again(top, MCS[2].snr_threshold_db + 2.1, attempt=0) == 2
    assert again(top, -30.0, attempt=0) == 0
    assert again(top, np.nan, attempt=1) == top  # not heard


def test_importance_by_layer_is_a_power_or_a_list() -> None:
    falling = load_campaign(None, {"schedule.importance": 0.5})
    assert falling.importance_by_layer(3) == (0.5, 0.25, 0.125)
    given = load_campaign(None, {"schedule.importance": [0.2, 1.0], "schedule.qos": 0.5})
    assert given.importance_by_layer(2) == (0.2, 1.0)
    assert replace(SETTINGS, z=0.5, gamma=(0.2, 1.0)).qos(1) == 0.5
    with pytest.raises(CampaignError, match="2 values for a model of 4 layers"):
        check(given)
    with pytest.raises(CampaignError, match="importance"):
        load_campaign(None, {"schedule.importance": [0.2, 1.5]})
