"""A person ends a run: keys, closed terminals, readers that go away."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.agents.stopping import Stopping
from testbed.cli.printing import say


@pytest.fixture
def signals() -> Iterator[None]:
    """As they were before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals")
def test_a_closed_terminal_ends_the_run_after_its_round_however_often_it_is_told(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGHUP)
    with Stopping(tmp_path) as stopping:
        for _ in range(3):
            signal.raise_signal(signal.SIGHUP)
        assert stopping()
    assert signal.getsignal(signal.SIGHUP) is before


@pytest.mark.usefixtures("signals")
def test_a_run_that_was_told_to_outlive_its_terminal_does(tmp_path: Path) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Stopping(tmp_path) as stopping:
        signal.raise_signal(signal.SIGHUP)
        assert not stopping()


@pytest.mark.usefixtures("signals")
def test_a_second_request_after_a_closed_terminal_is_urgent(tmp_path: Path) -> None:
    quiet: list[str] = []
    with Stopping(tmp_path) as stopping:
        stopping.quiet = lambda: quiet.append("quiet")
        signal.raise_signal(signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert quiet == ["quiet"]


@pytest.mark.usefixtures("signals")
def test_a_reader_that_goes_away_is_a_closed_terminal(tmp_path: Path) -> None:
    out, into = os.pipe()
    with Stopping(tmp_path) as stopping, open(into, "w", encoding="utf-8") as lines:
        say("one", lines)
        assert os.read(out, 10) == b"one\n"
        os.close(out)
        for words in ("two", "three"):
            say(words, lines)
        assert stopping()


@pytest.mark.usefixtures("signals")
def test_a_line_for_which_the_disk_has_no_room_ends_nothing(tmp_path: Path) -> None:
    with Stopping(tmp_path) as stopping, open("/dev/full", "w", buffering=1, encoding="utf-8") as lines:
        say("one", lines)
        assert not stopping()
        with open(os.devnull, "w", encoding="utf-8") as nowhere:  # what is still unwritten goes there
            os.dup2(nowhere.fileno(), lines.fileno())
