"""`python -m testbed.agents.warm`: compile every kernel once, so that no run waits for a compiler."""

from __future__ import annotations

import time

from testbed.agents.assemble import check
from testbed.agents.conduct import conduct
from testbed.agents.local import local_fleet
from testbed.campaign import Campaign


def warm() -> None:
    """One batch of two tokens a node, in this process, recorded nowhere."""
    campaign = Campaign.model_validate({"nodes": {"tokens": 2, "context": 4}})
    model = check(campaign)
    with local_fleet(campaign, model) as fleet:
        conduct(
            campaign,
            model,
            fleet,
            on_round=lambda record, predictions: None,
            stopping=lambda: False,
            clock=time.monotonic,
        )


if __name__ == "__main__":
    warm()
