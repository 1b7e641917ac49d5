from __future__ import annotations

import struct

import h5py
import numpy as np
import pytest

from testbed.record.hdf5_bytes import forget_times, lookup3


def test_lookup3_gives_the_published_values():
    # lookup3.c, driver5(): hashlittle with initial value 0
    assert lookup3(b"") == 0xDEADBEEF
    assert lookup3(b"Four score and seven years ago") == 0x17770551


def test_lookup3_is_the_checksum_that_hdf5_writes(tmp_path):
    with h5py.File(tmp_path / "empty.h5", "w", libver="latest"):
        pass
    superblock = (tmp_path / "empty.h5").read_bytes()[:48]
    assert lookup3(superblock[:44]) == struct.unpack("<I", superblock[44:])[0]


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
