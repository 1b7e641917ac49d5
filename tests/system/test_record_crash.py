"""Killed processes and stubborn folders: whatever was acknowledged can be read back."""

from __future__ import annotations

import contextlib
import os
import resource
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
    return range(200 if long else 14)


def test_a_killed_writer_loses_nothing_that_was_acknowledged(tmp_path, request, seed, rng):
    made = rounds(seed)
    for _ in kills(request.config.getoption("--long")):
        folder = create_run(tmp_path, "killed", seed, factory.CAMPAIGN, [], factory.NOW)
        writer = RunWriter(folder, SHAPE)
        acknowledged = append_until_killed(writer, made, float(rng.uniform(0, 0.12)))
        assert_all_there(folder, made, acknowledged)
        shutil.rmtree(folder.path)


def append_until_killed(writer: RunWriter, made: list, after_s: float) -> int:
    """Rounds acknowledged before the writer process was killed, `after_s` seconds after the first."""
    refused = pytest.raises(RecordError, match=r"writer of the recording failed .* rounds are safe")
    with refused, writer:
        writer.append(made[0])
        victim = psutil.Process(writer._process.pid)
        timer = threading.Timer(after_s, victim.kill)
        timer.start()
        try:
            while True:
                writer.append(made[writer.committed % len(made)])
        finally:
            timer.join()
    return writer.committed


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
    print(folder.path, writer._process.pid, flush=True)
    while True:
        writer.append(made[writer.committed % len(made)])
        print(writer.committed, flush=True)
"""


def start_controller(out: Path, seed: int) -> tuple[subprocess.Popen, RunFolder, int]:
    command = [sys.executable, "-c", CONTROLLER, str(out), str(seed)]
    controller = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    path, pid = controller.stdout.readline().split()
    return controller, RunFolder(Path(path)), int(pid)


@pytest.mark.parametrize("also_writer", [False, True])
@pytest.mark.parametrize("number", range(3))
def test_a_killed_controller_loses_nothing_that_was_acknowledged(tmp_path, seed, rng, also_writer, number):
    controller, folder, writer_pid = start_controller(tmp_path, seed)
    controller.stdout.readline()
    time.sleep(rng.uniform(0, 0.1, number + 1)[-1])
    controller.kill()
    if also_writer:
        os.kill(writer_pid, signal.SIGKILL)
    said = controller.stdout.read().split()
    controller.wait()
    controller.stdout.close()
    acknowledged = int(said[-1]) if said else 1
    wait_for(lambda: not is_live(folder))
    assert_all_there(folder, rounds(seed), acknowledged)
    assert read_run(folder.path).manifest.status == "interrupted"
    assert verify(folder.path) == ()


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


def test_a_hung_writer_ends_the_run_at_the_deadline(tmp_path, seed):
    made = rounds(seed)
    folder = create_run(tmp_path, "hung", seed, factory.CAMPAIGN, [], factory.NOW)
    writer = RunWriter(folder, SHAPE, deadline_s=10.0)
    with writer:
        writer.append(made[0])
        writer._process._deadline_s = 0.3
        os.kill(writer._process.pid, signal.SIGSTOP)
        with pytest.raises(RecordError, match=r"no answer within 0\.3 s.*first 1 rounds are safe"):
            writer.append(made[1])
    assert_all_there(folder, made, 1)


def limit_of(writer: RunWriter, size: int) -> None:
    """Start the writer process with a largest file size of its own."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        writer.__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("limit", [60_000, 300_000, 500_001])
def test_a_file_that_cannot_grow_ends_in_one_sentence(tmp_path, seed, limit):
    """HDF5 meets the error inside of a write, as on a full disk that nobody saw coming."""
    made = rounds(seed)
    folder = create_run(tmp_path, "limit", seed, factory.CAMPAIGN, [], factory.NOW)
    writer = RunWriter(folder, SHAPE)
    limit_of(writer, limit)

    def fill():
        with contextlib.ExitStack() as stack:
            stack.push(writer)
            while writer.committed < 10_000:
                writer.append(made[writer.committed % len(made)])

    with pytest.raises(RecordError, match=r"File too large") as caught:
        fill()
    assert "free some space or choose another folder with --out" in str(caught.value)
    assert "\n" not in str(caught.value)
    if writer.committed:
        assert_all_there(folder, made, writer.committed)


def test_a_run_folder_that_vanishes_is_one_sentence(tmp_path, seed):
    folder = create_run(tmp_path, "gone", seed, factory.CAMPAIGN, [], factory.NOW)
    shutil.rmtree(folder.path)
    with (
        pytest.raises(RecordError, match=r"writer of the recording failed \(.*No such file"),
        RunWriter(folder, SHAPE) as writer,
    ):
        writer.append(rounds(seed)[0])
