"""One process a node, linked by sockets: the fleet of a real run."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from testbed.agents.agent import Setup
from testbed.agents.assemble import air_settings
from testbed.agents.calibrated import Calibrated
from testbed.agents.paths import key_folder
from testbed.agents.processes import Children
from testbed.agents.ward import Ward
from testbed.agents.warm import warm_scheduler
from testbed.campaign import VIRTUAL, Campaign
from testbed.errors import LinkError
from testbed.fleet import Care, Fleet
from testbed.link.hub import Hub
from testbed.link.keys import ensure_keys, server_keys
from testbed.link.remote import Patience, RemoteNode
from testbed.radio.pluto_steps import PlutoOptions

JOIN_S = 120.0
HUB_ADDRESS = "tcp://127.0.0.1:*"


def check_keys(campaign: Campaign) -> Path:
    """The folder with a key pair for everybody in the run; what is missing is made.

    Raises:
        KeyFileError: the folder cannot be written, or a key is damaged or readable by others.
    """
    folder = key_folder()
    ensure_keys(folder, campaign.nodes.count)
    server_keys(folder, campaign.nodes.count)
    return folder


def check_descriptors(nodes: int) -> None:
    """Return where the controller, and each agent, may open as many files as they need.

    Raises:
        LinkError: they may not.
    """
    allowed, needed = resource.getrlimit(resource.RLIMIT_NOFILE)[0], 64 + 4 * nodes
    if 0 <= allowed < needed:
        raise LinkError(f"a process may open {allowed} files here, {nodes} nodes need {needed}: ulimit -n {needed}")


@contextmanager
def remote_fleet(
    campaign: Campaign, logs: Path, iq: Path | None = None, known: Calibrated | None = None
) -> Iterator[Fleet]:
    """Starts the simulated air, if radios need one, and an agent for each node; leaving ends them all.

    Args:
        campaign: the whole campaign.
        logs: folder for what processes say.
        iq: folder for recorded samples, if the campaign wants any.
        known: calibration of the radios.

    Raises:
        LinkError: an agent did not come up; the message says which and why.
    """
    K, keys = campaign.nodes.count, check_keys(campaign)
    with ExitStack() as stack:
        children = stack.enter_context(Children(logs))
        pool = stack.enter_context(ThreadPoolExecutor(K, "ask"))  # left after the hub, whose end answers who waits
        air, radios = _start_air(campaign, children, keys)
        options = known.options if known else (PlutoOptions(),) * K
        setups = [
            msgspec.json.encode(Setup(campaign.text(), *its)).decode()
            for its in zip(radios, [air] * K, options, strict=True)
        ]
        state = Path(stack.enter_context(TemporaryDirectory(prefix="testbed-")))
        hub = stack.enter_context(Hub(HUB_ADDRESS, server_keys(keys, K), K, setups))
        ward = stack.enter_context(Ward(hub, children, [_guard(hub.address, k, keys, state, iq) for k in range(K)]))
        warm_scheduler()
        _wait_joined(hub, ward)
        care = Care(
            quiet=lambda: children.tell_all(b"quiet\n"),
            back=lambda k: hub.incarnation(k) != 0 and not ward.given_up(k),
            given_up=ward.given_up,
        )
        patience = Patience(campaign.nodes.patience_s)
        yield Fleet([RemoteNode(hub, k, patience) for k in range(K)], pool.map, care)


def _guard(connect: str, node: int, keys: Path, state: Path, iq: Path | None) -> list[str]:
    where = [f"--keys={keys}", f"--state={state / f'node-{node}'}", *([] if iq is None else [f"--iq={iq}"])]
    return ["agent", f"--connect={connect}", f"--index={node}", *where, "--with-parent"]


def _start_air(campaign: Campaign, children: Children, keys: Path) -> tuple[str | None, list[str]]:
    """What is simulated is started; the address of the air, and of each node's radio."""
    K, radio = campaign.nodes.count, campaign.radio
    if radio.addresses is not None:
        return None, radio.addresses
    settings = msgspec.json.encode(air_settings(campaign)).decode()
    if radio.address == VIRTUAL:
        children.start(VIRTUAL, [VIRTUAL, f"--units={K}", f"--air={settings}", "--with-parent"], lasting=True)
        return None, [f"pluto:{children.next_line(VIRTUAL, JOIN_S)}" for _ in range(K)]
    children.start("air", ["air", f"--settings={settings}", f"--keys={keys}"], lasting=True)
    return children.next_line("air", JOIN_S), [radio.address] * K


def _wait_joined(hub: Hub, ward: Ward) -> None:
    """Until all nodes are there; a node that never will be is not waited for."""
    deadline = time.monotonic() + JOIN_S
    while not all(hub.alive()):
        lost = [f"node {k} {reason}" for k, reason in ward.lost().items()]
        if lost:
            raise LinkError("; ".join(lost))
        if time.monotonic() >= deadline:
            hub.wait_joined(0.0)
        time.sleep(0.01)
