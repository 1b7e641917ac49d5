"""The process of one node: joins a controller, opens its radio, and does what rounds ask.

The radio is silenced at the end of the membership, whoever ended it: a farewell, a lease that ran out
because the controller fell silent, an error, a signal.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import msgspec

from testbed.agents.air import RemoteEther
from testbed.agents.assemble import check, local_node, transmit_permit
from testbed.agents.iq import recorded
from testbed.agents.log import logger
from testbed.agents.warm import warm_modem
from testbed.campaign import Campaign
from testbed.link.keys import client_keys
from testbed.link.remote import serve_node
from testbed.link.service import Client
from testbed.link.spoke import Spoke
from testbed.radio.base import Radio
from testbed.radio.latch import Latched
from testbed.radio.open import open_radio
from testbed.radio.pluto_steps import PlutoOptions

JOIN_S = 30.0


class Setup(msgspec.Struct, frozen=True):
    """What an agent is told when it is taken in: campaign as TOML, radio, where the simulated air is, calibration."""

    campaign: str
    radio: str
    air: str | None
    options: PlutoOptions = PlutoOptions()


def run_agent(connect: str, index: int, keys: Path, iq: Path | None = None) -> int:
    """Serve the controller at `connect` as node `index` until it says farewell; the exit code.

    Args:
        connect: address of the controller.
        index: number of the node.
        keys: folder of keys.
        iq: folder for recorded samples, if the campaign wants any.

    Raises:
        TestbedError: the controller refuses, keys are missing, the radio cannot be opened.
    """
    signal.signal(signal.SIGTERM, _terminate)
    log = logger(node=index)
    warm_modem()
    with ExitStack() as stack, Spoke(connect, client_keys(keys, index), index) as spoke:
        setup = msgspec.json.decode(spoke.join(JOIN_S), type=Setup)
        campaign = Campaign.from_text(setup.campaign)
        radio = stack.enter_context(Latched(_radio(campaign, setup, index, keys, stack)))
        node = local_node(campaign, check(campaign), index, recorded(radio, campaign, index, iq, stack))
        log.info("joined", controller=connect, campaign=campaign.name, radio=radio.address)
        reason = spoke.serve(serve_node(node), on_quiet=_in_background(radio.latch))
        log.info("left", reason=reason)
    return 0


def _radio(campaign: Campaign, setup: Setup, index: int, keys: Path, stack: ExitStack) -> Radio:
    ether = None
    if setup.air is not None:
        ether = RemoteEther(stack.enter_context(Client(setup.air, client_keys(keys, index, "air"))))
    return open_radio(setup.radio, unit=index, ether=ether, permit=transmit_permit(campaign), options=setup.options)


def _in_background(silence: Callable[[], None]) -> Callable[[], None]:
    """The link's own thread must not wait for a radio."""
    return lambda: threading.Thread(target=silence, name="silence", daemon=True).start()


def _terminate(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
