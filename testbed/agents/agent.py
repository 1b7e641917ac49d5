"""The process of one node: joins a controller, opens its radio, does what rounds ask, and joins again.

The radio is silenced at the end of a membership, whoever ended it: a farewell, a lease that ran out because the
controller fell silent, an error, a signal. What this process cannot do any more, its guard does.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

import msgspec

from testbed.agents.assemble import check, local_node, node_permit
from testbed.agents.ether import RemoteEther
from testbed.agents.guard import Post, run_guard
from testbed.agents.iq import recorded
from testbed.agents.log import logger
from testbed.agents.nursery import set_name
from testbed.agents.pulse import Pulse
from testbed.agents.shelf import FileShelf
from testbed.agents.warm import warm_modem
from testbed.campaign import Campaign
from testbed.errors import LinkError
from testbed.link.keys import client_keys
from testbed.link.remote import serve_node
from testbed.link.service import Client
from testbed.link.spoke import Spoke
from testbed.radio.base import Radio
from testbed.radio.latch import Latched
from testbed.radio.open import open_radio
from testbed.radio.pluto_steps import PlutoOptions

JOIN_S = 30.0
LONGEST_PAUSE_S = 5.0
"""Between attempts to join a controller that refuses or does not answer."""


class Setup(msgspec.Struct, frozen=True):
    """What an agent is told when it is taken in: campaign as TOML, radio, where the simulated air is, calibration."""

    campaign: str
    radio: str
    air: str | None
    options: PlutoOptions = PlutoOptions()


def run_agent(connect: str, post: Post) -> int:
    """Guard an agent that serves the controller at `connect` as node `post.index` until that says farewell.

    Returns:
        The exit code: 0 after a farewell, 1 when agents die at once each time.

    Raises:
        KeyFileError: a key is missing, damaged, or readable by others.
    """
    client_keys(post.keys, post.index)
    warm_modem()
    set_name(f"guard {post.index}")
    return run_guard(post, lambda shelf, pulse: serve(connect, post, FileShelf(shelf), pulse))


def serve(connect: str, post: Post, shelf: FileShelf, pulse: Pulse) -> int:
    """One membership after another, until the controller says farewell.

    Raises:
        LinkError: with a parent, the controller does not take this node in.
        TestbedError: the radio cannot be opened.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(_why_ended(pulse)))
    log, pause_s = logger(node=post.index), 0.1
    with Spoke(connect, client_keys(post.keys, post.index), post.index) as spoke:
        while not spoke.dismissed:
            pulse.say("settled")
            try:
                setup = msgspec.json.decode(spoke.join(JOIN_S), type=Setup)
            except LinkError as error:
                if post.with_parent:
                    raise
                log.info("not joined", error=str(error))
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            pause_s = 0.1
            log.info("left", reason=_member(spoke, setup, post, shelf, pulse))
    return 0


def _member(spoke: Spoke, setup: Setup, post: Post, shelf: FileShelf, pulse: Pulse) -> str:
    """One membership; why it ended."""
    log = logger(node=post.index)
    with ExitStack() as stack:
        campaign = Campaign.from_text(setup.campaign)
        pulse.say("radio", setup.radio, setup.air or "")
        radio = stack.enter_context(Latched(_radio(campaign, setup, post, stack)))
        node = local_node(
            campaign, check(campaign), post.index, recorded(radio, campaign, post.index, post.iq, stack), shelf
        )
        log.info("joined", campaign=campaign.name, radio=radio.address)

        def quiet() -> None:
            pulse.say("adrift")
            _in_background(radio.latch)

        return spoke.serve(serve_node(node), on_quiet=quiet)


def _radio(campaign: Campaign, setup: Setup, post: Post, stack: ExitStack) -> Radio:
    ether = None
    if setup.air is not None:
        ether = RemoteEther(stack.enter_context(Client(setup.air, client_keys(post.keys, post.index, "air"))))
    permit = node_permit(campaign)
    return open_radio(setup.radio, unit=post.index, ether=ether, permit=permit, options=setup.options)


def _in_background(silence: Callable[[], None]) -> None:
    """The link's own thread must not wait for a radio."""
    threading.Thread(target=silence, name="silence", daemon=True).start()


def _why_ended(pulse: Pulse) -> str:
    return "lost its guard" if pulse.orphaned else "was told to end"
