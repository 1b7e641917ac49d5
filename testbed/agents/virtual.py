"""Virtual Plutos as a process: for `testbed virtual-pluto`, and for runs that start their own."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable

import msgspec

from testbed.radio.air import AirSettings
from testbed.virtual_pluto.clock import ClockName
from testbed.virtual_pluto.serve import serve


def run_virtual_plutos(
    units: int,
    first_host: str,
    port: int,
    clock: ClockName,
    seed: int,
    announce: Callable[[str], None],
    *,
    air: str | None = None,
    with_parent: bool = False,
) -> None:
    """Serve until SIGINT or SIGTERM; units, addresses, clock and seed as in `testbed.virtual_pluto.serve`.

    `air` is `AirSettings` as JSON, a desk of units where None; `with_parent` also stops when standard input
    ends, that is when the parent is gone.

    Raises:
        RadioError: an address that cannot be listened on, or an impossible number of units.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: stop.set())
    if with_parent:
        threading.Thread(target=_stop_with_parent, args=(stop,), daemon=True).start()
    settings = None if air is None else msgspec.json.decode(air, type=AirSettings)
    serve(units, first_host, port, clock, seed, announce, stop, settings)


def _stop_with_parent(stop: threading.Event) -> None:
    sys.stdin.readline()
    stop.set()
