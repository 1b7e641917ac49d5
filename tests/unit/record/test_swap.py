"""One run in the place of another: killed at any step, one of the two is there, whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from testbed.errors import RecordError
from testbed.record import swap
from testbed.record.swap import exchange, settle, settle_missing, swap_in

ROOT = Path(__file__).parents[3]
SWAP = """
import os, signal, sys
from pathlib import Path
from testbed.record import swap

steps, left = {"os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "exchange"}, [int(sys.argv[2])]

def step(event, arguments):
    if event in steps:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

really = swap.exchange
def exchanged(one, other):
    step("exchange", ())
    return sys.argv[3] == "one step" and really(one, other)

swap.exchange = exchanged
sys.addaudithook(step)
swap.swap_in(Path(sys.argv[1]) / "work" / "made", Path(sys.argv[1]) / "run")
"""


def folders(tmp_path):
    for folder, word in (("run", "old"), ("work/made", "new")):
        (tmp_path / folder / "logs").mkdir(parents=True)
        for name in ("manifest.json", "record.h5", "logs/one"):
            (tmp_path / folder / name).write_text(word)
    return tmp_path / "work" / "made", tmp_path / "run"


def word_of(run):
    """Which of the two it is; nothing may be missing or mixed."""
    words = {(run / name).read_text() for name in ("manifest.json", "record.h5", "logs/one")}
    assert len(words) == 1
    return words.pop()


@pytest.mark.parametrize("how", ["one step", "two steps"])
@pytest.mark.parametrize("first", [settle, lambda run: settle_missing(run.parent)], ids=["resume", "catalogue"])
def test_a_kill_at_any_step_leaves_the_old_run_or_the_new_one(tmp_path, how, first):
    found = []
    for number in range(30):
        out = tmp_path / str(number)
        _, run = folders(out)
        done = subprocess.run([sys.executable, "-c", SWAP, out, str(number), how], cwd=ROOT, check=False)
        if how == "one step" and exchange(out, out):
            assert run.exists()
        first(run)
        found.append(word_of(run))
        settle(run)
        assert word_of(run) == found[-1]
        assert {path.name for path in out.iterdir()} <= {"run", "work"}
        if done.returncode == 0:
            break
    assert done.returncode == 0
    assert found == sorted(found, reverse=True)
    assert {*found} == {"old", "new"}
    assert number > 6


@pytest.mark.parametrize("one_step", [True, False])
def test_the_new_run_takes_the_place_of_the_old_one(tmp_path, monkeypatch, one_step):
    if not one_step:
        monkeypatch.setattr(swap, "exchange", lambda one, other: False)
    new, run = folders(tmp_path)
    swap_in(new, run)
    assert word_of(run) == "new"
    assert {path.name for path in tmp_path.iterdir()} == {"run", "work"}


def test_two_names_are_exchanged(tmp_path):
    new, run = folders(tmp_path)
    assert exchange(new, run) == exchange(new, run)
    assert exchange(new, run)
    assert (word_of(run), word_of(new)) == ("new", "old")


def test_what_cannot_be_swapped_is_said(tmp_path):
    _, run = folders(tmp_path)
    with pytest.raises(RecordError, match="cannot be replaced: No such file"):
        swap_in(tmp_path / "absent", run)
    assert word_of(run) == "old"
