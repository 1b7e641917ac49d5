"""Excerpts of real recordings: each is recognised by content and read whole."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

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
