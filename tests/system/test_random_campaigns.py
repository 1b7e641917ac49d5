"""Whatever legal settings meet: rounds end, every token is counted, and what was promised of quality is kept."""

from __future__ import annotations

import time

import numpy as np
import pytest

from testbed.agents.assemble import check
from testbed.agents.conduct import conduct
from testbed.agents.fading_world import channel_fleet
from testbed.campaign import Campaign, load_campaign
from testbed.outcome import RoundRecord
from testbed.schedule.policy import LEAST_EXPERTS, NOT_RUNNABLE, POLICIES
from testbed.schedule.status import Status

KEEP_THE_QOS = ("jesa", "jesa-alternate", "des-fixed")
CHOICES: dict[str, tuple[object, ...]] = {
    "nodes.tokens": (1, 2, 5, 16),
    "nodes.context": (0, 1, 20),
    "nodes.compute_energy_j": (0.0, 1e-10, 1e-6),
    "model.quantisation": ("float16", "int8"),
    "grid.preset": ("demo", "small", "lte", "fine"),
    "schedule.scheduler": tuple(name for name in POLICIES if name not in NOT_RUNNABLE),
    "schedule.qos": (0.01, 0.5, 0.9, 1.0),
    "schedule.importance": (0.1, 0.5, 0.8, 1.0),
    "schedule.hops": (1, 2),
    "schedule.rate": ("mcs", "shannon"),
    "schedule.fill_energy_factor": (1.0, 1.1, 2.0, 50.0),
    "transmission.attempts": (1, 2, 6),
    "transmission.margin_db": (0.0, 2.0, 10.0),
    "transmission.repetitions": (1, 4, 16),
    "channel.profile": ("TDL-A", "TDL-B", "TDL-C", "TDL-D", "TDL-E"),
    "channel.snr_db": (-15.0, -5.0, 0.0, 5.0, 12.0, 25.0, 45.0),
    "channel.doppler_hz": (0.0, 0.3, 5.0, 100.0),
    "channel.shadowing_db": (0.0, 3.0, 12.0),
    "channel.delay_spread_s": (0.0, 50e-9, 300e-9),
    "channel.reciprocal": (False, True),
    "channel.correlation": (0.0, 0.5, 1.0),
}


def drawn(rng: np.random.Generator) -> Campaign:
    """Any legal campaign on drawn channels."""
    overrides = {key: values[rng.integers(len(values))] for key, values in CHOICES.items()}
    model, most = (("demo", 4), ("eight", 8))[rng.integers(2)]
    K = int(rng.integers(2, most + 1))
    D = int(rng.integers(LEAST_EXPERTS.get(str(overrides["schedule.scheduler"]), 1), K + 1))
    sizes = {"model.name": model, "nodes.count": K, "schedule.max_experts": D, "seed": int(rng.integers(1 << 20))}
    return load_campaign(None, overrides | sizes)


def assert_sound(campaign: Campaign, record: RoundRecord) -> None:
    """Energies are numbers, counts agree, and who is neither relaxed nor decided by a stand-in has its QoS."""
    for energy in (record.spent, record.predicted):
        assert 0.0 <= energy.total_j() < np.inf
    for traffic in (record.forward, record.back):
        assert (traffic.sent >= traffic.failed).all()
        assert (traffic.failed >= traffic.given_up).all()
    assert (record.selected.sum(axis=1) <= campaign.schedule.max_experts).all()
    if campaign.schedule.scheduler in KEEP_THE_QOS and record.status != Status.FALLBACK.name:
        reached = (record.score * record.selected).sum(axis=1)
        assert (reached[~record.relaxed] >= record.qos - 1e-9).all()


def test_random_campaigns_come_to_their_end(request: pytest.FixtureRequest, rng: np.random.Generator) -> None:
    for _ in range(400 if request.config.getoption("--long") else 30):
        campaign = drawn(rng)
        model, records = check(campaign), []
        totals = conduct(
            campaign,
            model,
            channel_fleet(campaign, model),
            on_round=lambda record, _, kept=records: kept.append(record),  # type: ignore[misc]
            stopping=lambda: False,
            clock=time.monotonic,
            reference=False,
        )
        assert totals.rounds == model.layers, campaign.text()
        assert totals.tokens == campaign.nodes.count * campaign.nodes.tokens * model.layers
        for record in records:
            assert_sound(campaign, record)
