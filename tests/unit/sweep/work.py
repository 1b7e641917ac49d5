"""What worker processes do in the tests: functions they can import."""

from __future__ import annotations

import os
import time
from pathlib import Path

from testbed.campaign import Campaign
from testbed.sweep.cell import CellSettings, Figures


def seed_of(campaign: str, settings: CellSettings) -> Figures:
    return {"seed": Campaign.from_text(campaign).seed, "thread": os.environ["OPENBLAS_NUM_THREADS"]}


def slow_seed(campaign: str, settings: CellSettings) -> Figures:
    time.sleep(0.05)
    return seed_of(campaign, settings)


def odd_raises(campaign: str, settings: CellSettings) -> Figures:
    seed = Campaign.from_text(campaign).seed
    if seed % 2:
        raise ValueError(f"seed {seed} is odd")
    return {"seed": seed}


def three_dies(campaign: str, settings: CellSettings) -> Figures:
    """Seed 3 kills its process, and says so in a file each time."""
    seed = Campaign.from_text(campaign).seed
    if seed == 3:
        with Path(os.environ["DEATHS"]).open("a", encoding="utf-8") as deaths:
            deaths.write("x")
        os._exit(9)
    return {"seed": seed}


def waits_after_one(campaign: str, settings: CellSettings) -> Figures:
    """Seed 0 is done at once, the others take for ever."""
    if Campaign.from_text(campaign).seed:
        time.sleep(600)
    return {}
