"""Children of a run: none is waited for without a deadline, and none outlives it."""

from __future__ import annotations

import resource
import signal
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from testbed.agents import processes
from testbed.agents.assemble import air_settings
from testbed.agents.processes import Children
from testbed.agents.remote import check_descriptors
from testbed.campaign import load_campaign
from testbed.errors import LinkError
from testbed.link.keys import ensure_keys


@pytest.fixture
def air(tmp_path: Path) -> list[str]:
    ensure_keys(tmp_path / "keys", 4)
    settings = msgspec.json.encode(air_settings(load_campaign(None))).decode()
    return ["air", f"--settings={settings}", f"--keys={tmp_path / 'keys'}"]


def test_a_child_says_where_it_listens_and_leaves_when_told(tmp_path: Path, air: list[str]) -> None:
    with Children(tmp_path / "logs") as children:
        child = children.start("air", air)
        assert children.next_line("air", 60).startswith("tcp://127.0.0.1:")
        assert children.ended() == []
    assert child.returncode == 0
    log = (tmp_path / "logs" / "air.log").read_text()
    assert [msgspec.json.decode(line)["event"] for line in log.splitlines()] == ["listening", "ended"]


def test_a_child_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    with Children(tmp_path / "logs") as children:
        children.start("air", ["air", "--settings={}", f"--keys={tmp_path / 'none'}"])
        with pytest.raises(LinkError, match=r"air ended before it was ready: \S+"):
            children.next_line("air", 60)


def test_a_child_that_says_nothing_is_not_waited_for_for_ever(tmp_path: Path, air: list[str]) -> None:
    with Children(tmp_path / "logs") as children:
        children.start("air", air)
        psutil.Process(children.pid("air")).suspend()
        with pytest.raises(LinkError, match=r"air was not ready within 0\.2 s"):
            children.next_line("air", 0.2)


def test_a_child_that_does_not_listen_is_killed(
    tmp_path: Path, air: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "LEAVE_S", 0.2)
    monkeypatch.setattr(processes, "TERMINATE_S", 0.2)
    with Children(tmp_path / "logs") as children:
        child = children.start("air", air)
        children.next_line("air", 60)
        psutil.Process(children.pid("air")).suspend()
    assert child.returncode == -9


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_without_its_nursery_a_child_is_still_ended(
    tmp_path: Path, air: list[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Nobody tells of its death then; and nobody is listened to again and again who has nothing to say."""
    for name in ("LEAVE_S", "TERMINATE_S"):
        monkeypatch.setattr(processes, name, 0.5)
    with Children(tmp_path / "logs") as children:
        children.start("air", air)
        children.next_line("air", 60)
        there = psutil.Process(children.pid("air"))
        children._nursery.send_signal(number)
        if number == signal.SIGKILL:
            children._nursery.wait()
            children.ended()
            begin = time.monotonic()
            children.wait(["air"], 0.2)
            assert time.monotonic() - begin > 0.15
        begin = time.monotonic()
    assert time.monotonic() - begin < 5
    assert not psutil.wait_procs([there], 2)[1]


def test_too_few_descriptors_are_refused_with_the_remedy() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (90, hard))
        check_descriptors(4)
        with pytest.raises(LinkError, match="a process may open 90 files here, 8 nodes need 96: ulimit -n 96"):
            check_descriptors(8)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
