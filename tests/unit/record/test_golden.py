"""Recordings of every released format version can be read, and hold what was handed to the recorder then."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest

from testbed.record.catalogue_entry import entry_of
from testbed.record.folder import RunFolder
from testbed.record.read import read_run, verify
from testbed.record.repair import repair
from testbed.record.schema import FORMAT_VERSION, VARIABLES
from testbed.record.totals import totals

GOLDEN = Path(__file__).parents[3] / "measurements" / "golden"
RECORDINGS = sorted(path.parent for path in GOLDEN.glob("*/manifest.json"))


@pytest.fixture(scope="module")
def make():
    """The script that made the recordings, as a module."""
    spec = importlib.util.spec_from_file_location("golden_make", GOLDEN / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_version_has_its_recordings(make):
    there = {path.name for path in RECORDINGS}
    assert there == {f"v{version}-{name}" for version in range(1, FORMAT_VERSION + 1) for name in make.RUNS}


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
def test_a_golden_recording_reads_as_it_was_recorded(path, make):
    run, expected = read_run(path), json.loads((path / "expected.json").read_text())
    assert len(run.rounds) == len(expected) > 0
    for record, facts in zip(run.rounds, expected, strict=True):
        assert dict(make.facts(record)) == facts
        assert record.seconds
    assert verify(path) == ()


def test_the_finished_one_has_closing_figures_that_fit_its_rounds():
    run = read_run(GOLDEN / "v1-four-nodes")
    sums = totals(run.rounds)
    assert run.manifest.status == "complete"
    assert (run.summary.rounds, run.summary.tokens) == (sums.rounds, sums.tokens) == (4, 64)
    assert run.summary.energy_spent_j == pytest.approx(sums.spent_j, rel=1e-12)


def test_the_killed_one_is_interrupted_and_can_be_repaired(tmp_path):
    golden = GOLDEN / "v1-killed"
    before = read_run(golden)
    assert (before.manifest.status, before.summary, before.unfinished) == ("interrupted", None, 0)
    copy = Path(shutil.copytree(golden, tmp_path / "v1-killed"))
    assert repair(copy) == len(before.rounds) == 5
    assert not (copy / "journal.bin").exists()
    assert verify(copy) == ()
    assert entry_of(RunFolder(copy)) == entry_of(RunFolder(golden))


def test_the_page_explains_every_field_and_file():
    page = (GOLDEN / "README.md").read_text()
    explained = set(re.findall(r"`([^`\n]+)`", page))
    named = {v.name for v in VARIABLES}
    for file in GOLDEN.glob("*/*.json"):
        content = json.loads(file.read_text())
        named |= {file.name, *(content if isinstance(content, dict) else ())}
    assert named - explained == set()


def test_they_are_small():
    assert sum(file.stat().st_size for file in GOLDEN.rglob("*") if file.is_file()) < 1.2e6
