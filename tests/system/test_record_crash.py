"""Killed processes and stubborn folders: whatever was acknowledged can be read back."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from testbed.errors import RecordError
from testbed.record.folder import RunFolder, create_run, is_live
from testbed.record.read import read_run, verify
from testbed.record.repair import repair
from testbed.record.writer import RunWriter
from tests.unit.record import factory
from tests.unit.record.same import assert_same

ROOT = Path(__file__).parents[2]
SHAPE = factory.shape(K=3, L=2, U=64, pilots=4)


def rounds(seed, count=8):
    return [r for r, _ in factory.rounds(seed, SHAPE, passes=-(-count // SHAPE.layers))][:count]


def assert_all_there(folder: RunFolder, made: list, acknowledged: int) -> None:
    """What was acknowledged is there and right; at most one round more, and right too."""
    run = read_run(folder.path)
    assert acknowledged <= len(run.rounds) <= acknowledged + 1
    for row, found in enumerate(run.rounds):
        assert_same(found, made[row % len(made)], skip=("seconds",))


def kills(long: bool) -> range:
    return range(100 if long else 6)


@pytest.mark.timeout(1800)
def test_a_killed_writer_process_loses_nothing_and_the_run_goes_on(tmp_path, request, seed, rng):
    """It dies at any moment of its work, twice a run; another one takes its place."""
    made = rounds(seed)
    for _ in kills(request.config.getoption("--long")):
        folder = create_run(tmp_path, "killed", seed, factory.CAMPAIGN, [], factory.NOW)
        with RunWriter(folder, SHAPE) as writer:
            for after_s in rng.uniform(0, 0.3, 2):
                append_while_it_is_killed(writer, made, float(after_s))
                assert_all_there(folder, made, writer.committed)
            writer.finish(None)
            acknowledged = writer.committed
        assert_all_there(folder, made, acknowledged)
        assert not folder.journal.exists()
        assert verify(folder.path) == ()
        manifest = read_run(folder.path).manifest
        assert (manifest.status, manifest.rounds) == ("complete", acknowledged)
        assert all("writer of record.h5 ended" in words for words in manifest.events)
        shutil.rmtree(folder.path)


def kill_the_writer_of(writer: RunWriter) -> None:
    """Whoever it is now: nobody, where it died before and was not yet replaced, or has ended with its recording."""
    with contextlib.suppress(psutil.NoSuchProcess, RecordError):
        psutil.Process(writer.pid).kill()


def append_while_it_is_killed(writer: RunWriter, made: list, after_s: float) -> None:
    """Rounds until the writer process has been killed, `after_s` seconds from now, and 20 more."""
    timer = threading.Timer(after_s, kill_the_writer_of, (writer,))
    timer.start()
    while timer.is_alive():
        writer.append(made[writer.committed % len(made)])
        time.sleep(0.003)
    for _ in range(20):
        writer.append(made[writer.committed % len(made)])


def test_a_writer_process_that_dies_at_the_end_is_replaced(tmp_path, seed, rng):
    made = rounds(seed)
    for after_s in rng.uniform(0, 0.25, 4):
        folder = create_run(tmp_path, "late", seed, factory.CAMPAIGN, [], factory.NOW)
        with RunWriter(folder, SHAPE) as writer:
            for number in range(30):
                writer.append(made[number % len(made)])
            timer = threading.Timer(float(after_s), kill_the_writer_of, (writer,))
            timer.start()
            writer.finish(None)
            timer.join()
        assert_all_there(folder, made, 30)
        assert verify(folder.path) == ()
        assert not folder.journal.exists()


def test_a_writer_process_that_dies_again_and_again_ends_the_run_in_one_sentence(tmp_path, seed):
    made = rounds(seed)
    folder = create_run(tmp_path, "dies", seed, factory.CAMPAIGN, [], factory.NOW)
    writer = RunWriter(folder, SHAPE)

    def until_refused():
        with writer:
            folder.record.mkdir()  # no file can be made here
            while writer.committed < 100_000:
                writer.append(made[writer.committed % len(made)])
                time.sleep(0.01)

    with pytest.raises(RecordError, match=r"writer of the recording failed \(.*directory.* rounds are safe"):
        until_refused()
    assert writer.committed > 0
    assert_all_there(folder, made, writer.committed)
    assert read_run(folder.path).manifest.status == "failed"
    folder.record.rmdir()
    assert repair(folder.path) == writer.committed
    assert verify(folder.path) == ()


CONTROLLER = """
import sys
from pathlib import Path
from testbed.record.folder import create_run
from testbed.record.writer import RunWriter
from tests.system.test_record_crash import SHAPE, rounds
from tests.unit.record import factory

made = rounds(int(sys.argv[2]))
folder = create_run(Path(sys.argv[1]), "orphan", 1, factory.CAMPAIGN, [], factory.NOW)
with RunWriter(folder, SHAPE) as writer:
    print(folder.path, writer.pid, flush=True)
    while True:
        writer.append(made[writer.committed % len(made)])
        print(writer.committed, flush=True)
"""


def start_controller(out: Path, seed: int) -> tuple[subprocess.Popen, RunFolder, int]:
    command = [sys.executable, "-c", CONTROLLER, str(out), str(seed)]
    controller = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    path, pid = controller.stdout.readline().split()
    return controller, RunFolder(Path(path)), int(pid)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("also_writer", [False, True])
def test_a_killed_controller_loses_nothing_that_was_acknowledged(tmp_path, request, seed, rng, also_writer):
    for _ in range(100 if request.config.getoption("--long") else 3):
        kill_a_controller(tmp_path, seed, float(rng.uniform(0, 0.1)), also_writer)


def kill_a_controller(out: Path, seed: int, after_s: float, also_writer: bool) -> None:
    controller, folder, writer_pid = start_controller(out, seed)
    controller.stdout.readline()
    time.sleep(after_s)
    controller.kill()
    if also_writer:
        os.kill(writer_pid, signal.SIGKILL)
    said = controller.stdout.read().split()
    controller.wait()
    controller.stdout.close()
    acknowledged = int(said[-1]) if said else 1
    wait_for(lambda: not is_live(folder))
    assert_all_there(folder, rounds(seed), acknowledged)
    run = read_run(folder.path)
    assert run.manifest.status == "interrupted"
    assert verify(folder.path) == (("1 round(s) were begun and are not in the record",) if run.unfinished else ())
    assert repair(folder.path) == len(run.rounds)
    assert_all_there(folder, rounds(seed), acknowledged)
    shutil.rmtree(folder.path)


def wait_for(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "the writer outlived its controller"
        time.sleep(0.01)


def test_ctrl_c_reaches_the_controller_and_not_the_writer(tmp_path, seed):
    controller, folder, writer_pid = start_controller(tmp_path, seed)
    controller.stdout.readline()
    assert os.getsid(writer_pid) == writer_pid
    os.kill(writer_pid, signal.SIGINT)
    said = [controller.stdout.readline()]
    controller.send_signal(signal.SIGINT)
    said += controller.stdout.read().split()
    controller.wait(20)
    controller.stdout.close()
    assert not psutil.pid_exists(writer_pid)
    run = read_run(folder.path)
    assert run.manifest.status == "interrupted"
    assert len(run.rounds) == run.manifest.rounds >= int(said[-1])
    assert verify(folder.path) == ()


def test_a_hung_writer_process_is_replaced_at_the_end(tmp_path, seed):
    made = rounds(seed)
    folder = create_run(tmp_path, "hung", seed, factory.CAMPAIGN, [], factory.NOW)
    with RunWriter(folder, SHAPE, deadline_s=1.5) as writer:
        writer.append(made[0])
        os.kill(writer.pid, signal.SIGSTOP)
        for record in made:
            writer.append(record)
        assert_all_there(folder, made[:1] + made, 1 + len(made))
        writer.finish(None)
    assert_all_there(folder, made[:1] + made, 1 + len(made))
    assert "no sign of life within 1.5 s" in read_run(folder.path).manifest.events[0]
    assert not folder.journal.exists()


LIMITED = """
import resource, sys
from pathlib import Path
from testbed.record.folder import create_run
from testbed.record.writer import RunWriter
from tests.system.test_record_crash import SHAPE, rounds
from tests.unit.record import factory

made = rounds(1)
folder = create_run(Path(sys.argv[1]), "limit", 1, factory.CAMPAIGN, [], factory.NOW)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
writer = RunWriter(folder, SHAPE)
try:
    with writer:
        while writer.committed < 10_000:
            writer.append(made[writer.committed % len(made)])
except Exception as error:
    print(folder.path, writer.committed, type(error).__name__, error)
"""


@pytest.mark.parametrize("limit", [60_000, 300_000, 500_001])
def test_a_file_that_cannot_grow_ends_in_one_sentence(tmp_path, limit):
    """Journal or HDF5 meet the error inside of a write, as on a failing disk."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, tmp_path, str(limit)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    path, committed, kind, words = done.stdout.split(" ", 3)
    assert kind == "RecordError"
    assert "File too large" in words
    assert "free some space or choose another folder with --out" in words
    assert_all_there(RunFolder(Path(path)), rounds(1), int(committed))
    repair(Path(path))
    assert verify(Path(path)) == ()


def test_a_run_folder_that_vanishes_is_one_sentence(tmp_path, seed):
    folder = create_run(tmp_path, "gone", seed, factory.CAMPAIGN, [], factory.NOW)
    shutil.rmtree(folder.path)
    with (
        pytest.raises(RecordError, match=r"recording cannot begin: No such file"),
        RunWriter(folder, SHAPE) as writer,
    ):
        writer.append(rounds(seed)[0])
