"""Cells in worker processes: each once, crashes counted, the rest goes on, the same whoever runs it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from testbed.errors import RecordError
from testbed.sweep.cell import Cell, make_cell
from testbed.sweep.run import Progress, run_cells, run_sweep
from tests.unit.sweep import work

TINY = """
name = "tiny"
[fixed]
"nodes.count" = 2
"nodes.tokens" = 3
"nodes.context" = 4
"nodes.compute_energy_j" = 1e-10
[axes]
seed = [1, 2]
[[variants]]
name = "jesa"
set = { "schedule.qos" = 0.8 }
[[variants]]
name = "random"
set = { "schedule.scheduler" = "random" }
"""


def cells(count: int) -> list[Cell]:
    return [make_cell(None, "", {"seed": seed}) for seed in range(count)]


def test_every_cell_once_and_never_again(tmp_path: Path) -> None:
    seen: list[Progress] = []
    first = run_cells(cells(4), tmp_path / "t.sqlite", 1, seen.append, work.seed_of)
    assert [row.figures for row in first.rows] == [{"seed": s, "thread": "1"} for s in range(4)]
    assert (first.ran, first.found, first.failed) == (4, 0, 0)
    assert [p.done for p in seen] == [1, 2, 3, 4]

    more = run_cells(cells(6), tmp_path / "t.sqlite", 1, work=work.seed_of)
    assert (more.ran, more.found) == (2, 4)


def test_a_cell_that_raises_three_times_is_marked_and_the_rest_goes_on(tmp_path: Path) -> None:
    result = run_cells(cells(5), tmp_path / "t.sqlite", 2, work=work.odd_raises)
    assert [row.status for row in result.rows] == ["done", "failed", "done", "failed", "done"]
    assert [row.attempts for row in result.rows] == [0, 3, 0, 3, 0]
    assert result.rows[1].error == "ValueError: seed 1 is odd"
    again = run_cells(cells(5), tmp_path / "t.sqlite", 1, work=work.odd_raises)
    assert (again.ran, again.failed) == (0, 2)


def test_a_cell_that_kills_its_process_takes_nobody_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEATHS", str(tmp_path / "deaths"))
    result = run_cells(cells(6), tmp_path / "t.sqlite", 2, work=work.three_dies)
    assert [row.status for row in result.rows] == ["done"] * 3 + ["failed"] + ["done"] * 2
    assert result.rows[3].attempts == 3
    assert "died" in str(result.rows[3].error)
    assert 3 <= len((tmp_path / "deaths").read_text()) <= 4


def test_an_interrupted_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cells(cells(5), tmp_path / "t.sqlite", 1, stop, work.slow_seed)
    rest = run_cells(cells(5), tmp_path / "t.sqlite", 1, work=work.slow_seed)
    assert (rest.found, rest.ran) == (2, 3)


def test_workers_leave_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from testbed.sweep.cell import make_cell\n"
        "from testbed.sweep.run import run_cells\n"
        "from tests.unit.sweep import work\n"
        "if __name__ == '__main__':\n"
        "    cells = [make_cell(None, '', {'seed': s}) for s in range(3)]\n"
        "    run_cells(cells, Path(sys.argv[1]), 1, lambda p: print('one', flush=True), work.waits_after_one)\n"
    )
    (tmp_path / "main.py").write_text(script, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "main.py"), str(tmp_path / "t.sqlite")],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    ) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == b"one\n"
        children = psutil.Process(driver.pid).children(recursive=True)
        assert children
        driver.kill()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]


def test_figures_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY, encoding="utf-8")
    one = run_sweep(tmp_path / "tiny.toml", tmp_path / "one", 1)
    two = run_sweep(tmp_path / "tiny.toml", tmp_path / "two", 2)
    assert one.ran == two.ran == 4
    assert [row.figures for row in one.rows] == [row.figures for row in two.rows]
    assert one.rows[0].figures != one.rows[2].figures


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.sqlite").write_bytes(b"not a database, but long enough to be read as one" * 20)
    with pytest.raises(RecordError, match="move it away"):
        run_cells(cells(1), tmp_path / "t.sqlite", 1, work=work.seed_of)


def test_the_table_is_plain_sqlite(tmp_path: Path) -> None:
    run_cells(cells(2), tmp_path / "t.sqlite", 1, work=work.seed_of)
    with sqlite3.connect(tmp_path / "t.sqlite") as db:
        counted = db.execute("select count(*) from cells where status = 'done'").fetchone()
    db.close()
    assert counted == (2,)
