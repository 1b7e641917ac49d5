"""Full disks, real ones: a run pauses and goes on, and whatever was acknowledged can be read back."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from testbed.record.folder import create_run
from testbed.record.read import read_run
from testbed.record.space import FLOOR_BYTES, NoSpace, low_space
from testbed.record.writer import RunWriter
from tests.system.test_record_crash import ROOT, SHAPE, rounds
from tests.unit.record import factory

TMPFS = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=24m tmpfs "$0" && exec "$@"']


def on_small_disk(tmp_path: Path, script: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run a script whose first argument is a folder on a 24 MB disk; skips where none can be mounted."""
    if shutil.which("unshare") is None or subprocess.run([*TMPFS, tmp_path, "true"], check=False).returncode:
        pytest.skip("this user may not mount a tmpfs")
    code = f"import sys; disk = sys.argv[1]\n{script}"
    command = [*TMPFS, tmp_path, sys.executable, "-W", "error", "-c", code, tmp_path, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


PAUSED = """
import os, time
import h5py
from pathlib import Path
from testbed.record.folder import create_run
from testbed.record.read import read_run, verify
from testbed.record.report import write_report
from testbed.record.space import NoSpace
from testbed.record.writer import RunWriter
from tests.unit.record import factory
from tests.unit.record.same import assert_same

shape = factory.shape()
made = [r for r, _ in factory.rounds(1, shape)]
folder = create_run(Path(disk), "small", 1, factory.CAMPAIGN, [], factory.NOW)
filler = Path(disk) / "filler"
filler.write_bytes(bytes(3 << 20))
with RunWriter(folder, shape) as writer:
    try:
        while True:
            writer.append(made[writer.committed % 4])
    except NoSpace as error:
        print(error)
    full = writer.committed
    assert len(read_run(folder.path).rounds) == full > 5
    filler.unlink()
    assert writer.append(made[full % 4]) == full + 1
    while not folder.record.exists() or not folder.record.stat().st_size:
        time.sleep(0.5)
    with h5py.File(folder.record, "r", swmr=True, locking=False) as live:
        while live["committed"][()] <= full:
            time.sleep(0.01)
            live["committed"].refresh()
    (Path(disk) / "rest").write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))
    writer.finish(None)
assert verify(folder.path) == (), verify(folder.path)
run = read_run(folder.path)
assert run.manifest.status == "complete"
for row, found in enumerate(run.rounds):
    assert_same(found, made[row % 4])
"""

UNSEEN = """
from pathlib import Path
from testbed.errors import RecordError
from testbed.record.folder import create_run
from testbed.record.read import read_run, verify
from testbed.record.repair import repair
from testbed.record.writer import RunWriter
from tests.unit.record import factory
from tests.unit.record.same import assert_same

shape = factory.shape()
made = [r for r, _ in factory.rounds(1, shape)]
folder = create_run(Path(disk), "unseen", 1, factory.CAMPAIGN, [], factory.NOW)
(Path(disk) / "filler").write_bytes(bytes(15 << 20))
writer = RunWriter(folder, shape, floor_bytes=-(1 << 40))
try:
    with writer:
        while True:
            writer.append(made[writer.committed % 4])
except RecordError as error:
    print(error)

def check():
    run = read_run(folder.path)
    assert len(run.rounds) == writer.committed > 20, (len(run.rounds), writer.committed)
    for row, found in enumerate(run.rounds):
        assert_same(found, made[row % 4], skip=("seconds",))

check()
(Path(disk) / "filler").unlink()
repair(folder.path)
check()
print(*verify(folder.path))
"""


def test_a_disk_that_fills_up_pauses_the_run_and_lets_it_go_on(tmp_path):
    done = on_small_disk(tmp_path, PAUSED)
    assert done.returncode == 0, done.stderr
    assert "disk nearly full" in done.stdout


def test_a_disk_that_fills_up_unseen_keeps_what_was_acknowledged(tmp_path):
    """No floor is kept: journal and HDF5 meet the full disk inside of a write."""
    done = on_small_disk(tmp_path, UNSEEN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith("free some space or choose another folder with --out")
    assert "full" in done.stdout or "No space left" in done.stdout
    assert done.stderr == ""


def test_a_run_is_not_begun_on_a_disk_that_is_too_small(tmp_path):
    script = """
from pathlib import Path
from testbed.record.folder import create_run
from testbed.record.space import NoSpace
from tests.unit.record import factory
(Path(disk) / "filler").write_bytes(bytes(12 << 20))
try:
    create_run(Path(disk) / "runs", "small", 1, "", [], factory.NOW)
except NoSpace as error:
    print(error)
assert list((Path(disk) / "runs").iterdir()) == []
"""
    done = on_small_disk(tmp_path, script)
    assert done.returncode == 0, done.stderr
    assert "disk nearly full" in done.stdout


def test_a_floor_is_kept_without_a_mount(tmp_path, seed):
    made = rounds(seed)
    folder = create_run(tmp_path, "floor", seed, factory.CAMPAIGN, [], factory.NOW)
    with RunWriter(folder, SHAPE, floor_bytes=1 << 60) as writer:
        for _ in range(2):
            with pytest.raises(NoSpace, match="free some space"):
                writer.append(made[0])
        writer.finish(None, "failed", ["the disk was full"])
    assert read_run(folder.path).rounds == ()
    assert np.size(read_run(folder.path).time_s) == 0


WHOLE_RUN = """
import os, threading, time
from pathlib import Path
from testbed.agents import local
from testbed.agents.controller import execute, plan_run
from testbed.campaign import Campaign
from testbed.record.read import read_run, verify
from testbed.record.space import FLOOR_BYTES, free_bytes
from tests.system.test_command import SMALL

disk, filler = Path(disk), Path(disk) / "filler"
airs = []
class WatchedAir(local.Air):
    def __post_init__(self):
        super().__post_init__()
        airs.append(self)
local.Air = WatchedAir

def fill():
    filler.write_bytes(bytes(free_bytes(disk) - FLOOR_BYTES + (1 << 20)))

def watch():
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        heard.extend(unit for air in airs for unit in air.on_air())
        time.sleep(0.01)
    filler.unlink()

heard, told, numbers, watchers = [], [], [], []

def tell(words):
    told.append(words)
    if words.startswith("paused, "):
        watchers.append(threading.Thread(target=watch))
        watchers[0].start()

def on_round(record):
    numbers.append(record.number)
    if record.number == 1:
        fill()

in_process = sys.argv[2] == "in-process"
campaign = Campaign.from_text(SMALL.format(passes=1))
plan = plan_run(campaign, disk / "runs", in_process=in_process)
done = execute(plan, ["test"], on_round, tell)
watchers[0].join()
assert (len(airs), heard) == (int(in_process), []), heard
assert numbers == list(range(4)), numbers
assert not done.interrupted
run = read_run(Path(done.summary.run_dir))
assert run.manifest.status == "complete"
assert [len(run.rounds), [r.events for r in run.rounds]] == [4, [()] * 4], run.rounds
assert verify(run.folder.path) == ()
assert any("before round 2 was recorded" in words for words in run.manifest.events), run.manifest.events
free = execute(plan_run(campaign, disk / "again", in_process=in_process), ["test"], lambda record: None)
assert run.folder.record.read_bytes() == (Path(free.summary.run_dir) / "record.h5").read_bytes()
print(*told, sep="\\n")
"""


@pytest.mark.parametrize("how", ["in-process", pytest.param("processes", marks=pytest.mark.long)])
def test_a_run_pauses_with_silent_radios_while_the_disk_is_full_and_goes_on(tmp_path, how, monkeypatch):
    """The recording is bit-equal to that of a run that never paused; agents stay members all the time."""
    monkeypatch.setenv("TESTBED_KEYS", str(tmp_path / "keys"))
    disk = tmp_path / "disk"
    disk.mkdir()
    done = on_small_disk(disk, WHOLE_RUN, how)
    assert done.returncode == 0, done.stdout + done.stderr
    paused, again = done.stdout.splitlines()[:2]
    assert paused.startswith("paused, all radios are silent: ")
    assert "disk nearly full" in paused
    assert again.startswith("paused for ")
    assert again.endswith("; going on")


STOPPED = """
import os, signal, threading
from pathlib import Path
from testbed.agents.controller import execute, plan_run
from testbed.campaign import Campaign
from testbed.record.read import read_run, verify
from testbed.record.space import FLOOR_BYTES, NoSpace, free_bytes
from tests.system.test_command import SMALL

disk = Path(disk)
stop = lambda words: os.kill(os.getpid(), signal.SIGINT) if words.startswith("paused") else None
fill = lambda record: (disk / "filler").write_bytes(bytes(max(0, free_bytes(disk) - FLOOR_BYTES + (1 << 20))))
try:
    execute(plan_run(Campaign.from_text(SMALL.format(passes=1)), disk, in_process=True), ["test"], fill, stop)
except NoSpace as error:
    print(error)
(path,) = (p for p in disk.iterdir() if p.is_dir())
assert read_run(path).manifest.status == "interrupted"
assert len(read_run(path).rounds) == 1
assert verify(path) == ()
"""


def test_a_paused_run_ends_on_ctrl_c_with_what_was_recorded(tmp_path):
    done = on_small_disk(tmp_path, STOPPED)
    assert done.returncode == 0, done.stderr
    assert "disk nearly full" in done.stdout


def test_little_space_is_warned_of_before_it_runs_out(tmp_path):
    script = """
from pathlib import Path
from testbed.record.space import low_space
for expected in (1 << 20, 5 << 20):
    print(low_space(Path(disk) / "runs" / "here", expected))
(Path(disk) / "filler").write_bytes(bytes(22 << 20))
print(low_space(Path(disk), 0))
"""
    done = on_small_disk(tmp_path, script)
    assert done.returncode == 0, done.stderr
    enough, twice, tenth = done.stdout.splitlines()
    assert enough == ""
    assert "25 MB free, 100 % of the disk, and about 5 MB still to be written" in twice
    assert "2 MB free, 8 % of the disk" in tenth


def test_the_expected_size_of_a_run_is_about_what_it_takes(tmp_path, seed):
    shape = factory.shape()
    folder = create_run(tmp_path, "size", seed, factory.CAMPAIGN, [], factory.NOW)
    made = [r for r, _ in factory.rounds(seed, shape)]
    with RunWriter(folder, shape) as writer:
        for number in range(24):
            writer.append(made[number % 4])
        taken = folder.journal.stat().st_size
        writer.finish(None)
        taken += folder.record.stat().st_size
    assert 0.7 < 24 * shape.round_bytes(4 * 16, 400) / taken < 1.4
    assert low_space(tmp_path, 1 << 60)
    assert FLOOR_BYTES < 1 << 60
