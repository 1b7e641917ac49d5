"""Excerpts of real recordings: each is recognised by content and read whole; damage is counted or refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from testbed.errors import RecordError
from testbed.record.foreign.importer import import_files

SAMPLES = Path(__file__).parents[4] / "measurements" / "foreign"
EXPECTED = {
    "atheros.dat": ("atheros", 80, 6, 56),
    "esp32.csv": ("esp32", 300, 1, 64),
    "feitcsi_he160.csi": ("feitcsi", 6, 2, 1992),
    "feitcsi_vht80.csi": ("feitcsi", 40, 2, 242),
    "intel5300.dat": ("intel5300", 300, 6, 30),
    "nexmon.pcap": ("nexmon", 150, 1, 256),
    "picoscenes.csi": ("picoscenes", 160, 2, 56),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_an_excerpt_is_recognised_and_read_whole(tmp_path: Path, name: str) -> None:
    source = tmp_path / "recording"  # its name says nothing
    source.write_bytes((SAMPLES / name).read_bytes())
    (found,) = import_files([source], tmp_path / "out.nc")
    assert (found.format, found.packets, found.links, found.subcarriers, found.skipped) == (*EXPECTED[name], 0)
    with h5py.File(tmp_path / "out.nc") as file:
        h = file["h"][()]
    assert h.dtype == np.complex64
    assert np.isfinite(h).all()
    assert np.abs(h).max() > 0


def test_a_truncated_file_loses_its_last_packet_and_says_so(tmp_path: Path) -> None:
    source = tmp_path / "cut.dat"
    source.write_bytes((SAMPLES / "intel5300.dat").read_bytes()[:-10])
    (found,) = import_files([source], None)
    assert (found.packets, found.skipped) == (299, 1)
    with pytest.raises(RecordError):
        import_files([source], None, strict=True)


@pytest.mark.parametrize("content", [b"", b"hello, world\n" * 50, bytes(range(256)) * 16])
def test_what_is_not_recognised_lists_what_is(tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "thing.dat"
    source.write_bytes(content)
    with pytest.raises(RecordError, match=r"nexmon|empty|no known"):
        import_files([source], None)
