"""The experiments end to end on few seeds and short texts: files, verdicts, and nothing computed twice."""

from __future__ import annotations

import csv
import json
import re
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

from testbed.errors import CampaignError
from testbed.sweep.paper import EXPERIMENTS, FOLDER, run_experiment
from testbed.sweep.spec import expand, load_sweep

PAPER = Path(__file__).parents[2] / FOLDER


@pytest.fixture(scope="module", autouse=True)
def _tracker() -> None:
    """Python keeps one for worker processes until it ends."""
    resource_tracker.ensure_running()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiments as shipped, with less text."""
    folder = tmp_path_factory.mktemp("paper")
    for path in PAPER.glob("*.toml"):
        text = path.read_text(encoding="utf-8")
        asks = "nodes.question" in text
        text = re.sub(r'(?m)^"nodes.tokens" = .*$', f'"nodes.tokens" = {20 if asks else 6}', text)
        text = re.sub(r"(?m)^passes = .*$", f"passes = {4 if asks else 1}", text)
        (folder / path.name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_can_be_run(name: str) -> None:
    cells = expand(load_sweep(PAPER / f"{name}.toml"), PAPER)
    assert len({cell.key for cell in cells}) == len(cells) > 0


SHORT = ("reciprocal", "task")


@pytest.mark.parametrize("name", [n if n in SHORT else pytest.param(n, marks=pytest.mark.long) for n in EXPERIMENTS])
def test_an_experiment_leaves_data_table_figure_and_statement(name: str, small: Path, tmp_path: Path) -> None:
    result = run_experiment(name, tmp_path, 2, folder=small)
    assert result.seeds == 2
    assert result.failed == 0
    assert result.finding.verdict.split(":")[0].split(" ")[0] in ("supported", "not", "depends")
    data = json.loads((result.folder / "data.json").read_text(encoding="utf-8"))
    assert data["verdict"] == result.finding.verdict
    with (result.folder / "data.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(result.finding.table)
    assert result.finding.verdict in (result.folder / "table.md").read_text(encoding="utf-8")
    assert (result.folder / "figure.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert (result.folder / "figure.png").read_bytes().startswith(b"\x89PNG")

    again = run_experiment(name, tmp_path, 2, folder=small)
    assert (again.ran, again.found) == (0, result.ran)
    assert again.finding == result.finding


def test_what_is_unknown_is_named(tmp_path: Path) -> None:
    with pytest.raises(CampaignError, match="choose one of: accuracy"):
        run_experiment("guess", tmp_path)
    with pytest.raises(CampaignError, match="at least 2"):
        run_experiment("layers", tmp_path, 1, folder=PAPER)
    with pytest.raises(CampaignError, match="no such sweep file"):
        run_experiment("layers", tmp_path, 2, folder=tmp_path)
