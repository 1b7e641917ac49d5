"""Many rounds over sockets and processes: memory and descriptors stay what they were."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from testbed.agents.assemble import check
from testbed.agents.conduct import conduct
from testbed.outcome import RoundRecord
from testbed.record.rows import Predictions
from tests.system.test_faults_agents import fleet_of, small

WARM = 0.5
"""Share of the rounds after which everything that is kept has been allocated once."""


@dataclass(frozen=True)
class Weight:
    """All processes of a run together: memory of their own in bytes, open descriptors, threads."""

    private_bytes: int
    descriptors: int
    threads: int


def weigh() -> Weight:
    me = psutil.Process()
    family = [me, *me.children(recursive=True)]
    return Weight(
        sum(process.memory_full_info().uss for process in family),
        sum(process.num_fds() for process in family),
        sum(process.num_threads() for process in family),
    )


@pytest.mark.parametrize(("rounds", "limit_kb"), [(240, 20.0), pytest.param(2000, 1.0, marks=pytest.mark.long)])
@pytest.mark.timeout(1800)
def test_memory_and_descriptors_are_flat(rounds: int, limit_kb: float, tmp_path: Path) -> None:
    """`limit_kb`: thousand bytes a round by which all processes together may grow."""
    campaign = small(4, rounds // 4, 1)
    weights: list[Weight] = []

    def on_round(record: RoundRecord, predictions: Predictions | None) -> None:
        if record.number % 8 == 0:
            weights.append(weigh())

    with fleet_of(campaign, tmp_path) as fleet:
        totals = conduct(
            campaign, check(campaign), fleet, on_round=on_round, stopping=lambda: False, clock=time.monotonic
        )
    assert totals.rounds == rounds
    assert totals.lost == 0
    settled = weights[int(WARM * len(weights)) :]
    grown = np.median([w.private_bytes for w in settled[-5:]]) - np.median([w.private_bytes for w in settled[:5]])
    assert grown / 1e3 / (rounds * (1 - WARM)) < limit_kb, [w.private_bytes for w in weights]
    assert settled[-1].descriptors <= settled[0].descriptors + 2
    assert settled[-1].threads <= settled[0].threads + 2
