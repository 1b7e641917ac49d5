from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from testbed.errors import RecordError
from testbed.record.folder import RunFolder, create_run
from testbed.record.frame import Append, Open
from testbed.record.journal import AppendFile, entry, read_journal
from testbed.record.read import read_run, verify
from testbed.record.repair import repair
from testbed.record.writer import RunWriter
from tests.unit.record import factory
from tests.unit.record.same import assert_same

ROOT = Path(__file__).parents[3]
SHAPE = factory.shape(K=2, L=2, U=12, pilots=2)
MADE = [r for r, _ in factory.rounds(7, SHAPE, passes=2)]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run that was killed after four rounds; tests copy it."""
    return factory.killed_run(tmp_path_factory.mktemp("runs"), "killed", SHAPE, MADE)


@pytest.fixture
def copy(killed, tmp_path):
    return RunFolder(shutil.copytree(killed.path, tmp_path / killed.run_id))


def rounds_found(folder):
    run = read_run(folder.path)
    for found, expected in zip(run.rounds, MADE, strict=False):
        assert_same(found, expected)
    return len(run.rounds), run.unfinished


def test_a_killed_run_is_read_from_its_journal(copy):
    copy.record.unlink(missing_ok=True)
    assert rounds_found(copy) == (4, 0)
    assert read_run(copy.path).shape.attributes == SHAPE.described()
    assert verify(copy.path) == ()


def test_a_journal_cut_before_its_first_entry_is_refused(copy):
    copy.journal.write_bytes(copy.journal.read_bytes()[:20])
    with pytest.raises(RecordError, match="killed before it began"):
        read_run(copy.path)


def test_another_version_and_another_content_are_refused(tmp_path):
    future = Open(99, 2, 2, [0.0], [0.0], None, 1.0, "air time", {})
    for message, words in ((future, "begins with Open of version 99"), (Append(b""), "begins with Append")):
        folder = create_run(tmp_path, "odd", 1, "", [], factory.NOW)
        with contextlib.closing(AppendFile(folder.journal, new=True)) as file:
            file.append(entry(message, {}))
        with pytest.raises(RecordError, match=words):
            read_run(folder.path)


def test_a_piece_that_cannot_be_written_whole_is_taken_back(tmp_path):
    """A child process may write 1000 bytes a file; the piece that goes beyond leaves the file as it was."""
    script = """
import resource, sys
from pathlib import Path
from testbed.record.journal import AppendFile
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
file = AppendFile(Path(sys.argv[1]))
file.append([bytes(400), b"", bytes(300)])
for _ in range(2):
    try:
        file.append([bytes(200), bytes(200)])
    except OSError as error:
        print(error.strerror)
file.append([bytes(300)])
assert file.size == 1000
"""
    path = tmp_path / "file"
    done = subprocess.run(
        [sys.executable, "-c", script, path], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "File too large\n" * 2), done.stderr
    assert path.stat().st_size == 1000


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


def test_repair_leaves_a_running_run_alone(tmp_path):
    folder = create_run(tmp_path, "live", 7, factory.CAMPAIGN, [], factory.NOW)
    with RunWriter(folder, SHAPE) as writer:
        writer.append(MADE[0])
        with pytest.raises(RecordError, match="still being written"):
            repair(folder.path)
        writer.finish(None)


@pytest.mark.parametrize("where", ["body", "header", "prefix"])
def test_repair_keeps_the_rounds_before_a_damage_and_puts_the_journal_aside(copy, where):
    """As after a power cut, where blocks of the file were never written: zeros in the middle of it."""
    sizes = [24 + len(f.header) + len(f.body) for f in read_journal(copy.journal)]
    begin = sum(sizes[:3]) + {"body": 1500, "header": 40, "prefix": 0}[where]
    bent = bytearray(copy.journal.read_bytes())
    bent[begin : begin + 200] = bytes(200)
    copy.journal.write_bytes(bent)
    with pytest.raises(RecordError, match="damaged"):
        read_run(copy.path)
    assert any("damaged" in words for words in verify(copy.path))
    assert repair(copy.path) == 2
    assert (copy.path / "journal.damaged").read_bytes() == bent
    assert rounds_found(copy) == (2, 2)
    assert "2 rounds are safe, what followed is damaged" in read_run(copy.path).manifest.events[-1]


def test_repair_says_what_cannot_be_repaired(copy):
    copy.journal.write_bytes(b"DMoE" + bytes(60))
    with pytest.raises(RecordError, match=r"journal\.bin: damaged: entry 0"):
        repair(copy.path)
    assert copy.journal.exists()
