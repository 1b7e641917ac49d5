"""The fleet: who is asked, who is dropped, who comes back. Nodes here are as small as the question."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from testbed.errors import NodeFailed, NodeLost
from testbed.fleet import RETURNS, Care, Fleet, RunAll


@dataclass
class Echo:
    """A node that only knows its number, and is gone while `gone`."""

    index: int
    gone: bool = False
    forgetful: bool = False
    batches: list[int] = field(default_factory=list)

    def begin(self, batch: int) -> None:
        if self.gone:
            raise NodeLost(f"node {self.index} is gone")
        self.batches.append(batch)

    def resume(self, batch: int, layer: int) -> None:
        if self.forgetful:
            raise NodeFailed("nothing was kept")
        self.begin(10 * batch + layer)

    def number(self) -> int:
        if self.gone:
            raise NodeLost(f"node {self.index} is gone")
        return self.index


@pytest.fixture(params=["one after the other", "at once"])
def run_all(request: pytest.FixtureRequest) -> Iterator[RunAll]:
    if request.param == "one after the other":
        yield map
        return
    with ThreadPoolExecutor(4) as pool:
        yield pool.map


def numbers(fleet: Fleet) -> dict[int, int]:
    ask: Callable[[Echo], int] = Echo.number
    return fleet.ask(range(len(fleet)), ask)  # type: ignore[arg-type]


def test_everybody_answers(run_all: RunAll) -> None:
    assert numbers(Fleet([Echo(k) for k in range(3)], run_all)) == {0: 0, 1: 1, 2: 2}  # type: ignore[misc]


def test_a_lost_node_is_dropped_once_and_asked_no_more(run_all: RunAll) -> None:
    nodes = [Echo(k) for k in range(3)]
    fleet = Fleet(nodes, run_all)  # type: ignore[arg-type]
    nodes[1].gone = True
    assert numbers(fleet) == {0: 0, 2: 2}
    nodes[1].gone = False
    assert numbers(fleet) == {0: 0, 2: 2}
    assert fleet.alive() == [0, 2]
    assert fleet.take_events() == ("node 1 dropped: node 1 is gone",)
    assert fleet.take_events() == ()


def test_a_node_that_is_back_takes_part_from_the_next_batch(run_all: RunAll) -> None:
    nodes = [Echo(k) for k in range(3)]
    fleet = Fleet(nodes, run_all)  # type: ignore[arg-type]
    nodes[2].gone = True
    fleet.begin(0)
    fleet.begin(1)
    assert fleet.take_events() == ("node 2 dropped: node 2 is gone",)
    nodes[2].gone = False
    fleet.begin(2)
    assert fleet.alive() == [0, 1, 2]
    assert fleet.take_events() == ("node 2 is back",)
    assert nodes[2].batches == [2]


def test_other_errors_are_not_swallowed(run_all: RunAll) -> None:
    def break_down(node: Echo) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Fleet([Echo(0)], run_all).ask([0], break_down)  # type: ignore[arg-type, list-item]


def test_a_node_that_is_there_again_takes_up_its_tokens_within_the_batch(run_all: RunAll) -> None:
    nodes, lost = [Echo(k) for k in range(3)], list[int]()
    care = Care(lost.append, back=lambda k: not nodes[k].gone, given_up=lambda k: "" if k == 2 else "broken")
    fleet = Fleet(nodes, run_all, care)  # type: ignore[arg-type]
    nodes[1].gone = nodes[2].gone = True
    assert numbers(fleet) == {0: 0}
    assert lost == [1, 2]
    assert fleet.missing() == [2]
    fleet.take_back(4, [0, 0, 3])
    assert fleet.alive() == [0]
    nodes[2].gone = False
    fleet.take_back(4, [0, 0, 3])
    assert fleet.alive() == [0, 2]
    assert nodes[2].batches == [43]
    assert fleet.take_events()[-1] == "node 2 is back"


def test_a_node_without_its_tokens_waits_for_the_next_batch() -> None:
    node = Echo(0, gone=True, forgetful=True)
    fleet = Fleet([node], care=Care(back=lambda k: True))  # type: ignore[list-item]
    numbers(fleet)
    node.gone = False
    for _ in range(2):
        fleet.take_back(0, [1])
    assert fleet.alive() == []
    assert fleet.missing() == []
    assert fleet.take_events()[-1] == "node 0 is back without its tokens: nothing was kept"
    fleet.begin(1)
    assert fleet.alive() == [0]


def test_a_node_that_fails_again_and_again_is_left_out_for_the_batch() -> None:
    fleet = Fleet([Echo(0)], care=Care(back=lambda k: True))  # type: ignore[list-item]

    def fail(node: Echo) -> None:
        raise NodeFailed("always")

    for _ in range(RETURNS + 1):
        fleet.ask([0], fail)  # type: ignore[arg-type]
        fleet.take_back(0, [0])
    assert fleet.alive() == []
