"""Compiled kernels, made once at installation and loaded before anybody waits for them.

`python -m testbed.agents.warm` compiles them all; the processes of a run load theirs while they start.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from testbed.agents.fading_world import FadingWorld, Levels
from testbed.csi.sound import sound
from testbed.errors import RadioError
from testbed.ofdm.frame import Header, Link, demodulate, modulate
from testbed.ofdm.grid import PRESETS
from testbed.ofdm.mcs import choose_mcs, spectral_efficiency
from testbed.ofdm.sounding import sounding_frame
from testbed.radio.air import Air, AirSettings
from testbed.radio.base import RadioSettings
from testbed.radio.pluto_connect import libraries
from testbed.schedule.assign import assign_many, assign_subcarriers
from testbed.schedule.candidates import candidate_lists
from testbed.schedule.fill import fill_idle
from testbed.schedule.policy import schedule
from testbed.schedule.problem import Problem
from testbed.schedule.select import select_experts
from testbed.virtual_pluto.serve import warm_up

GRID = PRESETS["demo"]
SETTINGS = AirSettings(
    profile="TDL-A",
    delay_spread_s=1e-7,
    doppler_hz=1.0,
    path_gain_db=((0.0, -60.0), (-60.0, 0.0)),
    clock_ppm=(0.0, 1.0),
    noise_figure_db=8.0,
    full_scale_dbm=7.0,
    reciprocal=False,
    seed=0,
)


@functools.cache
def warm_modem() -> None:
    """What a node uses: a sounding and a frame, there and back."""
    sound(GRID, np.tile(sounding_frame(GRID, Header(0, 0, 1), 2), 2))
    for mcs in (0, 2, 4, 6, 8):
        link = Link(np.arange(8), mcs, blocks=2, block_bytes=130)
        wave = modulate(GRID, Header(0, 1, 1), [link], [np.zeros((2, 130), np.uint8)])
        demodulate(GRID, np.tile(wave, 2), link)


@functools.cache
def warm_air() -> None:
    """What the simulated air uses."""
    air = Air(SETTINGS)
    for unit in (0, 1):
        air.configure(unit, RadioSettings(GRID.sample_rate_hz, 2.45e9))
    air.transmit(0, np.full(600, 0.1, np.complex64))
    air.receive(1, 600)


def warm_children() -> None:
    """What the processes of a run use, before they are forked."""
    from testbed.agents import agent, air, virtual  # noqa: F401 - loaded for the children

    warm_modem()
    warm_air()
    with contextlib.suppress(RadioError):
        libraries()


def warm_scheduler(subcarriers: Sequence[int] = (192, 14)) -> None:
    """What the controller uses: plenty of subcarriers, so few that links compete."""
    for each in subcarriers:
        problem = _problem(each)
        first = schedule(problem)
        fill_idle(problem, schedule(problem, previous=first), 1.5)


def warm_calls() -> None:
    """What someone calls with arrays of their own; a problem's are read-only, which is another type to the compiler."""
    own, cost = np.full((2, 2), 0.5), np.ones((2, 4))
    for bound in ("both", "lp"):
        select_experts(own, own, 0.5, 2, bound=bound)
    assign_subcarriers(cost, np.ones(2))
    lists = candidate_lists(cost)
    assign_subcarriers(cost, np.ones(2), candidates=lists)
    assign_many(lists, own)


def _problem(subcarriers: int) -> Problem:
    rng = np.random.default_rng(0)
    rate = rng.uniform(1e4, 9e4, (4, 4, subcarriers))
    return Problem(
        score=rng.dirichlet(np.ones(4), 64),
        source=np.repeat(np.arange(4), 16),
        rate_bps=rate,
        return_rate_bps=rate,
        payload_bits=1000,
        tx_power_w=1e-6,
        compute_energy_j=np.full(4, 1e-7),
        qos=0.8,
        max_experts=2,
    )


def warm_links() -> None:
    """What nodes without waveforms use, and link adaptation."""
    choose_mcs(np.ones(2), 0.0)
    spectral_efficiency(np.ones(2, np.float32))
    FadingWorld(SETTINGS, GRID, Levels(0.0, 2)).sound(np.arange(2), 1e-3)


def _warm_deciding() -> None:
    warm_scheduler((192, 14, 8))  # the last: fewer than links, where a solver may be asked, which takes long to load
    warm_calls()


def _warm_radios() -> None:
    warm_modem()
    warm_air()
    warm_links()
    warm_up()


if __name__ == "__main__":
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        for part in [pool.submit(work) for work in (_warm_deciding, _warm_radios)]:
            part.result()
