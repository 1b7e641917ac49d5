from __future__ import annotations

import shutil

import h5py
import numpy as np
import psutil
import pytest

from testbed.errors import RecordError
from testbed.record.folder import RunFolder, create_run
from testbed.record.journal import Journal, read_journal
from testbed.record.pipe import Append, Done, pack
from testbed.record.read import read_run, verify
from testbed.record.repair import repair
from testbed.record.writer import RunWriter
from tests.unit.record import factory
from tests.unit.record.same import assert_same

SHAPE = factory.shape(K=2, L=2, U=12, pilots=2)
MADE = [r for r, _ in factory.rounds(7, SHAPE, passes=2)]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run whose writer was killed after four rounds; tests copy it."""
    folder = create_run(tmp_path_factory.mktemp("runs"), "killed", 7, factory.CAMPAIGN, [], factory.NOW)
    writer = RunWriter(folder, SHAPE)
    with writer:
        for record in MADE:
            writer.append(record)
        psutil.Process(writer._process.pid).kill()
    return folder


@pytest.fixture
def copy(killed, tmp_path):
    return RunFolder(shutil.copytree(killed.path, tmp_path / killed.run_id))


def rounds_found(folder):
    run = read_run(folder.path)
    for found, expected in zip(run.rounds, MADE, strict=False):
        assert_same(found, expected)
    return len(run.rounds), run.unfinished


def test_a_killed_run_is_read_from_its_journal(copy):
    copy.record.unlink()
    assert rounds_found(copy) == (4, 0)
    assert read_run(copy.path).shape.attributes == SHAPE.described()
    assert any("record.h5: missing" in words for words in verify(copy.path))


def test_a_tail_cut_anywhere_loses_its_round_and_says_so(copy):
    whole = copy.journal.read_bytes()
    ends = np.cumsum([24 + len(f.header) + len(f.body) for f in read_journal(copy.journal)])
    assert ends[-1] == len(whole)
    for size in range(ends[2] - 3, len(whole), 11):
        copy.journal.write_bytes(whole[:size])
        there = int((ends <= size).sum()) - 1
        assert rounds_found(copy) == (there, 4 - there)
    assert any("1 round(s) were begun" in words for words in verify(copy.path))


def test_a_journal_cut_before_its_first_entry_is_refused(copy):
    copy.journal.write_bytes(copy.journal.read_bytes()[:20])
    with pytest.raises(RecordError, match="killed before it began"):
        read_run(copy.path)


def test_no_flipped_bit_of_a_journal_is_taken_for_right(copy, rng):
    sound = copy.journal.read_bytes()
    for bit in rng.integers(0, 8 * len(sound), 300).tolist():
        bent = bytearray(sound)
        bent[bit // 8] ^= 1 << (bit % 8)
        copy.journal.write_bytes(bent)
        with pytest.raises(RecordError, match=r"damaged"):
            read_run(copy.path)


def test_another_version_and_another_content_are_refused(tmp_path):
    for message, words in ((Done(1), "begins with Done"), (Append(b""), "begins with Append")):
        folder = create_run(tmp_path, "odd", 1, "", [], factory.NOW)
        Journal(folder.journal).append(pack(message, {}))
        with pytest.raises(RecordError, match=words):
            read_run(folder.path)


def test_repair_makes_the_file_that_an_unbroken_run_would_have_left(copy, tmp_path):
    whole = create_run(tmp_path / "whole", "killed", 7, factory.CAMPAIGN, [], factory.NOW)
    with RunWriter(whole, SHAPE) as writer:
        for record in MADE:
            writer.append(record)
        writer.finish(None, "interrupted")
    assert repair(copy.path) == 4
    assert copy.record.read_bytes() == whole.record.read_bytes()
    assert {p.name for p in copy.path.iterdir()} == {p.name for p in whole.path.iterdir()}
    assert rounds_found(copy) == (4, 0)
    assert verify(copy.path) == ()
    assert repair(copy.path) == 4


def test_repair_keeps_what_is_sound_of_a_cut_journal(copy):
    copy.journal.write_bytes(copy.journal.read_bytes()[:-5])
    copy.record.write_bytes(b"")
    assert repair(copy.path) == 3
    with h5py.File(copy.record) as file:
        assert file["committed"][()] == 3
    assert rounds_found(copy) == (3, 1)


def test_repair_leaves_a_running_or_damaged_run_alone(tmp_path, copy):
    folder = create_run(tmp_path / "live", "live", 7, factory.CAMPAIGN, [], factory.NOW)
    with RunWriter(folder, SHAPE) as writer:
        writer.append(MADE[0])
        with pytest.raises(RecordError, match="still being written"):
            repair(folder.path)
        writer.finish(None)
    bent = bytearray(copy.journal.read_bytes())
    bent[-1] ^= 1
    copy.journal.write_bytes(bent)
    before = copy.record.read_bytes()
    with pytest.raises(RecordError, match="damaged: round 3"):
        repair(copy.path)
    assert copy.record.read_bytes() == before
