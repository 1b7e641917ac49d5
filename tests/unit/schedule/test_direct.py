"""The short way through C gives numba's answers, refuses whatever is not plain, and can be done without."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from testbed.errors import ProblemError
from testbed.schedule import assign as room
from testbed.schedule import direct
from testbed.schedule.assign import Assignment, _assign_by_numba, assign_subcarriers
from testbed.schedule.candidates import Candidates, candidate_lists
from testbed.schedule.status import Status

NO_COMPILER = shutil.which("cc") is None and not os.environ.get("CI")
needs_compiler = pytest.mark.skipif(NO_COMPILER, reason="no C compiler here")

SIZES = [(0, 0), (0, 5), (3, 0), (1, 1), (6, 16), (12, 64), (20, 20), (70, 64), (80, 300)]


def draw(links: int, subcarriers: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([seed, links, subcarriers])
    cost = 1 / np.log2(1.001 + 10 * rng.exponential(size=(links, subcarriers)))
    cost[rng.random(cost.shape) < 0.1] = np.inf
    return cost, rng.integers(0, 20, links).astype(float)


def short_way(cost: object, weight: object, lists: object) -> Assignment | None:
    assign_subcarriers(np.ones((1, 1)), [1])  # opens it
    assert room._short_way is not room._no_way
    return room._short_way(cost, weight, lists)


def assert_same(found: Assignment | None, other: Assignment | None) -> None:
    assert type(found) is type(other) is Assignment
    np.testing.assert_array_equal(found.subcarrier, other.subcarrier)
    np.testing.assert_array_equal(found.duals, other.duals)
    assert (found.subcarrier.dtype, found.duals.dtype, type(found.total)) == (np.int64, np.float64, type(other.total))
    assert found.total == other.total
    assert (found.unserved, found.status) == (other.unserved, other.status)


@needs_compiler
@pytest.mark.parametrize(("links", "subcarriers"), SIZES)
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("read_only", [False, True])
def test_the_answers_are_those_of_numbas_way(links: int, subcarriers: int, warm: bool, read_only: bool) -> None:
    statuses = set()
    for seed in range(5):
        cost, weight = draw(links, subcarriers, seed)
        cost.flags.writeable = weight.flags.writeable = not read_only
        lists = candidate_lists(cost) if warm else None
        found = short_way(cost, weight, lists)
        assert_same(found, _assign_by_numba(cost, weight, lists))
        assert_same(found, assign_subcarriers(cost, weight, candidates=lists))
        statuses.add(found.status)
    assert statuses == {Status.SCARCE if links > subcarriers else Status.OPTIMAL}


class Series:
    """Looks like an array and is none."""

    dtype, shape, ndim = np.dtype(float), (3,), 1

    def __len__(self) -> int:
        return 3


def unaligned(array: np.ndarray) -> np.ndarray:
    return np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:].view(array.dtype)


@needs_compiler
@pytest.mark.parametrize("warm", [False, True])
def test_what_is_not_plain_is_left_to_the_checked_way(warm: bool) -> None:
    cost, weight = draw(3, 5)
    lists = candidate_lists(cost) if warm else None
    odd_weights = [
        None, 3, "abc", Series(), [1.0, 2.0, 3.0], weight.astype(int), weight.astype(">f8"), weight.astype(np.float32),
        weight[:2], weight[None], np.repeat(weight, 2)[::2], weight[::-1], np.ma.array(weight), unaligned(weight),
        np.float64(3.0), weight.astype(object), [0.0, np.nan, 1.0],
    ]  # fmt: skip
    for odd in odd_weights:
        assert short_way(cost, odd, lists) is None
    odd_costs = [None, cost.tolist(), cost[0], cost[None], np.asfortranarray(cost), cost[:, ::-1], cost.astype(int)]
    with np.errstate(invalid="ignore"):
        for odd in odd_costs:
            assert short_way(odd, weight, lists) is None
    assert short_way(cost, np.array([1.0, np.nan, 1.0]), lists) is None
    assert short_way(cost, np.array([1.0, -1.0, 1.0]), lists) is None


@needs_compiler
def test_lists_of_something_else_are_left_to_the_checked_way() -> None:
    cost, weight = draw(3, 5)
    _, column, price, order = lists = candidate_lists(cost)
    assert short_way(cost, weight, lists) is not None
    others = [
        3, (), tuple(lists[:3]), lists[1:], [*lists], lists._replace(cost=cost.copy()),
        lists._replace(column=column.astype(np.int64)), lists._replace(column=column[:2]),
        lists._replace(column=column[:, :2]), lists._replace(price=price[:2]), lists._replace(price=price[:, ::-1]),
        lists._replace(price=price.astype(np.float32)), lists._replace(order=order[:2]),
        lists._replace(order=order.astype(np.int32)), lists._replace(order=None),
    ]  # fmt: skip
    for other in others:
        assert short_way(cost, weight, other) is None
    for other in (3, [*lists], lists[1:]):
        with pytest.raises(ProblemError, match="give what candidate_lists"):
            assign_subcarriers(cost, weight, candidates=other)
    equal = lists._replace(cost=cost.copy())
    assert_same(assign_subcarriers(cost, weight, candidates=equal), short_way(cost, weight, lists))


@needs_compiler
def test_nothing_is_kept_of_what_was_handed_over() -> None:
    plain, scarce = draw(12, 64), draw(7, 4)
    lists, few = candidate_lists(plain[0]), candidate_lists(scarce[0])
    watched = [*plain, *scarce, *lists[1:], *few[1:], lists, few, Assignment]

    def calls() -> None:
        for _ in range(300):
            short_way(*plain, lists)
            short_way(*plain, None)
            short_way(*scarce, few)
            short_way(plain[0], scarce[1], lists)

    calls()
    gc.collect()
    counts, blocks = [sys.getrefcount(each) for each in watched], sys.getallocatedblocks()
    calls()
    gc.collect()
    assert [sys.getrefcount(each) for each in watched] == counts
    assert abs(sys.getallocatedblocks() - blocks) < 100


@needs_compiler
def test_many_threads_have_their_own_answers() -> None:
    cases = [draw(60, 300, seed) for seed in range(8)]
    expected = [_assign_by_numba(*case, None) for case in cases]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            for found, right in zip(pool.map(lambda case: short_way(*case, None), cases), expected, strict=True):
                assert_same(found, right)


@needs_compiler
def test_wrong_calls_are_refused(tmp_path: Path) -> None:
    module = direct.load(tmp_path)
    assert isinstance(module, ModuleType)
    assert module.assign(np.ones((1, 1)), np.ones(1), None) is None
    with pytest.raises(TypeError, match="cost, weight and lists"):
        module.assign(np.ones((1, 1)))
    with pytest.raises(TypeError, match="named tuple"):
        module.prepare(0, None, int, None, None)
    with pytest.raises(TypeError):
        module.prepare(0, None, 3, None, None)


@needs_compiler
def test_another_source_is_another_build_and_the_old_one_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    assert direct.load(kept)
    (first,) = kept.iterdir()
    made = first.stat().st_mtime_ns
    assert direct.load(kept)
    assert first.stat().st_mtime_ns == made
    changed = tmp_path / "direct.c"
    changed.write_bytes(direct.SOURCE.read_bytes() + b"\n/* changed */\n")
    monkeypatch.setattr(direct, "SOURCE", changed)
    assert direct.load(kept)
    (second,) = kept.iterdir()
    assert second != first


@pytest.mark.parametrize("fault", ["no compiler", "compiler fails", "compiler hangs", "no such folder", "damaged"])
def test_without_it_all_works_by_numba(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "missing" if fault == "no such folder" else tmp_path
    linker = "false" if fault == "compiler fails" else "/nowhere/cc"
    if fault == "compiler hangs":
        script = tmp_path / "cc"
        script.write_text("#!/bin/sh\nexec sleep 60\n")
        script.chmod(0o755)
        linker = str(script)
        monkeypatch.setattr(direct, "COMPILING_S", 0.1)
    monkeypatch.setattr(direct.sysconfig, "get_config_var", {"LDSHARED": linker, "EXT_SUFFIX": ".so"}.get)
    if fault == "damaged":
        (kept / f"direct-{direct._stamp()}.so").write_bytes(b"\x7fELF no more")
    assert direct.load(kept) is None
    monkeypatch.setattr(room, "_short_way", room._no_way)
    monkeypatch.setattr(room, "_open_short_way", lambda: None)
    cost, weight = draw(12, 64)
    for lists in (None, candidate_lists(cost)):
        assert isinstance(lists, Candidates | None)
        assert_same(assign_subcarriers(cost, weight, candidates=lists), _assign_by_numba(cost, weight, lists))
        with pytest.raises(ProblemError, match=r"weight\[3\] = nan"):
            assign_subcarriers(cost, np.where(np.arange(12) == 3, np.nan, weight), candidates=lists)
    cost[3, 4] = np.nan
    with pytest.raises(ProblemError, match=r"cost\[3, 4\] = nan"):
        assign_subcarriers(cost, weight)
