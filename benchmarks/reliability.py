"""How soon faults are noticed and mended, and that nothing is lost by them: processes that are really killed.

    python -m benchmarks.reliability [--rounds 200] [--times 10] [--json FILE]

Scenes are those of the tests in `tests/system/test_faults_*.py`, played often enough for a median and a maximum: eight
agents on simulated radios, a carrier at a virtual Pluto whose state is read on its other side, and messages that a
man in the middle drops, repeats, delays and cuts. Seconds of wall time; a loaded machine makes them longer. Messages a
second are of processor time.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from testbed.agents.panic import arm, panic
from testbed.agents.processes import Children
from testbed.errors import LinkError
from testbed.link.codec import pack, unpack
from testbed.link.keys import ensure_keys
from testbed.link.messages import ToController
from testbed.virtual_pluto.serve import serving
from tests.system import test_faults_agents as agents
from tests.system import test_faults_messages as messages
from tests.system.fault_proxy import FaultProxy, Toxics
from tests.system.test_faults_guard import Scene, on_stage
from tests.unit.link.test_codec import example_messages, mutated
from tests.unit.virtual_pluto.wires import air

SEED = 20250317
NODES = 8


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    what: str
    aim: str
    times: int
    median: float
    worst: float
    unit: str = "s"


def main() -> None:
    """Print the table, and write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    rng = np.random.default_rng(SEED)
    figures: list[Figure] = []
    for part in (
        lambda: killed(asked.rounds),
        lambda: stopped(asked.rounds // 4),
        lambda: silenced(asked.times),
        lambda: messages_lost(rng),
        lambda: malformed(rng),
    ):
        for figure in part():
            figures.append(figure)
            print(line(figure), flush=True)
    if asked.json:
        asked.json.write_text(json.dumps([figure.__dict__ for figure in figures], indent=1))


def line(figure: Figure) -> str:
    """A figure as a line of the table."""
    value = f"p50 {figure.median:9.4g}   max {figure.worst:9.4g} {figure.unit}"
    return f"{figure.what:58s} {figure.times:6d} ×   {value:36s} aim {figure.aim}"


def spread(what: str, aim: str, values: list[float]) -> Figure:
    """Median and maximum of `values`, without those that were not reached before the run's end."""
    known = [value for value in values if not np.isnan(value)]
    return Figure(what, aim, len(known), float(np.median(known)), max(known))


def struck(rounds: int, share: float, number: int) -> tuple[list[agents.Blow], int, int]:
    """Blows to one of eight agents; tokens short of an expert whom no fade cut off; tokens missing or counted twice."""
    campaign = agents.small(NODES, rounds // 4, 1)
    aim = agents.at_random(np.random.default_rng(SEED), rounds * 80, max(int(rounds * share), 1))
    with tempfile.TemporaryDirectory() as folder:
        story, blows = agents.struck_run(campaign, Path(folder), aim, agents.send(number))
    expected = campaign.nodes.count * campaign.nodes.tokens * campaign.passes * agents.check(campaign).layers
    return blows, max(0, story.totals.lost - story.totals.given_up), abs(len(agents.endings(story)) - expected)


def killed(rounds: int) -> Iterator[Figure]:
    """SIGKILL at random steps of the protocol."""
    blows, lost, miscounted = struck(rounds, 0.2, signal.SIGKILL)
    yield spread("agent killed → noticed", "", [blow.dropped - blow.struck for blow in blows])
    yield spread("agent killed → its work goes on elsewhere", "≤ 0.5 s", [blow.moved - blow.struck for blow in blows])
    yield spread("agent killed → another in its place", "≤ 3 s", [blow.back - blow.struck for blow in blows])
    yield Figure(f"tokens lost or miscounted in {rounds} rounds", "0", 1, lost, lost + miscounted, "tokens")


def stopped(rounds: int) -> Iterator[Figure]:
    """SIGSTOP at random steps."""
    blows, lost, miscounted = struck(rounds, 0.2, signal.SIGSTOP)
    yield spread("agent stopped → noticed", "≤ 1 s", [blow.dropped - blow.struck for blow in blows])
    yield spread("agent stopped → another in its place", "≤ 4 s", [blow.back - blow.struck for blow in blows])
    yield Figure(f"tokens lost or miscounted in {rounds} rounds", "0", 1, lost, lost + miscounted, "tokens")


def silenced(times: int) -> Iterator[Figure]:
    """Seconds from what happened to a silent Pluto that had a carrier on the air."""
    scenes: list[tuple[str, str, Callable[[Scene, Path], object]]] = [
        ("agent killed → radio silent", "≤ 0.5 s", lambda scene, keys: scene.agent().kill()),
        ("agent stopped → radio silent", "≤ 1 s", lambda scene, keys: scene.agent().suspend()),
        ("controller gone without a word → radio silent", "≤ 1 s", lambda scene, keys: scene.hub._loop.stop()),  # noqa: SLF001
        ("controller killed (pipe ends) → radio silent", "≤ 1 s", lambda scene, keys: scene.guard.hang_up()),
        ("testbed panic → radio silent", "≤ 0.25 s", lambda scene, keys: panic(keys)),
    ]
    for what, aim, act in scenes:
        yield spread(what, aim, [time_to_silence(act) for _ in range(times)])


def time_to_silence(act: Callable[[Scene, Path], object]) -> float:
    """Of one scene with processes of its own."""
    with stage() as (scene, keys):
        with contextlib.redirect_stdout(io.StringIO()):
            took = scene.quiet_after(lambda: act(scene, keys))
        arm(keys)
    return took


@contextmanager
def stage() -> Iterator[tuple[Scene, Path]]:
    """An agent with a carrier on the air, and its folder of keys."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ensure_keys(folder / "keys", 2)
        with (
            Children(folder / "logs") as children,
            serving(air(1), first_host="127.0.0.1", port=0) as servers,
            on_stage((children, folder), servers[0]) as scene,
        ):
            yield scene, folder / "keys"


def messages_lost(rng: np.random.Generator) -> Iterator[Figure]:
    """2 % each of messages dropped, repeated, overtaken and truncated: are all answers right?"""
    toxics, count = Toxics(drop=0.02, duplicate=0.02, reorder=0.02, truncate=0.02), 200
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            messages.hub_with_keys(folder, messages.NODES) as hub,
            FaultProxy(hub.address, folder / "keys", messages.NODES, toxics, rng) as proxy,
            messages.agents_at(proxy.address, folder, messages.NODES),
        ):
            hub.wait_joined(30.0)
            wrong, _ = messages.converse_with_all(hub, messages.NODES, count)
            faults = sum(proxy.done.values())
    yield Figure(f"wrong answers under {faults} faults of messages", "0", count * messages.NODES, 0, len(wrong), "")


def malformed(rng: np.random.Generator) -> Iterator[Figure]:
    """How fast mutated messages are looked at; a crash would end this program."""
    frames = [pack(message) for message in example_messages(rng) if isinstance(message, ToController)]
    bad = [mutated([bytes(f) for f in frames[k % len(frames)]], rng) for k in range(20_000)]
    refused, begin = 0, time.process_time()
    for each in bad:
        try:
            unpack(each, ToController)
        except LinkError:
            refused += 1
    rate = len(bad) / (time.process_time() - begin)
    yield Figure(f"mutated messages a second ({refused / len(bad):.0%} refused)", "≥ 1e5", len(bad), rate, rate, "1/s")


if __name__ == "__main__":
    main()
