"""READ FIRST. One round: one layer of the model, computed by all nodes together over the air.

    sound → gate → schedule → forward → expert → return → aggregate → record

`run_round` tells it top to bottom; each line opens a room. The round knows only the `Node` protocol: nodes
may live in this process or behind sockets, with real or simulated radios.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from testbed.deciding import Decide
from testbed.exchange import FrameCounter, Tally, exchange
from testbed.fleet import Crew
from testbed.outcome import Energy, Measured, RoundRecord
from testbed.plan import Plan, RoundSettings, decide, pose, rates
from testbed.protocol import Aggregated
from testbed.schedule.problem import Problem

Clock = Callable[[], float]
"""Monotonic seconds."""


@dataclass
class Stopwatch:
    """Wall time of each phase by name."""

    clock: Clock
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time spent inside the block to `name`."""
        start = self.clock()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + self.clock() - start


def run_round(
    number: int,
    layer: int,
    crew: Crew,
    settings: RoundSettings,
    frames: FrameCounter,
    clock: Clock,
    previous: Plan | None = None,
    sources: Collection[int] | None = None,
    decide: Decide = decide,
) -> tuple[RoundRecord, Plan]:
    """One layer for every token of the live nodes among `sources`; all live nodes lend their experts.

    Nodes that die are left out from then on: their tokens stay behind, and tokens of others that had
    chosen their experts choose again among the rest.

    Args:
        number: number of the round in the run.
        layer: 0…L−1.
        crew: the nodes.
        settings: quality, energy and transmission settings.
        frames: source of frame numbers, never repeated in a run.
        clock: monotonic seconds, for the record's timings.
        previous: plan of the round before, a warm start.
        sources: nodes whose tokens take part, all where None.
        decide: makes the plan.

    Returns:
        The record of the round, and its plan.
    """
    watch = Stopwatch(clock)
    with watch.phase("sound"):
        measured, sounding_s = sound(crew, frames, settings)
    with watch.phase("gate"):
        gated = crew.gate(layer, crew.alive() if sources is None else sources)
        scores = {k: answer.score for k, answer in gated.items()}
    with watch.phase("schedule"):
        plan = decide(settings, pose_alive(crew, settings, layer, scores, measured), measured, previous)

    plan, forward, back, computed = serve(crew, settings, layer, frames, watch, scores, measured, plan, decide)
    with watch.phase("aggregate"):
        endings = crew.aggregate(layer, {k: plan.rows_of(k) for k in crew.alive()})

    lost, fallback = token_endings(plan, endings)
    overhead_j = forward.overhead_j + back.overhead_j + settings.full_band_power_w * sounding_s
    record = RoundRecord(
        number=number,
        layer=layer,
        alive=crew.alive_mask(),
        measured=measured,
        source=plan.problem.source,
        score=plan.problem.score,
        selected=plan.decision.selected,
        relaxed=plan.decision.relaxed,
        lost=lost,
        fallback=fallback,
        qos=settings.qos(layer),
        predicted=plan.predicted,
        spent=Energy(
            computation=computation_j(settings, plan, computed, fallback),
            forward=forward.energy_j,
            back=back.energy_j,
            overhead=overhead_j,
        ),
        bound_j=plan.decision.bound_j,
        status=plan.decision.status.name,
        forward=forward.traffic(plan.forward),
        back=back.traffic(plan.back),
        constellation=forward.constellation,
        constellation_link=forward.constellation_link,
        seconds=watch.seconds,
        events=crew.take_events(),
    )
    return record, plan


def sound(crew: Crew, frames: FrameCounter, settings: RoundSettings) -> tuple[Measured, float]:
    """Each live node in turn sounds its radio, all others listen; the channel knowledge and the air time."""
    return crew.sound([frames.next() for _ in range(len(crew))], settings.grid.used.size)


def pose_alive(
    crew: Crew,
    settings: RoundSettings,
    layer: int,
    scores: dict[int, NDArray[np.float64]],
    measured: Measured,
) -> Problem:
    """The scheduling problem with the nodes that are alive now; the others are reached by nobody."""
    return pose(settings, layer, scores, rates(settings, measured, crew.alive_mask()))


def serve(
    crew: Crew,
    settings: RoundSettings,
    layer: int,
    frames: FrameCounter,
    watch: Stopwatch,
    scores: dict[int, NDArray[np.float64]],
    measured: Measured,
    plan: Plan,
    decide: Decide,
) -> tuple[Plan, Tally, Tally, dict[int, int]]:
    """States to experts, and results back: the last plan, both phases' accounts, states computed by node.

    When nodes die in it, all tokens choose again among the living, and only what is missing travels.
    """
    forward, back = Tally.empty(*plan.decision.selected.shape), Tally.empty(*plan.decision.selected.shape)
    computed: dict[int, int] = {}
    while True:
        alive, selected = crew.alive(), plan.decision.selected
        with watch.phase("forward"):
            exchange(crew, settings, layer, "forward", plan, selected & ~forward.delivered, frames, forward)
        if crew.alive() == alive:
            with watch.phase("expert"):
                computed = crew.compute(layer, {k: plan.rows_of(k) for k in alive})
            with watch.phase("return"):
                there = forward.delivered & selected & crew.alive_mask()[None, :]
                exchange(crew, settings, layer, "return", plan, there & ~back.delivered, frames, back)
        if crew.alive() == alive:
            return plan, forward, back, computed
        with watch.phase("schedule"):
            plan = decide(settings, pose_alive(crew, settings, layer, scores, measured), measured, None)


def token_endings(plan: Plan, endings: dict[int, Aggregated]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(N,) lost and (N,) fallback over all tokens; a dead node's tokens are lost."""
    lost = np.ones(plan.problem.source.size, np.bool_)
    fallback = np.zeros(plan.problem.source.size, np.bool_)
    for k, ending in endings.items():
        mine = plan.problem.source == k
        lost[mine], fallback[mine] = ending.lost, ending.fallback
    return lost, fallback


def computation_j(
    settings: RoundSettings, plan: Plan, computed: dict[int, int], fallback: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(K,) joule at each node's price a token: states of others it computed, and its own tokens."""
    tokens = np.zeros(len(settings.compute_energy_j))
    for k, count in computed.items():
        own = plan.problem.source == k
        tokens[k] = count + (own & (plan.decision.selected[:, k] | fallback)).sum()
    return tokens * settings.compute_energy_j
