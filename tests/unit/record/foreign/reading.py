"""What the tests of all formats share: a file read whole, and its numbers as they are in the file."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from testbed.record.foreign.recognise import open_foreign
from testbed.record.foreign.value import ForeignCsi, Packets

SAMPLES = Path(__file__).parents[4] / "measurements" / "foreign"


@dataclass(frozen=True, eq=False)
class Whole:
    """A recording and all its packets."""

    source: ForeignCsi
    packets: Packets

    @property
    def raw(self) -> NDArray[np.complex128]:
        """(packets, links, tones) the numbers in the file, scaling undone, rounded to whole ones."""
        p = self.packets
        with np.errstate(invalid="ignore", divide="ignore"):
            numbers = p.h.astype(complex) / p.scale[..., None].astype(float)
        return np.where(p.valid[..., None], np.round(numbers), 0)

    @property
    def tones(self) -> NDArray[np.int64]:
        """Tone indices of the frequency axis."""
        return np.round(self.source.frequency_hz / self.source.spacing_hz).astype(np.int64)

    def link(self, receive: int, transmit: int) -> int:
        """Number of an antenna pair."""
        return self.source.links.index((receive, transmit))


def read(path: Path) -> Whole:
    """All chunks of a file put together."""
    source = open_foreign(path)
    chunks = list(source.chunks())
    together = {
        f.name: sum(c.skipped for c in chunks)
        if f.name == "skipped"
        else np.concatenate([getattr(c, f.name) for c in chunks])
        for f in fields(Packets)
    }
    return Whole(source, Packets(**together))


def write(folder: Path, content: bytes, name: str = "recording") -> Path:
    """A file whose name says nothing."""
    path = folder / name
    path.write_bytes(content)
    return path
