"""A recorded run again: the same channels and tokens, through another scheduler or other settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from testbed.abstraction import AbstractFleet
from testbed.agents.assemble import check, worker
from testbed.agents.conduct import conduct
from testbed.agents.controller import record_shape
from testbed.agents.timeline import Rule, blend, recorded_moment
from testbed.campaign import Campaign
from testbed.errors import RecordError
from testbed.experts.model import Model
from testbed.frames import Frames
from testbed.outcome import Measured, RoundRecord, Summary
from testbed.record.folder import RunFolder, create_run
from testbed.record.read import Run, read_run
from testbed.record.report import write_report
from testbed.record.rows import Predictions
from testbed.record.writer import RunWriter


class Channels(Protocol):
    """The channels of a recording, round after round."""

    def round(self, number: int) -> Measured | None:
        """What is measured in a round; None after the recording's end."""
        ...


class RecordedRounds:
    """The channels of a recorded run; implements `Channels`.

    Args:
        rounds: what was measured.
        time_s: (rounds,) when.
        rule: how moments between them are filled, and what comes after the last.
    """

    def __init__(self, rounds: Sequence[Measured], time_s: NDArray[np.float64], rule: Rule) -> None:
        self._rounds, self._time_s, self._rule = rounds, time_s, rule

    def round(self, number: int) -> Measured | None:
        """As it was measured then, or between two rounds."""
        moment = recorded_moment(self._time_s, number, self._rule)
        if moment is None:
            return None
        if self._rule.step_s is None:
            return self._rounds[number % len(self._rounds)]
        found = blend(self._time_s, moment, self._rule.between)
        return mixed(self._rounds[found.earlier], self._rounds[found.later], found.share)


def mixed(earlier: Measured, later: Measured, share: float) -> Measured:
    """Powers in proportion, phases of the earlier one: those of different packets have nothing in common."""
    if share == 0.0:
        return earlier
    keep, take = np.float32(1 - share), np.float32(share)
    power = keep * np.abs(earlier.h) ** 2 + take * np.abs(later.h) ** 2
    both = (earlier.valid & later.valid)[..., None]
    phase = np.exp(1j * np.angle(earlier.h))
    return replace(
        earlier,
        h=np.where(both, np.sqrt(power) * phase, earlier.h).astype(np.complex64),
        noise=np.where(both, keep * earlier.noise + take * later.noise, earlier.noise).astype(np.float32),
        snr=np.where(both, keep * earlier.snr + take * later.snr, earlier.snr).astype(np.float32),
    )


class RecordedWorld:
    """Channels that stand still within a round; implements `testbed.abstraction.World`.

    Raises:
        RecordError: there is not even a first round.
    """

    def __init__(self, channels: Channels) -> None:
        self._channels, self._number = channels, 0
        self._now = self._channels.round(0)
        if self._now is None:
            raise RecordError("the recording has no round to replay")

    @property
    def ended(self) -> bool:
        """The recording has no further round."""
        return self._now is None

    def next_round(self) -> None:
        """The channels of the next round."""
        self._number += 1
        self._now = self._channels.round(self._number)

    def sound(self, nodes: NDArray[np.int64], seconds: float) -> Measured:
        """As it was measured then, for as many as are left."""
        now = self._now
        assert now is not None
        there = np.isin(np.arange(len(now.valid)), nodes)
        valid = now.valid & there[:, None] & there[None, :]
        at = valid[:, :, None]
        return replace(now, h=now.h * at, noise=now.noise * at, snr=now.snr * at, valid=valid)

    def heard(self, frames: Frames, seconds: NDArray[np.float64], used: NDArray[np.int64]) -> NDArray[np.float64]:
        """As it was measured then: a recording stands still within a round."""
        assert self._now is not None
        sender, destination = frames.sender[frames.holder], frames.destination[frames.holder]
        return self._now.snr[sender, destination, used].astype(np.float64)


@dataclass(frozen=True)
class Replay:
    """How a replay ended, beside what was recorded, if that was a run; what a person should know of it."""

    recorded: Summary | None
    replayed: Summary
    report: Path
    notes: tuple[str, ...] = ()


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


def replay(
    source: Path, out: Path, argv: Sequence[str], overrides: Mapping[str, object], rule: Rule | None = None
) -> Replay:
    """Runs the rounds of the run in `source` again and records them as a new run in `out`.

    Raises:
        RecordError: no run, a damaged one, or settings that do not fit it.
        CampaignError: settings that cannot be run.
    """
    rule = rule or Rule()
    run = read_run(source)
    campaign = replayed_campaign(run, overrides)
    model = check(campaign)
    if not run.rounds:
        raise RecordError(f"{source}: no round was recorded, so there is nothing to replay")
    channels = RecordedRounds([record.measured for record in run.rounds], run.time_s, rule)
    folder = create_run(out, campaign.name, campaign.seed, campaign.text(), argv, datetime.now(UTC))
    inherited = {name: value for name, value in run.shape.attributes.items() if name.startswith("source_")}
    about = {"radio": f"replay:{source}", **inherited, **rule.described()}
    return conduct_replay(campaign, model, channels, folder, about, run.summary)


def conduct_replay(
    campaign: Campaign,
    model: Model,
    channels: Channels,
    folder: RunFolder,
    about: Mapping[str, str | int | float],
    recorded: Summary | None = None,
    notes: tuple[str, ...] = (),
) -> Replay:
    """The rounds of a campaign on recorded channels, recorded in turn.

    Args:
        campaign: what is run.
        model: of the campaign.
        channels: what is measured in each round; the replay ends with them at the latest.
        folder: of the new run.
        about: attributes of the new recording.
        recorded: closing figures to compare with.
        notes: what a person should know.
    """
    start, world = time.monotonic(), RecordedWorld(channels)
    shape = record_shape(campaign, model)
    shape = replace(shape, attributes={**shape.attributes, **about})
    with RunWriter(folder, shape) as writer:
        totals = conduct(
            campaign,
            model,
            replay_fleet(campaign, model, world),
            on_round=_keeper(writer, world),
            stopping=lambda: world.ended,
            clock=time.monotonic,
        )
        summary = totals.summary(str(folder.path), time.monotonic() - start)
        writer.finish(summary, "complete")
    return Replay(recorded, summary, write_report(folder.path), notes)


def replay_fleet(campaign: Campaign, model: Model, world: RecordedWorld) -> AbstractFleet:
    """Nodes on recorded channels."""
    everybody = worker(campaign, model, range(campaign.nodes.count))
    return AbstractFleet(everybody, world, campaign.ofdm_grid(), campaign.transmission.repetitions)


def _keeper(writer: RunWriter, world: RecordedWorld) -> Callable[[RoundRecord, Predictions | None], None]:
    def keep(record: RoundRecord, predictions: Predictions | None) -> None:
        writer.append(record, predictions)
        world.next_round()

    return keep
