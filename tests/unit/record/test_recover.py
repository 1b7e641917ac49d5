from __future__ import annotations

import os
import struct

import h5py
import numpy as np
import pytest

from testbed.record.hdf5_bytes import forget_times, lookup3
from testbed.record.recover import CHECKSUM_AT, Recovered, SuperblockError, superblock, was_closed
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


def test_a_file_with_a_named_type_forgets_when_it_was_made(tmp_path):
    path = tmp_path / "type.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file["complex"] = np.dtype("c8")
        address = h5py.h5o.get_info(file["complex"].id).addr
    before = path.read_bytes()
    forget_times(path, address)
    after = path.read_bytes()
    changed = {at - address for at in range(len(before)) if before[at] != after[at]}
    assert changed
    assert {at for at in changed if at < 22} <= set(range(6, 22))
    assert after[address + 6 : address + 22] == bytes(16)
    with h5py.File(path) as file:  # HDF5 checks the new checksum
        assert file["complex"].dtype == np.complex64
    with pytest.raises(ValueError, match="no object header"):
        forget_times(path, address + 1)
