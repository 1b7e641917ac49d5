"""A recorded run again: the same channels and tokens, through another scheduler or other settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from testbed.abstraction import AbstractFleet
from testbed.agents.assemble import check, worker
from testbed.agents.conduct import conduct
from testbed.agents.controller import record_shape
from testbed.campaign import Campaign
from testbed.errors import RecordError
from testbed.experts.model import Model
from testbed.frames import Frames
from testbed.outcome import Measured, RoundRecord, Summary
from testbed.record.folder import create_run
from testbed.record.read import Run, read_run
from testbed.record.report import write_report
from testbed.record.rows import Predictions
from testbed.record.writer import RunWriter


class RecordedWorld:
    """The channels of a recording, round after round; implements `testbed.abstraction.World`."""

    def __init__(self, rounds: Sequence[Measured]) -> None:
        self._rounds = rounds
        self._round = 0

    def next_round(self) -> None:
        """The channels of the next recorded round."""
        self._round += 1

    @property
    def _now(self) -> Measured:
        return self._rounds[self._round]

    def sound(self, nodes: NDArray[np.int64], seconds: float) -> Measured:
        """As it was measured then, for as many as are left."""
        now = self._now
        there = np.isin(np.arange(len(now.valid)), nodes)
        valid = now.valid & there[:, None] & there[None, :]
        at = valid[:, :, None]
        return replace(now, h=now.h * at, noise=now.noise * at, snr=now.snr * at, valid=valid)

    def heard(self, frames: Frames, seconds: NDArray[np.float64], used: NDArray[np.int64]) -> NDArray[np.float64]:
        """As it was measured then: a recording stands still within a round."""
        sender, destination = frames.sender[frames.holder], frames.destination[frames.holder]
        return self._now.snr[sender, destination, used].astype(np.float64)


@dataclass(frozen=True)
class Replay:
    """How a replay ended, beside what was recorded."""

    recorded: Summary | None
    replayed: Summary
    report: Path


def replayed_campaign(run: Run, overrides: Mapping[str, object]) -> Campaign:
    """The campaign of `run` with `overrides` by dotted key.

    Raises:
        CampaignError: the result cannot be run.
        RecordError: the overrides change what the recording fixed: nodes, grid or tokens.
    """
    before = Campaign.from_text(run.campaign)
    after = before.with_overrides(overrides)
    for table in ("grid", "nodes"):
        if getattr(before, table) != getattr(after, table):
            raise RecordError(f"{table} cannot be changed in a replay: the recording was made with {table} as it is")
    return after


def replay(source: Path, out: Path, argv: Sequence[str], overrides: Mapping[str, object]) -> Replay:
    """Runs the rounds of the run in `source` again and records them as a new run in `out`.

    Raises:
        RecordError: no run, a damaged one, or settings that do not fit it.
        CampaignError: settings that cannot be run.
    """
    start = time.monotonic()
    run = read_run(source)
    campaign = replayed_campaign(run, overrides)
    model = check(campaign)
    if not run.rounds:
        raise RecordError(f"{source}: no round was recorded, so there is nothing to replay")
    folder = create_run(out, campaign.name, campaign.seed, campaign.text(), argv, datetime.now(UTC))
    shape = record_shape(campaign, model, radio=f"replay:{source}")
    world = RecordedWorld([record.measured for record in run.rounds])
    with RunWriter(folder, shape) as writer:
        totals = conduct(
            campaign,
            model,
            replay_fleet(campaign, model, world),
            on_round=_keeper(writer, world),
            stopping=_at_the_end(len(run.rounds), writer),
            clock=time.monotonic,
        )
        summary = totals.summary(str(folder.path), time.monotonic() - start)
        writer.finish(summary, "complete")
    return Replay(run.summary, summary, write_report(folder.path))


def replay_fleet(campaign: Campaign, model: Model, world: RecordedWorld) -> AbstractFleet:
    """Nodes on recorded channels."""
    everybody = worker(campaign, model, range(campaign.nodes.count))
    return AbstractFleet(everybody, world, campaign.ofdm_grid(), campaign.transmission.repetitions)


def _keeper(writer: RunWriter, world: RecordedWorld) -> Callable[[RoundRecord, Predictions | None], None]:
    def keep(record: RoundRecord, predictions: Predictions | None) -> None:
        writer.append(record, predictions)
        world.next_round()

    return keep


def _at_the_end(rounds: int, writer: RunWriter) -> Callable[[], bool]:
    return lambda: writer.committed >= rounds
