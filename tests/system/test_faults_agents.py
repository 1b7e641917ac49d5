"""Agents that are killed, stopped or hang: no token is lost or counted twice, and they are soon back."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest

from testbed.agents.assemble import check
from testbed.agents.conduct import RunTotals, conduct
from testbed.agents.local import local_fleet
from testbed.agents.remote import remote_fleet
from testbed.campaign import Campaign, load_campaign
from testbed.fleet import Fleet
from testbed.outcome import RoundRecord
from testbed.record.rows import Predictions

VERBS = ["begin", "sound", "measure", "gate", "send", "receive", "compute", "aggregate", "predict"]
CALM = 20
"""Rounds of an undisturbed run that a disturbed one is held against."""
SLACK_S = 2.0
"""On top of the promised times, for a machine with more to do than this test."""


@dataclass
class Story:
    """A run, as it was lived through."""

    records: list[RoundRecord] = field(default_factory=list)
    predictions: list[Predictions] = field(default_factory=list)
    totals: RunTotals = field(default_factory=RunTotals)

    def events(self) -> list[str]:
        return [event for record in self.records for event in record.events]


@dataclass
class Blow:
    """What befalls a node, and when it was noticed and mended (monotonic seconds)."""

    node: int
    struck: float
    dropped: float = float("nan")
    moved: float = float("nan")
    back: float = float("nan")


class Struck(Fleet):
    """A fleet whose nodes are struck when a certain verb is about to be asked of them."""

    aim: Callable[[str, int], bool]
    strike: Callable[[int], None]
    blows: list[Blow]

    @classmethod
    def of(cls, fleet: Fleet, aim: Callable[[str, int], bool], strike: Callable[[int], None]) -> Struck:
        fleet.__class__ = cls
        assert isinstance(fleet, cls)
        fleet.aim, fleet.strike, fleet.blows = aim, strike, []
        return fleet

    def _try(self, k: int, verb):
        class Spy:
            """Sees which verb is asked, just before it is."""

            def __getattr__(spy, name: str) -> object:  # noqa: N805
                if name in VERBS and self.aim(name, k):
                    self.blows.append(Blow(k, time.monotonic()))
                    self.strike(k)
                return getattr(self._nodes[k], name)

        try:
            return verb(Spy()), None
        except Exception as error:
            if type(error).__name__ not in ("NodeLost", "NodeFailed"):
                raise
            return None, error

    def drop(self, k: int, error: Exception) -> None:
        super().drop(k, error)
        for blow in self.blows:
            if blow.node == k and np.isnan(blow.dropped):
                blow.dropped = time.monotonic()

    def ask(self, among, verb):
        for blow in self.blows:  # the round goes on
            if np.isnan(blow.moved) and not np.isnan(blow.dropped):
                blow.moved = time.monotonic()
        return super().ask(among, verb)

    def _welcome(self, nodes) -> None:
        super()._welcome(nodes)
        for blow in self.blows:
            if blow.node in nodes and np.isnan(blow.back):
                blow.back = time.monotonic()


def small(nodes: int, passes: int, seed: int, **more: object) -> Campaign:
    overrides: dict[str, object] = {
        "model.name": "eight",
        "nodes.count": nodes,
        "nodes.tokens": 2,
        "nodes.context": 4,
        "nodes.compute_energy_j": 1e-10,
        "passes": passes,
        "channel.snr_db": 35.0,
        "schedule.scheduler": "top-1",
        "schedule.max_experts": 1,
        "schedule.fill_energy_factor": 100.0,
        "transmission.repetitions": 1,
        "grid.preset": "small",
        "seed": seed,
    }
    return load_campaign(None, overrides | {key.replace("__", "."): value for key, value in more.items()})


def live_through(campaign: Campaign, fleet: Fleet, rounds: int = 1 << 60) -> Story:
    story = Story()

    def keep(record: RoundRecord, predictions: Predictions | None) -> None:
        story.records.append(record)
        story.predictions.extend([predictions] if predictions is not None else [])

    model = check(campaign)
    story.totals = conduct(
        campaign, model, fleet, on_round=keep, stopping=lambda: len(story.records) >= rounds, clock=time.monotonic
    )
    return story


def processes(kind: str) -> dict[int, psutil.Process]:
    """Agents or guards of this test, by node."""
    found = {}
    for child in psutil.Process().children(recursive=True):
        try:
            word, _, number = child.name().partition(" ")
        except psutil.NoSuchProcess:
            continue
        if word == kind:
            found[int(number)] = child
    return found


@contextmanager
def fleet_of(campaign: Campaign, folder: Path) -> Iterator[Fleet]:
    os.environ["TESTBED_KEYS"] = str(folder / "keys")
    try:
        with remote_fleet(campaign, folder / "logs") as fleet:
            yield fleet
    finally:
        del os.environ["TESTBED_KEYS"]


def send(number: int) -> Callable[[int], None]:
    def strike(node: int) -> None:
        if node in (found := processes("agent")):
            found[node].send_signal(number)

    return strike


def endings(story: Story) -> list[tuple[int, int]]:
    """(layer, node) of every token that ended a layer."""
    return [(record.layer, int(k)) for record in story.records for k in record.source]


def assert_every_token_once(campaign: Campaign, story: Story) -> None:
    K, N, B = campaign.nodes.count, campaign.nodes.tokens, campaign.passes
    L = check(campaign).layers
    assert sorted(endings(story)) == sorted((l, k) for l in range(L) for k in range(K) for _ in range(N * B))  # noqa: E741
    assert story.totals.tokens == K * N * B * L
    assert story.totals.lost == sum(int(record.lost.sum()) for record in story.records)
    nodes = np.concatenate([p.node for p in story.predictions])
    assert np.array_equal(np.bincount(nodes, minlength=K), np.full(K, N * B))


def by_batch(campaign: Campaign, story: Story) -> dict[tuple[int, int], tuple[bytes, bytes, bytes]]:
    """(batch, node) → targets, choices of all layers, predictions."""
    choices: dict[int, list[bytes]] = {k: [] for k in range(campaign.nodes.count)}
    ended: dict[int, list[Predictions]] = {k: [] for k in choices}
    for record in story.records:
        for k in np.unique(record.source):
            choices[int(k)].append(record.selected[record.source == k].tobytes())
    for p in story.predictions:
        for k in np.unique(p.node):
            ended[int(k)].append(p)
    L = check(campaign).layers
    return {
        (batch, k): (
            p.target[p.node == k].tobytes(),
            b"".join(choices[k][batch * L : (batch + 1) * L]),
            p.predicted[p.node == k].tobytes(),
        )
        for k in choices
        for batch, p in enumerate(ended[k])
    }


def assert_in_time(what: str, blows: list[Blow], **promised: float) -> None:
    """Each time is as promised at the median; the slack is for those that the machine kept waiting."""
    for name in ("dropped", "moved", "back"):
        times = np.array([getattr(blow, name) - blow.struck for blow in blows])
        median, longest = np.nanmedian(times), np.nanmax(times)
        sys.stdout.write(f"{what}: {len(blows)} blows, {name} p50 {median:.3f} max {longest:.3f} s\n")
        limit = promised.get(name, np.inf)
        assert median < limit, (name, times)
        assert longest < limit + SLACK_S, (name, times)


def at_random(rng: np.random.Generator, asked: int, blows: int) -> Callable[[str, int], bool]:
    """Aims `blows` times at whatever is asked of whomever, within the first `asked` requests."""
    plan, lock, count = sorted(rng.choice(asked, blows, replace=False)), threading.Lock(), 0

    def aim(verb: str, node: int) -> bool:
        nonlocal count
        with lock:
            count += 1
            return bool(plan) and count >= plan[0] and plan.pop(0) is not None

    return aim


def at(*places: tuple[str, int, int]) -> Callable[[str, int], bool]:
    """Aims at the n-th time that a verb is asked of a node."""
    seen: Counter[tuple[str, int]] = Counter()
    lock = threading.Lock()

    def aim(verb: str, node: int) -> bool:
        with lock:
            seen[verb, node] += 1
            return (verb, node, seen[verb, node]) in places

    return aim


def struck_run(
    campaign: Campaign, folder: Path, aim: Callable[[str, int], bool], strike: Callable[[int], None]
) -> tuple[Story, list[Blow]]:
    with fleet_of(campaign, folder) as fleet:
        struck = Struck.of(fleet, aim, strike)
        story = live_through(campaign, struck)
    return story, [blow for blow in struck.blows if not np.isnan(blow.dropped)]


@pytest.mark.timeout(3600)
def test_one_of_eight_killed_at_random_steps(tmp_path: Path, seed: int, request: pytest.FixtureRequest) -> None:
    rounds = 1000 if request.config.getoption("--long") else 200 if os.environ.get("CI") else 40
    campaign = small(8, rounds // 4, 1)
    with local_fleet(campaign, check(campaign)) as fleet:
        calm = live_through(campaign, fleet, CALM)
    aim = at_random(np.random.default_rng(seed), rounds * 80, rounds // 5)
    story, blows = struck_run(campaign, tmp_path, aim, send(signal.SIGKILL))
    assert_in_time("killed", blows, moved=0.5, back=3.0)
    assert_every_token_once(campaign, story)
    assert story.totals.rounds >= rounds
    assert len(blows) >= rounds // 8
    assert story.totals.lost <= story.totals.given_up  # fades, not deaths: who had chosen a dead expert chose another
    alike, other = by_batch(campaign, calm), by_batch(campaign, story)
    assert all(alike[at][0] == other[at][0] for at in alike)  # the same tokens
    same = [at for at in alike if alike[at][1] == other[at][1]]  # with the same experts
    assert len(same) > len(alike) / 3
    assert all(alike[at][2] == other[at][2] for at in same)  # end alike


def test_stopped_agents_are_killed_and_replaced(tmp_path: Path) -> None:
    campaign = small(3, 3, 1)
    aim = at(("gate", 1, 2), ("send", 0, 3), ("receive", 2, 5), ("aggregate", 1, 9), ("predict", 2, 3))
    story, blows = struck_run(campaign, tmp_path, aim, send(signal.SIGSTOP))
    assert_every_token_once(campaign, story)
    assert len(blows) >= 4
    assert_in_time("stopped", blows, dropped=1.0, back=4.0)


def test_an_agent_that_hangs_in_its_work_is_killed_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "testbed.agents.processes.NURSERY", (sys.executable, "-m", "tests.system.slow_nursery", "nursery")
    )
    monkeypatch.setenv("SLOW_NODES", str(tmp_path))
    campaign = small(3, 2, 1)

    def hang(node: int) -> None:
        (tmp_path / str(node)).write_text("60 once")

    story, blows = struck_run(campaign, tmp_path, at(("gate", 1, 3)), hang)
    assert_every_token_once(campaign, story)
    assert len(blows) == 1
    assert_in_time("hung", blows, dropped=1.0 + SLACK_S, back=4.0)
    assert any("did not answer 'gate' within" in event for event in story.events())


def test_a_slow_node_is_left_out_with_the_reason_on_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "testbed.agents.processes.NURSERY", (sys.executable, "-m", "tests.system.slow_nursery", "nursery")
    )
    monkeypatch.setenv("SLOW_NODES", str(tmp_path))
    (tmp_path / "2").write_text("1.4")
    monkeypatch.setattr("testbed.agents.conduct.REJOIN_S", 1.0)
    campaign = small(3, 1, 1, nodes__patience_s=1.0)
    with fleet_of(campaign, tmp_path) as fleet:
        story = live_through(campaign, fleet)
    assert any("node 2 did not answer 'gate' within 1 s" in event for event in story.events())
    gates = [record.seconds["gate"] for record in story.records]
    assert max(gates) < 1.1 + SLACK_S
    assert {int(k) for record in story.records for k in record.source} == {0, 1}
    assert story.totals.lost >= 4 * campaign.nodes.tokens
    assert story.totals.tokens == 4 * 3 * campaign.nodes.tokens


def test_a_killed_guard_is_replaced_and_its_agent_does_not_outlive_it(tmp_path: Path) -> None:
    campaign, seen = small(3, 4, 1), list[psutil.Process]()  # long enough to be noticed

    def kill_guard(node: int) -> None:
        seen.append(processes("agent")[node])
        processes("guard")[node].kill()

    story, blows = struck_run(campaign, tmp_path, at(("send", 0, 2)), kill_guard)
    assert_every_token_once(campaign, story)
    assert not psutil.wait_procs(seen, 5)[1]
    assert any("lost its guard" in event for event in story.events()), story.events()
    assert len(blows) == 1


def test_an_agent_that_dies_at_once_each_time_is_given_up_and_the_run_goes_on(tmp_path: Path) -> None:
    campaign, stop = small(3, 4, 1), threading.Event()

    def keep_killing() -> None:
        while not stop.wait(0.01):
            send(signal.SIGKILL)(2)

    killer = threading.Thread(target=keep_killing)
    with fleet_of(campaign, tmp_path) as fleet:
        killer.start()
        try:
            story = live_through(campaign, fleet)
        finally:
            stop.set()
            killer.join()
    assert any("times at once: it is not started again" in event for event in story.events())
    assert {int(k) for k in story.records[-1].source} == {0, 1}
    tokens = campaign.nodes.tokens
    assert story.totals.tokens == 4 * 4 * 3 * tokens
    assert endings(story).count((0, 0)) == 4 * tokens
