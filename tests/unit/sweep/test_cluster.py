"""The same cells on a real Dask cluster: a scheduler and two workers, each a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import LinkError
from testbed.sweep import pools
from testbed.sweep.run import run_cells, run_sweep
from tests.unit.sweep import work
from tests.unit.sweep.dask_cluster import cluster
from tests.unit.sweep.test_run import TINY, cells

pytest.importorskip("distributed")


@pytest.mark.timeout(600)
def test_a_cluster_does_what_local_processes_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same figures bit for bit; a cell that kills its worker, or raises, takes nobody with it."""
    deaths = tmp_path / "deaths"
    monkeypatch.setenv("DEATHS", str(deaths))
    (tmp_path / "tiny.toml").write_text(TINY, encoding="utf-8")
    with cluster(tmp_path, workers=2) as address:
        there = run_sweep(tmp_path / "tiny.toml", tmp_path / "there", cluster=address)
        again = run_sweep(tmp_path / "tiny.toml", tmp_path / "there", cluster=address)
        killing = run_cells(cells(6), tmp_path / "t.sqlite", work=work.three_dies, cluster=address)
        raising = run_cells(cells(3), tmp_path / "u.sqlite", work=work.odd_raises, cluster=address)
        told = run_cells(cells(1), tmp_path / "v.sqlite", work=work.seed_of, cluster=address)
    here = run_sweep(tmp_path / "tiny.toml", tmp_path / "here", 1)
    assert there.ran == here.ran == again.found == 4
    assert [row.figures for row in there.rows] == [row.figures for row in here.rows]
    assert [row.status for row in killing.rows] == ["done"] * 3 + ["failed"] + ["done"] * 2
    assert killing.rows[3].attempts == 3
    assert 3 <= len(deaths.read_text(encoding="utf-8")) <= 4
    assert [row.status for row in raising.rows] == ["done", "failed", "done"]
    assert raising.rows[1].error == "ValueError: seed 1 is odd"
    assert told.rows[0].figures == {"seed": 0, "thread": "1"}


def test_no_scheduler_is_said_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "JOIN_S", 1)
    with pytest.raises(LinkError, match=r"cluster tcp://127\.0\.0\.1:9"):
        run_cells(cells(1), tmp_path / "t.sqlite", cluster="tcp://127.0.0.1:9")
    assert run_cells(cells(1), tmp_path / "t.sqlite", work=work.seed_of).ran == 1
