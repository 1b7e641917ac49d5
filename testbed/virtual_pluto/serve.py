"""Several virtual Plutos on one air, for `testbed virtual-pluto` and for tests."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import threading
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from testbed.errors import RadioError
from testbed.radio.air import AirSettings
from testbed.virtual_pluto.aether import Aether
from testbed.virtual_pluto.buffers import ReceiveStream
from testbed.virtual_pluto.clock import ClockName, LogicalClock, WallClock
from testbed.virtual_pluto.server import PORT, Server
from testbed.virtual_pluto.state import Identity
from testbed.virtual_pluto.unit import Unit

FIRST_HOST: Final = "127.0.0.2"
OWN_GAIN_DB: Final = -50.0
"""From a unit's transmit antenna to its receive antenna: about two rubber antennas side by side (assumed)."""
MOST_UNITS: Final = 64
LAST_PORT: Final = 65_535


def default_air(units: int, seed: int) -> AirSettings:
    """Units on one desk: 50 dB between any two of them, light multipath, crystals within ±10 ppm."""
    rng = np.random.default_rng([seed, 0])
    return AirSettings(
        profile="TDL-E",
        delay_spread_s=30e-9,
        doppler_hz=0.0,
        path_gain_db=tuple((-50.0,) * units for _ in range(units)),
        clock_ppm=tuple(float(ppm) for ppm in rng.uniform(-10, 10, units)),
        noise_figure_db=6.0,
        full_scale_dbm=7.0,
        reciprocal=True,
        seed=seed,
    )


def make_units(air: AirSettings, clock: ClockName, own_gain_db: float | None = OWN_GAIN_DB) -> list[Unit]:
    """The units of an air, with serial numbers that follow from seed and number."""
    aether = Aether(air, LogicalClock() if clock == "logical" else WallClock(), own_gain_db)
    return [Unit(k, aether, Identity(serial=f"virtual{air.seed:08x}{k:04d}")) for k in range(air.units)]


@functools.cache
def warm_up() -> None:
    """Load the compiled loops, once a process, on an air of its own: no client's time-out must run while they build."""
    unit = make_units(default_air(1, 0), "logical", own_gain_db=0.0)[0]
    unit.repeat(np.ones(64, np.complex64))
    ReceiveStream(unit, 64, 0b11).next_block(threading.Event())


def hosts(first_host: str, count: int) -> list[str]:
    """`count` IPv4 addresses from the first on.

    Raises:
        RadioError: no IPv4 address, or not so many behind it.
    """
    try:
        first = ipaddress.IPv4Address(first_host)
        return [str(first + k) for k in range(count)]
    except ValueError as error:
        raise RadioError(f"first address {first_host!r}: {error}; give an IPv4 address such as {FIRST_HOST}") from error


@contextlib.contextmanager
def serving(
    air: AirSettings,
    *,
    first_host: str = FIRST_HOST,
    port: int = PORT,
    clock: ClockName = "logical",
    own_gain_db: float | None = OWN_GAIN_DB,
) -> Iterator[list[Server]]:
    """Servers of all units of an air, listening within the block; port 0 lets the system choose.

    Raises:
        RadioError: an impossible port, or an address that cannot be listened on.
    """
    if not 0 <= port <= LAST_PORT:
        raise RadioError(f"port = {port} must lie in 0…{LAST_PORT}: 0 takes any free one")
    warm_up()
    units = make_units(air, clock, own_gain_db)
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(Server(unit, host, port))
            for unit, host in zip(units, hosts(first_host, len(units)), strict=True)
        ]


def serve(
    units: int,
    first_host: str,
    port: int,
    clock: ClockName,
    seed: int,
    announce: Callable[[str], None],
    stop: threading.Event,
    air: AirSettings | None = None,
) -> None:
    """Serve virtual Plutos until told to stop.

    Args:
        units: how many, each on an address of its own.
        first_host: address of the first; the next ones follow.
        port: on all addresses; 30431 is where clients look.
        clock: logical (deterministic, as fast as possible) or wall.
        seed: of everything drawn.
        announce: told one line a unit once all of them listen: its URI.
        stop: set it to end.
        air: channels between them; a desk if None.

    Raises:
        RadioError: an impossible number of units, port or seed, or an address that cannot be listened on.
    """
    if seed < 0:
        raise RadioError(f"seed = {seed} must not be negative")
    if not 1 <= units <= MOST_UNITS or (air is not None and air.units != units):
        raise RadioError(f"units = {units} must lie in 1…{MOST_UNITS} and agree with the air")
    with serving(air or default_air(units, seed), first_host=first_host, port=port, clock=clock) as servers:
        for server in servers:
            announce(server.uri)
        stop.wait()
