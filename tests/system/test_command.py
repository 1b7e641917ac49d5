"""The command as a person uses it: processes, signals, refusals; and nothing left running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest

SMALL = """
name = "small"
passes = {passes}
[model]
quantisation = "float16"
[nodes]
tokens = 4
context = 8
"""
KEYS = "rounds tokens tokens_relaxed tokens_lost block_error_rate retransmissions energy_predicted_j energy_spent_j"
KEYS += " bound_j accuracy accuracy_central seconds run_dir"


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    path = tmp_path / "c.toml"
    path.write_text(SMALL.format(passes=1), encoding="utf-8")
    return path


def environment(tmp_path: Path) -> dict[str, str]:
    return os.environ | {"TESTBED_KEYS": str(tmp_path / "keys")}


def command(tmp_path: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "testbed", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, env=environment(tmp_path), timeout=120)


@contextmanager
def running(tmp_path: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """The command in the background, with its output line by line."""
    words = [sys.executable, "-m", "testbed", *map(str, arguments)]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(tmp_path)
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until_round(process: subprocess.Popen[str], number: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(f"round {number}") or line.lstrip("round ").startswith(f"{number}/"):
            return
    raise AssertionError(f"no round {number}: {process.stderr.read() if process.stderr else ''}")


def children_of(process: subprocess.Popen[str]) -> dict[str, psutil.Process]:
    """Agents by "agent K", their guards by "guard K", and the air."""
    found = {}
    for child in psutil.Process(process.pid).children(recursive=True):
        if child.name().startswith(("agent ", "guard ")) or child.name() == "air":
            found[child.name()] = child
    return found


def wait_gone(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that are still there; what its parent has not buried yet is gone."""
    deadline = time.monotonic() + seconds
    while (there := [process for process in processes if _lives(process)]) and time.monotonic() < deadline:
        time.sleep(0.005)
    return there


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_run_ends_with_one_json_object_and_a_folder(tmp_path: Path, campaign: Path) -> None:
    done = command(tmp_path, "run", campaign, "--json", "--out", tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert set(summary) == set(KEYS.split())
    assert summary["rounds"] == 4
    assert summary["tokens"] == 4 * 4 * 4
    run_dir = Path(summary["run_dir"])
    report = (run_dir / "report.html").read_text(encoding="utf-8")
    assert "<svg" in report or "data:image" in report
    assert "http://" not in report.replace("http://www.w3.org", "")
    with h5py.File(run_dir / "record.h5") as record:
        assert record["h"].shape[0] == 4


def test_processes_and_one_process_record_the_same(tmp_path: Path, campaign: Path) -> None:
    folders = []
    for extra in ([], ["--in-process"]):
        done = command(tmp_path, "run", campaign, "--json", "--out", tmp_path / "runs", *extra)
        assert done.returncode == 0, done.stderr
        folders.append(Path(json.loads(done.stdout)["run_dir"]))
    with h5py.File(folders[0] / "record.h5") as one, h5py.File(folders[1] / "record.h5") as other:
        names: list[str] = []
        one.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert "h" in names
        for name in names:
            np.testing.assert_array_equal(one[name][()], other[name][()], err_msg=name)


@pytest.mark.parametrize(("how", "node"), [("kill", 2), ("suspend", 0)])
def test_an_agent_that_dies_or_hangs_is_replaced_and_the_run_goes_on(tmp_path: Path, how: str, node: int) -> None:
    path = tmp_path / "c.toml"
    path.write_text(SMALL.format(passes=3), encoding="utf-8")
    with running(tmp_path, "run", path, "--out", tmp_path / "runs") as process:
        until_round(process, 2)
        children = children_of(process)
        getattr(children[f"agent {node}"], how)()
        out, err = process.communicate(timeout=90)
        assert process.returncode == 0, err
    assert f"node {node} dropped" in out
    assert "round 12/12" in out
    assert not wait_gone(list(children.values()), 5)


def test_one_interrupt_finishes_the_round_and_the_files(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(SMALL.format(passes=50), encoding="utf-8")
    with running(tmp_path, "run", path, "--out", tmp_path / "runs") as process:
        until_round(process, 1)
        children = children_of(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
    assert "report" in out
    (run_dir,) = (tmp_path / "runs").iterdir()
    manifest = json.loads((run_dir / "manifest.json").read_text())
    assert manifest["status"] == "interrupted"
    with h5py.File(run_dir / "record.h5") as record:
        assert record["h"].shape[0] == manifest["rounds"] > 0
    assert not wait_gone(list(children.values()), 5)


def test_two_interrupts_end_it_at_once_and_leave_nothing_running(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(SMALL.format(passes=50), encoding="utf-8")
    with running(tmp_path, "run", path, "--out", tmp_path / "runs") as process:
        until_round(process, 1)
        children = children_of(process)
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 130
    assert not wait_gone(list(children.values()), 5)


def test_a_killed_controller_leaves_no_process_and_a_readable_record(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(SMALL.format(passes=50), encoding="utf-8")
    with running(tmp_path, "run", path, "--out", tmp_path / "runs") as process:
        until_round(process, 2)
        children = children_of(process)
        process.kill()
        process.wait()
        assert not wait_gone(list(children.values()), 8)
    from testbed.record.read import read_run

    (run_dir,) = (tmp_path / "runs").iterdir()
    assert len(list(read_run(run_dir).rounds)) >= 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nowhere.toml"], "nowhere.toml: no such campaign file"),
        (["run", "--scheduler", "magic"], "magic"),
        (["run", "--radio", "bladerf:"], "sim:"),
        (["run", "--seed", "-1"], "seed = -1"),
    ],
)
def test_refusals_are_one_sentence_and_touch_nothing(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = command(tmp_path, *arguments, "--out", tmp_path / "runs")
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path, campaign: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    done = command(tmp_path, "run", campaign, "--out", tmp_path / "file" / "runs")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "--out" in done.stderr


def test_a_key_that_others_can_read_is_refused(tmp_path: Path, campaign: Path) -> None:
    assert command(tmp_path, "run", campaign, "--out", tmp_path / "runs").returncode == 0
    secret = tmp_path / "keys" / "controller.secret"
    assert secret.stat().st_mode & 0o077 == 0
    secret.chmod(0o644)
    done = command(tmp_path, "run", campaign, "--out", tmp_path / "runs")
    assert done.returncode == 1
    assert "controller.secret" in done.stderr
    assert "chmod 600" in done.stderr


def test_a_dry_run_says_what_would_happen_and_touches_nothing(tmp_path: Path, campaign: Path) -> None:
    done = command(tmp_path, "run", campaign, "--dry-run", "--json", "--out", tmp_path / "runs")
    assert done.returncode == 0
    facts = json.loads(done.stdout)
    assert facts["rounds"] == 4
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "keys").exists()


def test_help_imports_nothing_heavy() -> None:
    heavy = "('numpy', 'numba', 'zmq', 'pydantic')"
    code = f"import sys; import testbed.cli.app; print(any(m in sys.modules for m in {heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_commands_complete_in_the_shell() -> None:
    words = {"COMP_WORDS": "testbed ", "COMP_CWORD": "1", "_TESTBED_COMPLETE": "complete_bash"}
    script = Path(sys.executable).with_name("testbed")
    done = subprocess.run([script], capture_output=True, text=True, env=os.environ | words, timeout=30)
    assert {"run", "report", "config"} <= set(done.stdout.split())


def test_a_radio_on_the_command_line_stands_for_all_that_the_campaign_names(tmp_path: Path) -> None:
    """Who asks for simulated radios must not get the real ones."""
    real = '[radio]\naddresses = ["pluto:ip:10.9.9.1", "pluto:ip:10.9.9.2", "pluto:ip:10.9.9.3", "pluto:ip:10.9.9.4"]\n'
    (tmp_path / "c.toml").write_text(real, encoding="utf-8")
    told = {}
    for words in ((), ("--radio", "sim:")):
        done = command(tmp_path, "run", tmp_path / "c.toml", "--dry-run", "--json", *words)
        assert done.returncode == 0, done.stderr
        told[words] = json.loads(done.stdout)["radios"]
    assert told[()].split() == [f"pluto:ip:10.9.9.{k}" for k in range(1, 5)]
    assert told["--radio", "sim:"] == "sim:"


def test_a_sweep_says_what_it_ran_and_finds_it_again(tmp_path: Path) -> None:
    sweep = tmp_path / "s.toml"
    sweep.write_text('name = "s"\n[fixed]\n"nodes.tokens" = 4\n[axes]\nseed = [1, 2]\n', encoding="utf-8")
    ran, again = (command(tmp_path, "sweep", sweep, "--out", tmp_path, "--json") for _ in range(2))
    assert (ran.returncode, again.returncode) == (0, 0), ran.stderr + again.stderr
    told = [json.loads(one.stdout) for one in (ran, again)]
    assert [(one["ran"], one["found"], one["failed"]) for one in told] == [(2, 0, 0), (0, 2, 0)]
    assert Path(told[0]["table"]).is_file()
