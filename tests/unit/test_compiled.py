"""Compiled code on disk is never older than the sources of what it calls."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed import compiled
from testbed.compiled import sources_digest

IMPORT = "from testbed.compiled import kernel\n"
CALLEE = IMPORT + "@kernel()\ndef half(x):\n    return x / {}\n"
CALLER = IMPORT + "from callee import half\n@kernel()\ndef quarter(x):\n    return half(half(x))\n"
PROGRAM = "from caller import quarter; print(quarter(8.0), sum(quarter.stats.cache_hits.values()), flush=True)"


def run(folder: Path) -> tuple[float, int, str]:
    """What the caller returns in a new process, whether it was found compiled, and what was said."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=folder, env={"PYTHONPATH": f"{folder}:{Path.cwd()}"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    value, hits = done.stdout.split()
    return float(value), int(hits), done.stderr


def test_a_changed_callee_in_another_file_is_compiled_anew(tmp_path: Path) -> None:
    (tmp_path / "callee.py").write_text(CALLEE.format(2))
    (tmp_path / "caller.py").write_text(CALLER)
    value, hits, said = run(tmp_path)
    assert (value, hits) == (2.0, 0)
    assert f"compiling the inner loops of {tmp_path.name}" in said
    assert run(tmp_path) == (2.0, 1, "")
    (tmp_path / "callee.py").write_text(CALLEE.format(4))
    value, hits, said = run(tmp_path)
    assert (value, hits) == (0.5, 0)
    assert "compiling" in said


def test_only_what_compiles_and_what_it_imports_counts(tmp_path: Path) -> None:
    (tmp_path / "callee.py").write_text(CALLEE.format(2))
    (tmp_path / "plain.py").write_text("x = 1\n")
    before = sources_digest(tmp_path)
    (tmp_path / "plain.py").write_text("x = 2\n")
    assert sources_digest(tmp_path) == before
    (tmp_path / "callee.py").write_text("from testbed.units import to_db\n" + CALLEE.format(2))
    assert sources_digest(tmp_path) != before


def test_imports_are_followed_however_deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module by its name and out of its package, and a constant that came through a module between."""
    monkeypatch.setattr(compiled, "ROOT", tmp_path)
    room = tmp_path / "room"
    room.mkdir()
    (room / "loop.py").write_text("from testbed.compiled import kernel\nfrom testbed.room import between\n")
    (room / "between.py").write_text("from testbed.limits import (\n    MOST,\n)\n")
    (tmp_path / "limits.py").write_text("MOST = 1\n")
    digests = {sources_digest(room)}
    for path, text in ((tmp_path / "limits.py", "MOST = 2\n"), (room / "between.py", "MOST = 3\n")):
        path.write_text(text)
        digests.add(sources_digest(room))
    assert len(digests) == 3


def test_a_debugger_can_step_into_loops_that_are_not_compiled() -> None:
    program = "from testbed.schedule.assign import assign_subcarriers as a; print(a([[2.0, 1.0]], [3.0]).total)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, capture_output=True, check=True
    )
    assert done.stdout.split() == [b"3.0"]
