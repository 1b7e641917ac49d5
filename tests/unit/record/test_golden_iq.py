"""Golden samples are heard by today's modem as they were when they were recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from testbed.campaign import Campaign
from testbed.csi.sound import sound
from testbed.record.iq_read import read_recordings
from testbed.record.read import read_run, verify

HEARD = sorted((Path(__file__).parents[3] / "measurements" / "golden").glob("v*-heard"))


@pytest.mark.parametrize("path", HEARD, ids=lambda path: path.name)
def test_every_recorded_sounding_gives_the_recorded_channel(path: Path) -> None:
    assert verify(path) == ()
    run = read_run(path)
    grid = Campaign.from_text(run.campaign).ofdm_grid()
    heard = 0
    for recording in read_recordings(path / "iq", direction="rx"):
        for entry in recording.entries:
            what = entry.occasion
            assert what is not None
            if what.kind != "sounding":
                continue
            found = sound(grid, recording.samples(entry), number=what.frame)
            assert found is not None
            assert (found.header.source, found.header.number) == (what.source, what.frame)
            measured, link = run.rounds[what.round].measured, (what.source, recording.header.node)
            assert np.linalg.norm(found.h - measured.h[link]) < 0.05 * np.linalg.norm(measured.h[link])
            assert found.cfo_hz == pytest.approx(measured.cfo_hz[link], abs=0.002 * grid.spacing_hz)
            heard += 1
    assert heard == len(run.rounds) * run.shape.nodes * (run.shape.nodes - 1)


def test_there_are_golden_samples() -> None:
    assert HEARD
