"""SWEEP.toml → cells: every combination of the axes, for every variant.

    name = "snr"
    base = "campaign.toml"            # optional, beside this file; defaults without it

    [fixed]                           # for all cells
    "nodes.count" = 8

    [axes]                            # every combination
    seed = [1, 2, 3]
    "channel.snr_db" = [10, 20, 30]

    [[variants]]                      # settings that go together, each with a name; optional
    name = "Top-2"
    set = { "schedule.scheduler" = "top-2" }

Keys are the campaign's, dotted, and `cell.fidelity` and `cell.lost_node`. What is set later wins: fixed, variant, axes.
"""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path

from pydantic import Field, ValidationError

from testbed.campaign import load_campaign
from testbed.errors import CampaignError
from testbed.sweep.cell import Cell, make_cell
from testbed.tables import Table, sentence


class Variant(Table):
    """Settings that go together."""

    name: str = Field(min_length=1)
    set: dict[str, object] = Field(description="dotted keys and their values")


class Sweep(Table):
    """A whole sweep."""

    name: str = Field("sweep", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    about: str = Field("", description="a sentence for people")
    base: str | None = Field(None, description="campaign file, relative to this one")
    fixed: dict[str, object] = Field(default_factory=dict)
    axes: dict[str, list[object]] = Field(default_factory=dict)
    variants: list[Variant] = Field(default_factory=list)


def load_sweep(path: Path) -> Sweep:
    """The sweep in a file.

    Raises:
        CampaignError: naming file, key and what is allowed.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
        sweep = Sweep.model_validate(tree)
    except FileNotFoundError as error:
        raise CampaignError(f"{path}: no such sweep file") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CampaignError(f"{path}: cannot be read as TOML: {error}") from error
    except ValidationError as error:
        raise CampaignError(f"{path}: {sentence(error, Sweep)}") from error
    names = [variant.name for variant in sweep.variants]
    if len(set(names)) < len(names):
        raise CampaignError(f"{path}: variants have the names {', '.join(names)}; give each a name of its own")
    for key, values in sweep.axes.items():
        if not values:
            raise CampaignError(f"{path}: axes.{key} = []: give it at least one value, or take it out")
    return sweep


def expand(sweep: Sweep, folder: Path, axes: dict[str, list[object]] | None = None) -> list[Cell]:
    """All cells, variants outermost, each checked; `axes` replaces axes of the same name.

    Raises:
        CampaignError: a combination that cannot be run.
    """
    base = load_campaign(folder / sweep.base) if sweep.base else None
    every = {**sweep.axes, **(axes or {})}
    variants = sweep.variants or [Variant(name="all", set={})]
    return [
        make_cell(base, variant.name, {**sweep.fixed, **variant.set, **dict(zip(every, values, strict=True))})
        for variant in variants
        for values in itertools.product(*every.values())
    ]
