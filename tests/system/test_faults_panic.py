"""`testbed panic`, `testbed arm`, and Ctrl+C once, twice, thrice: silence whatever the controller does."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest

from testbed.agents.latch import OnDuty, is_latched, on_duty, set_latch
from testbed.agents.panic import arm, panic
from testbed.errors import KeyFileError, NodeLost
from testbed.link.hub import Hub
from testbed.link.keys import ensure_keys, guard_keys, server_keys
from testbed.link.service import Service
from testbed.record.read import read_run
from testbed.virtual_pluto.server import Server
from tests.system.test_command import SMALL, children_of, command, environment, running, until_round, wait_gone
from tests.system.test_faults_guard import Children, is_quiet, nursery, on_stage, server, wait_until

__all__ = ["nursery", "server"]
SLACK_S = 1.5


def test_panic_silences_and_latches_until_arm(nursery: tuple[Children, Path], server: Server) -> None:
    keys = nursery[1] / "keys"
    with on_stage(nursery, server) as scene:
        agent = scene.agent()
        outcomes = []
        assert scene.quiet_after(lambda: outcomes.extend(panic(keys))) < 0.25 + SLACK_S
        assert [(one.index, one.well) for one in outcomes] == [(0, True)]
        assert not psutil.wait_procs([agent], 5)[1]
        wait_until(lambda: not scene.hub.alive()[0])
        time.sleep(1.0)  # time enough for another agent, if one were started
        assert not psutil.Process(scene.children.pid("node-0")).children()
        with pytest.raises(NodeLost):
            scene.node.sound(2)
        assert is_latched(keys)
        assert is_quiet(scene.unit)
        assert all(one.well for one in arm(keys))
        wait_until(lambda: scene.hub.alive()[0])
        scene.node.begin(0)
        scene.node.sound(3)
        assert not is_quiet(scene.unit)


def test_panic_silences_also_where_no_latch_can_be_set(nursery: tuple[Children, Path], server: Server) -> None:
    keys = nursery[1] / "keys"
    (keys / "panic").symlink_to("nowhere/at/all")
    with on_stage(nursery, server) as scene:
        try:
            with pytest.raises(KeyFileError, match=r"1 of 1 nodes are silent, but the latch in key folder .*: mend"):
                panic(keys)
        finally:
            (keys / "panic").unlink()
        assert is_quiet(scene.unit)
        arm(keys)


def test_panic_without_a_folder_of_keys_is_one_sentence(tmp_path: Path) -> None:
    done = command(tmp_path, "panic")
    assert done.returncode == 1
    assert done.stderr.startswith("testbed: 0 of 0 nodes are silent, but the latch in key folder")
    assert "TESTBED_KEYS" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_panic_works_on_a_stopped_agent_of_a_hanging_controller(nursery: tuple[Children, Path], server: Server) -> None:
    keys = nursery[1] / "keys"
    with on_stage(nursery, server) as scene:
        scene.hub._loop.call(lambda: time.sleep(3.0))
        scene.agent().suspend()
        assert scene.quiet_after(lambda: panic(keys)) < 0.25 + SLACK_S
        arm(keys)


def test_nobody_but_the_holder_of_the_controllers_key_is_heard(tmp_path: Path) -> None:
    """A node's own key, or one from elsewhere, moves no guard."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ensure_keys(ours, 2)
    ensure_keys(theirs, 2)
    with Service("tcp://127.0.0.1:*", guard_keys(ours, 0)) as service:
        (outcome,) = panic(theirs, [OnDuty(0, 0, service.address)])
        assert not outcome.well
        assert "by hand" in outcome.words
    os.rename(ours / "node-1.secret", ours / "controller.secret")
    os.rename(ours / "node-1.public", ours / "controller.public")
    assert guard_keys(theirs, 0).clients != guard_keys(ours, 0).clients


def test_while_latched_no_run_begins_and_a_guard_starts_no_agent(
    tmp_path: Path, nursery: tuple[Children, Path]
) -> None:
    children, folder = nursery
    keys = folder / "keys"
    set_latch(keys)
    with Hub("tcp://127.0.0.1:*", server_keys(keys, 2), 2, ["{}"] * 2) as hub:
        guard = children.start(
            "node-1", ["agent", f"--connect={hub.address}", "--index=1", f"--keys={keys}", "--with-parent"]
        )
        time.sleep(1.0)
        assert not psutil.Process(children.pid("node-1")).children()
        guard.say_farewell()
        wait_until(lambda: "node-1" in children.ended())
    arm(keys)
    (tmp_path / "keys").mkdir(mode=0o700)
    (tmp_path / "keys" / "panic").touch()
    done = command(tmp_path, "run", "--in-process", "--out", tmp_path / "runs")
    assert done.returncode == 1
    assert "testbed arm" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_the_command_ends_a_run_even_when_its_controller_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(SMALL.format(passes=50), encoding="utf-8")
    with running(tmp_path, "run", path, "--out", tmp_path / "runs") as process:
        until_round(process, 2)
        children = children_of(process)
        agents = [child for name, child in children.items() if name.startswith("agent")]
        process.send_signal(signal.SIGSTOP)
        done = command(tmp_path, "panic")
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("silent") == 4
        assert not wait_gone(agents, 1)
        process.send_signal(signal.SIGCONT)
        _out, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
    assert command(tmp_path, "arm").returncode == 0
    assert not wait_gone(list(children.values()), 5)


def test_what_a_dead_guard_left_is_not_waited_for(tmp_path: Path) -> None:
    ensure_keys(tmp_path, 1)
    with on_duty(tmp_path, 0, "tcp://127.0.0.1:1"):
        mine = tmp_path / "on-duty" / f"{os.getpid()}.json"
        (tmp_path / "on-duty" / "4194304.json").write_bytes(msgspec.json.encode(OnDuty(0, 4194304, "tcp://x")))
        assert [one.well for one in panic(tmp_path)] == [False]
        assert [path.name for path in (tmp_path / "on-duty").iterdir()] == [mine.name]


@contextlib.contextmanager
def on_a_terminal(tmp_path: Path, passes: int) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A run in the foreground of a terminal of its own, where Ctrl+C is a key."""
    path = tmp_path / "c.toml"
    path.write_text(SMALL.format(passes=passes), encoding="utf-8")
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "testbed", "run", str(path), "--out", str(tmp_path / "runs")]
    code = (
        "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdin=theirs, stdout=theirs, stderr=theirs, env=environment(tmp_path)
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(terminal: int, word: bytes, deadline_s: float = 60.0) -> bytes:
    said, deadline = b"", time.monotonic() + deadline_s
    while word not in said:
        assert time.monotonic() < deadline, said
        with contextlib.suppress(OSError):
            said += os.read(terminal, 4096)
    return said


def drain(terminal: int, process: subprocess.Popen[bytes], deadline_s: float) -> int:
    deadline = time.monotonic() + deadline_s
    os.set_blocking(terminal, False)
    while process.poll() is None:
        assert time.monotonic() < deadline
        with contextlib.suppress(OSError):
            os.read(terminal, 4096)
        time.sleep(0.01)
    return process.returncode


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("times", [1, 2, 3])
def test_ctrl_c_is_more_urgent_each_time(
    tmp_path: Path, times: int, rng: np.random.Generator, request: pytest.FixtureRequest
) -> None:
    for attempt in range(33 if request.config.getoption("--long") else 1):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with on_a_terminal(folder, 50) as (process, terminal):
            read_until(terminal, b"round   1/")
            children = children_of(process)  # type: ignore[arg-type]
            agents = [child for name, child in children.items() if name.startswith("agent")]
            time.sleep(rng.uniform(0, 1))
            for press in range(times):
                os.write(terminal, b"\x03")
                time.sleep(0.3 if press < times - 1 else 0.0)  # presses in between would be one to the process
            if times > 1:
                assert not wait_gone(agents, 0.25 + SLACK_S)
            assert drain(terminal, process, 30) == 130
        assert not wait_gone(list(children.values()), 8)
        (run_dir,) = (folder / "runs").iterdir()
        rounds = len(list(read_run(run_dir).rounds))
        assert rounds >= 1
        manifest = json.loads((run_dir / "manifest.json").read_text())
        assert times == 3 or (manifest["status"], manifest["rounds"]) == ("interrupted", rounds)
