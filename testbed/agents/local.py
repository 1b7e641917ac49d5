"""All nodes in this process, without sockets: for tests, sweeps, and looking inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from testbed.agents.assemble import air_settings, local_node
from testbed.campaign import Campaign
from testbed.experts.model import Model
from testbed.fleet import Fleet
from testbed.radio.air import Air
from testbed.radio.open import open_radio


@contextmanager
def local_fleet(campaign: Campaign, model: Model) -> Iterator[Fleet]:
    """Nodes of a campaign on one simulated air; leaving silences every radio."""
    air = Air(air_settings(campaign))
    with ExitStack() as radios:
        nodes = [
            local_node(
                campaign,
                model,
                k,
                radios.enter_context(open_radio(campaign.radio.address, unit=k, ether=air)),
            )
            for k in range(campaign.nodes.count)
        ]
        yield Fleet(nodes)
