"""Files cut at every byte and bits flipped anywhere: at most the last rounds are lost, and never silently."""

from __future__ import annotations

import os
import shutil
from itertools import accumulate

import h5py
import numpy as np
import pytest

from testbed.errors import RecordError
from testbed.record.folder import RunFolder
from testbed.record.journal import read_journal
from testbed.record.read import read_run, verify
from testbed.record.repair import repair
from testbed.record.schema import RAGGED, VARIABLES
from testbed.record.table import open_hdf5, open_table
from tests.unit.record import factory
from tests.unit.record.same import assert_same

SHAPE = factory.shape(K=2, L=2, U=12, pilots=2)
MADE = [r for r, _ in factory.rounds(7, SHAPE, passes=2)]
LOOK_CLOSER = 499
"""Every so many bytes the whole run is read, or repaired."""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return {
        "killed": factory.killed_run(tmp_path_factory.mktemp("killed"), "killed", SHAPE, MADE),
        "finished": factory.record_run(tmp_path_factory.mktemp("finished"), 7, passes=2, of=SHAPE),
    }


@pytest.fixture
def killed(recorded, tmp_path):
    return copy_of(recorded["killed"], tmp_path)


@pytest.fixture
def finished(recorded, tmp_path):
    return copy_of(recorded["finished"], tmp_path)


def copy_of(folder, out):
    return RunFolder(shutil.copytree(folder.path, out / folder.run_id))


def rounds_found(folder):
    """How many rounds are there, all of them right, and how many are known to be missing."""
    run = read_run(folder.path)
    for found, expected in zip(run.rounds, MADE, strict=False):
        assert_same(found, expected, skip=("seconds",))
    return len(run.rounds), run.unfinished


def cuts(size, group, long):
    """Sizes to cut a file to, each one byte less; in the short form those that end in its last `group` bytes."""
    return range(size - 1, 0 if long else size - group, -1)


def test_a_journal_cut_at_any_byte_loses_the_rounds_behind_the_cut_and_says_so(killed, request):
    ends = np.array(list(accumulate(24 + len(f.header) + len(f.body) for f in read_journal(killed.journal))))
    assert ends[-1] == killed.journal.stat().st_size
    for size in cuts(int(ends[-1]), int(ends[-1] - ends[-2]) + 50, request.config.getoption("--long")):
        os.truncate(killed.journal, size)
        there = int((ends <= size).sum()) - 1
        if there < 0:
            with pytest.raises(RecordError, match="killed before it began"):
                read_run(killed.path)
            continue
        with open_table(killed) as table:
            assert table.count == there, size
        if size % LOOK_CLOSER == 0:
            assert rounds_found(killed) == (there, 4 - there)
            assert verify(killed.path) == (f"{4 - there} round(s) were begun and are not in the record",)


def test_a_record_cut_at_any_byte_is_refused_and_repair_keeps_the_rounds_before_the_cut(finished, request, tmp_path):
    finished.checksums.unlink()  # the file alone must tell
    size = finished.record.stat().st_size
    owner = owners(finished.record)
    for left in cuts(size, 6000, request.config.getoption("--long")):
        os.truncate(finished.record, left)
        with pytest.raises(RecordError, match=r"record\.h5: (cannot be read|damaged)"), open_hdf5(finished.record):
            pass
        if left % LOOK_CLOSER == 0 and left > size - 6000:
            assert any("record.h5" in words for words in verify(finished.path))
            first_lost = min((row for at, (_, row) in owner.items() if at >= left), default=4)
            assert repaired(finished, tmp_path / "again") == first_lost


def repaired(folder, out):
    """Rounds that repair brings back, in a copy."""
    copy = copy_of(folder, out)
    rounds = repair(copy.path)
    assert rounds_found(copy)[0] == rounds
    assert (copy.path / "record.damaged").read_bytes() == folder.record.read_bytes()
    run = read_run(copy.path)
    assert (run.manifest.status, run.manifest.rounds) == ("complete" if rounds == 4 else "interrupted", rounds)
    shutil.rmtree(out)
    return rounds


def owners(path):
    """Offset in the file → variable and round whose value that byte is a part of, by the HDF5 library's account."""
    owner = {}
    with h5py.File(path) as file:
        counts = {dim: file[count][()] for dim, count in RAGGED.items()}
        for v in VARIABLES:
            data = file[v.name]
            row_bytes = data.dtype.itemsize * int(np.prod(data.shape[1:]))
            rounds = np.repeat(np.arange(4), counts[v.dims[0]]) if v.ragged else np.arange(4)
            for number in range(data.id.get_num_chunks()):
                chunk = data.id.get_chunk_info(number)
                for at, row in enumerate(rounds[chunk.chunk_offset[0] :][: data.chunks[0]].tolist()):
                    begin = chunk.byte_offset + at * row_bytes
                    owner |= dict.fromkeys(range(begin, begin + row_bytes), (v.name, row))
    return owner


def flips(rng, size, long):
    return rng.integers(0, 8 * size, 1000 if long else 100).tolist()


def flip(path, sound, bit):
    bent = bytearray(sound)
    bent[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(bent)


def words_of(folder):
    """What verify says, or why it refuses."""
    try:
        return " ".join(verify(folder.path))
    except RecordError as error:
        return str(error)


def test_every_flipped_bit_of_a_finished_run_is_found_with_its_file_round_and_variable(finished, rng, request):
    files = sorted(path for path in finished.path.iterdir() if path.name != "checksums.b2")
    owner, named = owners(finished.record), 0
    contents = [path.read_bytes() for path in files]
    ends = np.cumsum([len(content) for content in contents])
    start = int(ends[files.index(finished.record)]) - finished.record.stat().st_size
    values = 8 * (start + rng.choice(list(owner), 40)) + rng.integers(0, 8, 40)
    for bit in [*flips(rng, int(ends[-1]), request.config.getoption("--long")), *values.tolist()]:
        at = int(np.searchsorted(ends, bit // 8, "right"))
        path, begin = files[at], int(ends[at]) - len(contents[at])
        flip(path, contents[at], bit - 8 * begin)
        words = words_of(finished)
        assert path.name in words, f"bit {bit} of {path.name}: {words}"
        if path == finished.record and (bit // 8 - begin) in owner:
            variable, row = owner[bit // 8 - begin]
            counted = variable in RAGGED.values()  # a wrong count moves all that it counts
            assert f"round {row}, {variable}" in words or counted, f"bit {bit}: {words}"
            named += 1
        path.write_bytes(contents[at])
    assert named >= 40
    assert verify(finished.path) == ()


def test_every_flipped_bit_of_the_checksums_is_found(finished, rng):
    sound = finished.checksums.read_bytes()
    for bit in rng.integers(0, 8 * len(sound), 40).tolist():
        flip(finished.checksums, sound, bit)
        assert words_of(finished)


def test_every_flipped_bit_of_a_killed_run_is_found_with_its_file_and_round(killed, rng, request):
    files = [killed.manifest, killed.campaign, killed.timings, killed.journal]
    entries = list(accumulate(24 + len(f.header) + len(f.body) for f in read_journal(killed.journal)))
    contents = [path.read_bytes() for path in files]
    ends = np.cumsum([len(content) for content in contents])
    for bit in flips(rng, int(ends[-1]), request.config.getoption("--long")):
        at = int(np.searchsorted(ends, bit // 8, "right"))
        path, begin = files[at], int(ends[at]) - len(contents[at])
        flip(path, contents[at], bit - 8 * begin)
        words = words_of(killed)
        assert words, f"bit {bit} of {path.name}"
        if path == killed.journal:
            entry = int(np.searchsorted(entries, bit // 8 - begin, "right"))
            assert f"entry {entry}" in words or f"round {entry - 1}" in words or entry == 0, words
        else:
            assert path.name in words
        path.write_bytes(contents[at])
    assert verify(killed.path) == ()


def test_a_flip_in_the_journals_first_entry_is_never_taken_for_right(killed, rng):
    """It holds grid, spacing and attributes."""
    sound = killed.journal.read_bytes()
    first = next(read_journal(killed.journal))
    for bit in rng.integers(0, 8 * (24 + len(first.header)), 60).tolist():
        flip(killed.journal, sound, bit)
        with pytest.raises(RecordError, match="damaged"):
            read_run(killed.path)
