"""Tokens served by their own node's expert: whenever that is applied, they come out alike."""

from __future__ import annotations

import numpy as np
import pytest

from testbed.agents.assemble import check, worker
from testbed.campaign import load_campaign
from testbed.worker import Worker

K, N = 4, 5


def ready() -> Worker:
    """All nodes in one process, gated for the first layer."""
    campaign = load_campaign(None, {"nodes.count": K, "nodes.tokens": N, "nodes.context": 0})
    everybody = worker(campaign, check(campaign), range(K))
    everybody.begin(0)
    everybody.gate(0)
    return everybody


def nats(everybody: Worker) -> np.ndarray:
    """(K, N) what the tokens, as they are now, would predict."""
    return np.stack([one.nats for one in everybody.predict().values()])


@pytest.mark.parametrize("chosen", ["own", "lost", "some"])
def test_own_tokens_come_out_alike_whether_served_early_or_last(chosen: str, rng: np.random.Generator) -> None:
    """`lost`: an earlier plan had them at home; the last one sends them to experts that never answer."""
    own = np.broadcast_to(np.eye(K, dtype=bool)[:, None, :], (K, N, K))
    selected = {"own": own, "lost": np.roll(own, 1, axis=2), "some": rng.random((K, N, K)) < 0.4}[chosen]
    early, late = ready(), ready()
    early.compute(0, np.ones((K, N), np.bool_))
    late.compute(0)
    endings = [everybody.aggregate(0, selected) for everybody in (early, late)]
    np.testing.assert_array_equal(endings[0], endings[1])
    assert endings[0][1].all() == (chosen == "lost")
    np.testing.assert_allclose(nats(early), nats(late), rtol=1e-4)
