from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from testbed.errors import RecordError
from testbed.record import space
from testbed.record.folder import (
    create_run,
    git_commit,
    hold,
    is_live,
    read_manifest,
    write_manifest,
)
from tests.unit.record.factory import CAMPAIGN, NOW


def make(out, name="demo", now=NOW):
    return create_run(out, name, 7, CAMPAIGN, ["testbed", "run", "--seed", "7"], now)


def test_a_new_run_says_what_is_run(tmp_path):
    folder = make(tmp_path / "deep" / "runs")
    manifest = read_manifest(folder)
    assert folder.run_id == manifest.run_id == "20250317T120000Z-demo-seed7"
    assert folder.campaign.read_text() == CAMPAIGN
    assert (manifest.campaign, manifest.seed, manifest.command[1:]) == ("demo", 7, ("run", "--seed", "7"))
    assert datetime.fromisoformat(manifest.started) == NOW
    assert manifest.packages["numpy"] >= "2"
    assert json.loads(folder.manifest.read_text())["status"] == "running"


def test_the_name_is_in_utc_and_fit_for_any_disk(tmp_path):
    local = datetime(2025, 3, 17, 13, 0, tzinfo=timezone(timedelta(hours=2)))
    assert make(tmp_path, "../a b/ç", local).run_id == "20250317T110000Z-a_b-seed7"
    assert make(tmp_path, "..", local).run_id == "20250317T110000Z-run-seed7"


def test_runs_of_one_second_get_numbers(tmp_path):
    assert [make(tmp_path).run_id[-6:] for _ in range(3)] == ["-seed7", "eed7-2", "eed7-3"]


def test_a_file_where_the_folder_should_be_is_one_sentence(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(RecordError, match=r"runs: no run can be recorded here: .*--out"):
        make(tmp_path / "runs")
    with pytest.raises(RecordError, match="Not a directory"):
        make(tmp_path / "runs" / "below")


def test_a_folder_that_cannot_be_written_is_one_sentence():
    with pytest.raises(RecordError, match="no run can be recorded here"):
        make(Path("/proc/self/runs"))


def test_nothing_is_left_where_the_manifest_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr("testbed.record.folder.FLOOR_BYTES", 1 << 60)
    with pytest.raises(space.NoSpace, match=r"disk nearly full, .* free some space .*--out"):
        make(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "damaged"),
        (b"{}", "damaged"),
        (b"\xff\xfe", "damaged"),
        (b"[" * 100_000, "damaged"),
    ],
)
def test_a_damaged_manifest_is_named(tmp_path, content, words):
    folder = make(tmp_path)
    folder.manifest.write_bytes(content)
    with pytest.raises(RecordError, match=words):
        read_manifest(folder)


def test_an_unknown_version_and_a_missing_manifest_are_refused(tmp_path):
    folder = make(tmp_path)
    content = json.loads(folder.manifest.read_text())
    folder.manifest.write_text(json.dumps(content | {"format_version": 99}))
    with pytest.raises(RecordError, match="version 99, this program reads"):
        read_manifest(folder)
    folder.manifest.unlink()
    with pytest.raises(RecordError, match="not a run folder"):
        read_manifest(folder)


def test_a_run_lives_as_long_as_its_writer_holds_it(tmp_path):
    folder = make(tmp_path)
    assert read_manifest(folder).status == "interrupted"
    handle = hold(folder)
    assert is_live(folder)
    assert read_manifest(folder).status == "running"
    with pytest.raises(OSError, match="temporarily unavailable"):
        hold(folder)
    os.close(handle)
    assert not is_live(folder)
    write_manifest(folder, read_manifest(folder))
    assert read_manifest(folder).status == "interrupted"


def test_replace_leaves_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "summary.json"
    space.replace(path, b"old")
    space.replace(path, b"new")
    assert path.read_bytes() == b"new"
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(RecordError, match=r"folder\.json: cannot be written"):
        space.replace(tmp_path / "folder.json", b"x")
    with pytest.raises(RecordError, match="cannot be written"):
        space.replace(tmp_path / "absent" / "summary.json", b"x")
    assert {p.name for p in tmp_path.iterdir()} == {"summary.json", "folder.json"}


def test_the_reserve_takes_real_room(tmp_path):
    space.reserve(tmp_path / "ballast")
    assert 512 * (tmp_path / "ballast").stat().st_blocks >= space.BALLAST_BYTES
    space.release(tmp_path / "ballast")
    space.release(tmp_path / "ballast")
    assert not (tmp_path / "ballast").exists()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_that_of_the_tree_and_says_when_files_differ(tmp_path):
    assert git_commit(tmp_path) is None

    def git(*words):
        command = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b.c", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "file").write_text("2")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD") + "-dirty"


def test_now_needs_no_particular_zone(tmp_path):
    assert make(tmp_path, now=NOW.astimezone(UTC)).run_id.startswith("20250317T120000Z")
