from __future__ import annotations

import os
import struct

import pytest

from testbed.record.recover import CHECKSUM_AT, Recovered, SuperblockError, lookup3, superblock, was_closed
from tests.unit.record import factory


@pytest.fixture
def record(tmp_path, seed):
    return factory.record_run(tmp_path, seed, of=factory.shape(K=2, L=1, U=20, pilots=2)).record


def test_lookup3_gives_the_published_values():
    # lookup3.c, driver5(): hashlittle with initial value 0
    assert lookup3(b"") == 0xDEADBEEF
    assert lookup3(b"Four score and seven years ago") == 0x17770551


def test_lookup3_is_the_checksum_that_hdf5_writes(record):
    head = superblock(record)
    assert lookup3(head[:CHECKSUM_AT]) == struct.unpack_from("<I", head, CHECKSUM_AT)[0]
    assert was_closed(head)


def test_a_closed_file_is_seen_as_it_is(record):
    with Recovered(record) as found:
        assert found.read() == record.read_bytes()
        assert found.seek(-5, os.SEEK_END) == record.stat().st_size - 5
        assert found.read(99) == record.read_bytes()[-5:]
        found.seek(8)
        assert found.read(2) == record.read_bytes()[8:10]


def test_what_was_never_written_reads_as_zeros(record):
    sound = record.read_bytes()
    record.write_bytes(sound[:-100])
    with Recovered(record) as found:
        assert found.read() == sound[:-100] + bytes(100)


def test_a_damaged_beginning_is_refused(record):
    sound = record.read_bytes()
    for content in (b"", sound[:40], b"x" + sound[1:], sound[:20] + b"\x55" + sound[21:]):
        record.write_bytes(content)
        with pytest.raises(SuperblockError):
            superblock(record)
