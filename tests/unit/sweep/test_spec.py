"""SWEEP.toml: every combination, checked before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.campaign import Campaign
from testbed.errors import CampaignError
from testbed.sweep.cell import make_cell
from testbed.sweep.spec import expand, load_sweep

TWO_BY_THREE = """
[axes]
seed = [1, 2]
"channel.snr_db" = [10, 20, 30]
[[variants]]
name = "a"
set = { "schedule.scheduler" = "top-1", "channel.snr_db" = 5 }
[[variants]]
name = "b"
set = { "schedule.qos" = 0.5 }
"""


def written(folder: Path, text: str) -> Path:
    (folder / "s.toml").write_text(text, encoding="utf-8")
    return folder / "s.toml"


def test_all_combinations_variants_outermost_and_axes_win(tmp_path: Path) -> None:
    cells = expand(load_sweep(written(tmp_path, TWO_BY_THREE)), tmp_path)
    assert [cell.variant for cell in cells] == ["a"] * 6 + ["b"] * 6
    assert [cell.overrides["channel.snr_db"] for cell in cells[:3]] == [10, 20, 30]
    assert len({cell.key for cell in cells}) == 12
    assert Campaign.from_text(cells[0].campaign).schedule.scheduler == "top-1"


def test_axes_can_be_replaced(tmp_path: Path) -> None:
    cells = expand(load_sweep(written(tmp_path, TWO_BY_THREE)), tmp_path, {"seed": [7]})
    assert {cell.overrides["seed"] for cell in cells} == {7}


def test_a_base_campaign_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[nodes]\ntokens = 5\n", encoding="utf-8")
    cells = expand(load_sweep(written(tmp_path, 'base = "c.toml"\n[axes]\nseed = [3]\n')), tmp_path)
    assert Campaign.from_text(cells[0].campaign).nodes.tokens == 5


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("axes = 3", "axes"),
        ("[axes]\nseed = []", r"axes\.seed = \[\]"),
        ("colour = 1", "unknown key"),
        ('[axes]\n"nodes.coont" = [3]', "coont"),
        ('[fixed]\n"cell.fidelity" = "guess"', "fidelity"),
        ('[fixed]\n"cell.lost_node" = 9', r"cell\.lost_node = 9"),
        ('[[variants]]\nname="a"\nset={}\n[[variants]]\nname="a"\nset={}', "a name of its own"),
        ("seed = ", "cannot be read"),
    ],
)
def test_what_cannot_be_run_is_named(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(CampaignError, match=match):
        expand(load_sweep(written(tmp_path, text)), tmp_path)


def test_a_key_stands_for_everything_that_matters() -> None:
    one = make_cell(None, "a", {"seed": 1})
    assert one.key == make_cell(None, "renamed", {"seed": 1, "channel.snr_db": 25.0}).key
    assert one.key != make_cell(None, "a", {"seed": 2}).key
    assert one.key != make_cell(None, "a", {"seed": 1, "cell.fidelity": "waveform"}).key
