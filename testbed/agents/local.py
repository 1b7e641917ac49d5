"""All nodes in this process, without sockets: for tests, sweeps, and looking inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from testbed.agents.assemble import air_settings, local_node
from testbed.agents.iq import recorded, replay_tapes
from testbed.campaign import Campaign
from testbed.experts.model import Model
from testbed.fleet import Fleet
from testbed.radio.air import Air
from testbed.radio.open import open_radio


@contextmanager
def local_fleet(campaign: Campaign, model: Model, iq: Path | None = None) -> Iterator[Fleet]:
    """Nodes of a campaign on one simulated air, or on a recording; leaving silences every radio.

    Args:
        campaign: the whole campaign.
        model: the whole model.
        iq: folder for recorded samples, if the campaign wants any.

    Raises:
        RecordError: the recording does not fit the campaign.
    """
    air, tapes, address = Air(air_settings(campaign)), replay_tapes(campaign), campaign.radio.address
    with ExitStack() as stack:
        nodes = []
        for k, tape in enumerate(tapes):
            radio = stack.enter_context(open_radio(address, unit=k, ether=air, tape=tape))
            nodes.append(local_node(campaign, model, k, recorded(radio, campaign, k, iq, stack)))
        yield Fleet(nodes)
