"""Makes `channels.nc`: a network of four nodes, composed from a public recording of one receiver.

    python measurements/composed/make.py

The recording is the excerpt `../foreign/intel5300.dat`; its first 100 packets are taken. Nothing is drawn at random:
the file comes out with the same numbers every time, and a test holds it against a new one.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import h5py

from testbed.record.foreign.importer import import_files

HERE = Path(__file__).resolve().parent
RECORDING = HERE.parent / "foreign" / "intel5300.dat"
PACKETS = 100
ABOUT = {
    "licence": "MIT, Copyright (c) 2018 Hecheng Su; text in measurements/foreign/LICENSE.csiread.MIT.txt",
    "origin": "citysu/csiread, material/5300/dataset/sample_0x1_ap.dat at commit 943ec8466827",
}
RULE = "auto:4"


def first_packets(content: bytes, count: int) -> bytes:
    """Records of the 802.11n CSI Tool: two bytes of length, big-endian, before each."""
    end = 0
    for _ in range(count):
        end += 2 + int.from_bytes(content[end : end + 2], "big")
    return content[:end]


def make(out: Path) -> None:
    """Write the composition."""
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder, RECORDING.name)
        part.write_bytes(first_packets(RECORDING.read_bytes(), PACKETS))
        import_files([part], out, as_links=RULE)
    with h5py.File(out, "r+", locking=False) as file:
        file.attrs.update(ABOUT)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "channels.nc")
