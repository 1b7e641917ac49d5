from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testbed.errors import RecordError
from testbed.record import catalogue
from testbed.record.catalogue import INDEX, find_run, list_runs, remove, search, show, tag
from testbed.record.folder import RunFolder, create_run, is_live
from testbed.record.read import read_run, verify
from testbed.record.repair import repair
from testbed.record.totals import accuracies, closing
from testbed.record.writer import RunWriter
from tests.unit.record import factory

SMALL = factory.shape(K=2, L=2, U=20, pilots=2)
KILLED = """
import os, sys
from pathlib import Path
from testbed.record.folder import create_run
from testbed.record.writer import RunWriter
from tests.unit.record import factory
of = factory.shape(K=2, L=2, U=20, pilots=2)
with RunWriter(create_run(Path(sys.argv[1]), "killed", 5, factory.CAMPAIGN, [], factory.NOW), of) as writer:
    for record, ended in factory.rounds(5, of, passes=2)[:3]:
        writer.append(record, ended)
    os.kill(os.getpid(), 9)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three runs: seeds 1 and 2 finished, seed 5 killed after three rounds."""
    out = tmp_path_factory.mktemp("runs")
    for seed in (1, 2):
        factory.record_run(out, seed, of=SMALL)
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", KILLED, out], cwd=root, check=False)
    assert done.returncode == -9
    (killed,) = out.glob("*seed5")
    end = time.monotonic() + 30
    while is_live(RunFolder(killed)):  # the writer outlives what it wrote for by a moment
        assert time.monotonic() < end
        time.sleep(0.05)
    (out / "notes").mkdir()
    return out


@pytest.fixture
def out(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "runs"))


def by_seed(entries):
    return {entry.seed: entry for entry in entries}


def test_lists_runs_with_what_was_run_and_how_it_ended(out):
    entries = by_seed(list_runs(out))
    assert set(entries) == {1, 2, 5}
    one, summary = entries[1], read_run(out / entries[1].run_id).summary
    manifest = read_run(out / one.run_id).manifest
    assert (one.campaign, one.status, one.host, one.rounds) == ("demo", "complete", manifest.host, 2)
    assert (one.git_commit, one.packages, one.python) == (manifest.git_commit, manifest.packages, manifest.python)
    assert (one.accuracy, one.accuracy_central) == (summary.accuracy, summary.accuracy_central)
    assert (one.energy_spent_j, one.energy_predicted_j) == (summary.energy_spent_j, summary.energy_predicted_j)


def test_a_killed_run_is_interrupted_and_its_figures_are_those_of_its_safe_rounds(out):
    killed = by_seed(list_runs(out))[5]
    run = read_run(out / killed.run_id)
    assert (killed.status, killed.rounds) == ("interrupted", 3)
    assert killed.energy_spent_j == closing(run).spent_j
    assert killed.accuracy == accuracies(run.predictions)[0].run
    repair(out / killed.run_id)
    assert by_seed(list_runs(out))[5] == killed


def test_a_run_is_running_until_its_writer_is_gone(tmp_path):
    folder = create_run(tmp_path, "live", 3, factory.CAMPAIGN, [], factory.NOW)
    with RunWriter(folder, SMALL) as writer:
        for number, (record, _) in enumerate(factory.rounds(3, SMALL), 1):
            writer.append(record)
            (entry,) = list_runs(tmp_path)
            assert (entry.status, entry.rounds) == ("running", number)
        with pytest.raises(RecordError, match="still being written"):
            remove(folder.path)
        writer.finish(None, "interrupted")
    assert list_runs(tmp_path)[0].status == "interrupted"


def test_the_index_is_made_again_from_the_folders(out):
    before = list_runs(out)
    with contextlib.closing(sqlite3.connect(out / INDEX)) as index:
        assert index.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    for content in (None, b"", b"no database" * 1000):
        for path in out.glob(f"{INDEX}*"):
            path.unlink()
        if content is not None:
            (out / INDEX).write_bytes(content)
        assert list_runs(out) == before


def test_an_index_of_another_version_is_made_again(out):
    before = list_runs(out)
    with sqlite3.connect(out / INDEX) as other:
        other.execute("PRAGMA user_version = 99")
    other.close()
    assert list_runs(out) == before


def test_only_what_changed_is_read_again(out, monkeypatch):
    list_runs(out)
    read = []
    entry_of = catalogue.entry_of
    monkeypatch.setattr(catalogue, "entry_of", lambda folder: read.append(folder.run_id) or entry_of(folder))
    list_runs(out)
    assert read == []
    changed = by_seed(list_runs(out))[2].run_id
    tag(out / changed, ["paper"])
    assert by_seed(list_runs(out))[2].tags == ("paper",)
    assert read == [changed]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_listed_all_the_same(out):
    out.chmod(0o500)
    try:
        assert len(list_runs(out)) == 3
    finally:
        out.chmod(0o700)


def test_an_index_that_is_locked_for_long_is_not_needed(out, monkeypatch):
    before = list_runs(out)
    monkeypatch.setattr("testbed.record.catalogue_index.PATIENCE_S", 0.05)
    holder = sqlite3.connect(out / INDEX)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        assert list_runs(out) == before
    finally:
        holder.close()
    assert (out / INDEX).exists()


def test_damaged_runs_are_listed_with_the_reason(out):
    one, two = (by_seed(list_runs(out))[seed].run_id for seed in (1, 2))
    (out / one / "manifest.json").write_text("{")
    (out / two / "summary.json").write_text("[]")
    entries = {entry.run_id: entry for entry in list_runs(out)}
    assert entries[one].status == entries[two].status == "damaged"
    assert "manifest.json: damaged" in entries[one].problem
    assert "summary.json: damaged" in entries[two].problem
    assert show(out / one).manifest is None


@pytest.mark.parametrize(
    ("words", "seeds"),
    [
        ([], {1, 2, 5}),
        (["seed=2"], {2}),
        (["seed<5", "status=complete"], {1, 2}),
        (["seed!=2"], {1, 5}),
        (["INTERRUPTED"], {5}),
        (["rounds>=3"], {5}),
        (["radio.nodes=4"], {1, 2, 5}),
        (["radio.nodes>4"], set()),
        (["tag=paper"], {2}),
        (["tag!=paper"], {1, 5}),
        (["paper"], {2}),
        (["seed1"], {1}),
        (["started>2025-03-17", "started<2025-04"], {1, 2, 5}),
        (["nothing like it"], set()),
        (["' OR 1=1 --"], set()),
    ],
)
def test_search(out, words, seeds):
    tag(next(out.glob("*seed2")), ["paper"])
    assert set(by_seed(search(out, words))) == seeds


def test_versions_can_be_searched_for(out):
    numpy = list_runs(out)[0].packages["numpy"]
    assert len(search(out, [f"numpy={numpy}"])) == 3
    assert search(out, ["numpy=0.0.1"]) == ()


def test_a_condition_on_what_no_run_has_is_refused(out):
    with pytest.raises(RecordError, match=r"no run has 'schedule.foo'; known are .*radio\.nodes"):
        search(out, ["schedule.foo=1"])


def test_tags_move_with_their_run_and_leave_it_sound(out, tmp_path):
    run = next(out.glob("*seed1"))
    assert tag(run, ["paper", "figure-3"]) == ("figure-3", "paper")
    assert tag(run, ["new"], ["paper", "absent"]) == ("figure-3", "new")
    assert verify(run) == ()
    moved = shutil.move(run, tmp_path / "elsewhere")
    assert show(Path(moved)).entry.tags == ("figure-3", "new")


@pytest.mark.parametrize("word", ["", "two words", "a=b", "a,b", "x" * 65])
def test_impossible_tags_are_refused(out, word):
    with pytest.raises(RecordError, match="a tag is 1 to 64 signs"):
        tag(next(out.glob("*seed1")), [word])


def test_damaged_tags_are_said(out):
    run = next(out.glob("*seed1"))
    (run / "tags.json").write_text('{"no": "list"}')
    with pytest.raises(RecordError, match="delete it and tag the run again"):
        tag(run, ["paper"])
    assert "tags.json" in by_seed(list_runs(out))[1].problem


def test_show_has_all_but_the_rounds(out):
    details = show(next(out.glob("*seed1")))
    assert details.campaign == factory.CAMPAIGN
    assert details.manifest.command == ("testbed", "run")
    assert details.summary.accuracy == details.entry.accuracy == 0.55
    assert details.files["record.h5"] == RunFolder(next(out.glob("*seed1"))).record.stat().st_size


def test_a_removed_run_is_gone_from_disk_and_list(out):
    run = next(out.glob("*seed1"))
    assert remove(run) == run.name
    assert not run.exists()
    assert set(by_seed(list_runs(out))) == {2, 5}
    assert list(out.glob(".*removed")) == []


def test_what_is_no_run_is_neither_shown_nor_tagged_nor_removed(out):
    for act in (show, tag, remove):
        with pytest.raises(RecordError, match="not a run folder"):
            act(out / "notes")
    assert (out / "notes").is_dir()
    with pytest.raises(RecordError, match="no folder of runs"):
        list_runs(out / "absent")


def test_a_run_is_found_by_path_and_by_part_of_its_name(out):
    run = next(out.glob("*seed1"))
    assert find_run(out, str(run)) == run
    assert find_run(out, run.name) == find_run(out, "seed1") == run
    with pytest.raises(RecordError, match=r"fits 2 runs.*seed1.*seed2"):
        find_run(out, "demo")
    with pytest.raises(RecordError, match="one of the 3 runs"):
        find_run(out, "seed9")
