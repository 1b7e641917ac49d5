"""The controller: what a run will do, and doing it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from testbed.agents.assemble import check, forbidden, notes, round_settings
from testbed.agents.calibrated import calibrated
from testbed.agents.conduct import conduct
from testbed.agents.iq import is_replay
from testbed.agents.latch import refuse_if_latched
from testbed.agents.local import local_fleet
from testbed.agents.paths import key_folder
from testbed.agents.remote import check_descriptors, check_keys, remote_fleet
from testbed.agents.stopping import Stopping
from testbed.agents.suspend import RoundKeeper, Tell, say_nothing
from testbed.campaign import Campaign
from testbed.errors import CampaignError, LinkError
from testbed.experts.model import Model
from testbed.fleet import Fleet
from testbed.node import CONSTELLATION_POINTS
from testbed.outcome import RoundRecord, Summary
from testbed.record.folder import create_run
from testbed.record.iq_write import finish_iq
from testbed.record.report import write_report
from testbed.record.rows import Predictions, RecordShape
from testbed.record.space import low_space
from testbed.record.writer import RunWriter
from testbed.units import db


@dataclass(frozen=True)
class Plan:
    """A run that can be started.

    Attributes:
        campaign, model: what is run; out: folder for runs.
        in_process: all nodes in this process.
        rounds: how many there will be.
        round_bytes: what a round takes on the disk, about.
        notes: what a person should know before.
        facts: the plan in figures, by name.
    """

    campaign: Campaign
    model: Model
    out: Path
    in_process: bool
    rounds: int
    round_bytes: int
    notes: list[str]
    facts: dict[str, object]

    @property
    def sentence(self) -> str:
        """What is about to happen."""
        nodes, table = self.campaign.nodes, self.campaign
        return (
            f"campaign {table.name}: {nodes.count} nodes × {nodes.tokens} tokens, {self.rounds} rounds, "
            f"{radio_words(table)} radios, scheduler {table.schedule.scheduler}, seed {table.seed}"
        )


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    summary: Summary
    report: Path
    interrupted: bool


def plan_run(campaign: Campaign, out: Path, *, in_process: bool) -> Plan:
    """Checks that a campaign can be run, and says what it will do. Opens no radio, starts nothing.

    Raises:
        CampaignError, ModelError: it cannot be run.
    """
    model = check(campaign)
    if in_process and not radio_words(campaign).startswith(("sim:", "replay:")):
        raise CampaignError(f"in one process radios are sim: or replay:, not {radio_words(campaign)}: run processes")
    grid, rounds = campaign.ofdm_grid(), campaign.passes * model.layers
    tx_w = round_settings(campaign, model).full_band_power_w
    tokens = campaign.nodes.count * campaign.nodes.tokens
    round_bytes = record_shape(campaign, model).round_bytes(tokens, CONSTELLATION_POINTS)
    facts: dict[str, object] = {
        "campaign": campaign.name,
        "nodes": campaign.nodes.count,
        "tokens a node": campaign.nodes.tokens,
        "rounds": rounds,
        "radios": radio_words(campaign),
        "centre_hz": campaign.radio.centre_hz,
        "occupied_hz": float(grid.used.size * grid.spacing_hz),
        "transmit power dBm": round(float(db(tx_w / 1e-3)), 2),
        "data subcarriers": int(grid.data.size),
        "scheduler": campaign.schedule.scheduler,
        "seed": campaign.seed,
        "recording, MB": round(rounds * round_bytes / 1e6, 1),
        "runs folder": str(out),
    }
    said = [*notes(campaign, model), *filter(None, [low_space(out, rounds * round_bytes)])]
    return Plan(campaign, model, out, in_process or is_replay(campaign), rounds, round_bytes, said, facts)


def execute(
    plan: Plan, argv: Sequence[str], on_round: Callable[[RoundRecord], None], tell: Tell = say_nothing
) -> Result:
    """Runs a plan, records it, and draws its report.

    Ctrl+C once ends the run after the round that is under way, twice at once, thrice whatever it does: see `Stopping`.
    On a full disk the run pauses.

    Args:
        plan: what to run.
        argv: command line, for the record.
        on_round: told every round once it is recorded.
        tell: told of pauses, and of a disk that fills up.

    Raises:
        CampaignError: its real radios may not transmit.
        LinkError: no node is left; what was recorded is closed, with its report.
        TestbedError: agents, radios or the disk failed; what was recorded stays readable.
        KeyboardInterrupt: the second Ctrl+C.
    """
    campaign, start = plan.campaign, time.monotonic()
    if words := forbidden(campaign):
        raise CampaignError(words)
    refuse_if_latched(key_folder())
    if not plan.in_process:
        check_descriptors(campaign.nodes.count)
        check_keys(campaign)
    known = calibrated(campaign, date.today())
    for words in known.warnings:
        tell(words)
    folder = create_run(plan.out, campaign.name, campaign.seed, campaign.text(), argv, datetime.now(UTC))
    shape = record_shape(campaign, plan.model, calibration=known.record)
    with Stopping(key_folder()) as stopping, RunWriter(folder, shape) as writer:
        logs = folder.path / "logs"
        fleet_of = (
            local_fleet(campaign, plan.model, folder.iq)
            if plan.in_process
            else remote_fleet(campaign, logs, folder.iq, known)
        )

        with fleet_of as fleet:
            stopping.quiet = fleet.quiet
            keeper = RoundKeeper(writer, fleet, stopping, tell, folder.path, plan.round_bytes, plan.rounds)

            def keep(record: RoundRecord, predictions: Predictions | None) -> None:
                keeper(record, predictions)
                on_round(record)

            totals = conduct(
                campaign,
                plan.model,
                fleet,
                on_round=keep,
                stopping=stopping,
                clock=time.monotonic,
            )
            whole = totals.batches == campaign.passes
            failure = "" if whole or stopping() else _nobody_left(fleet)
            events = [*known.warnings, *fleet.take_events(), *filter(None, [failure])]
        finish_iq(folder.iq)
        summary = totals.summary(str(folder.path), time.monotonic() - start)
        keeper.finish(summary, "complete" if whole else "failed" if failure else "interrupted", events)
    report = write_report(folder.path)
    if failure:
        raise LinkError(f"{failure}; {totals.rounds} rounds are safe in {folder.path}, see its logs")
    return Result(summary, report, not whole)


def _nobody_left(fleet: Fleet) -> str:
    """Why a run ended before its time."""
    reasons = dict.fromkeys(fleet.why_missing(k) for k in range(len(fleet)))
    return f"no node is left: {'; '.join(reasons)}"


def radio_words(campaign: Campaign) -> str:
    """The address of its radios, or of each of them."""
    return " ".join(campaign.radio.addresses or [campaign.radio.address])


def record_shape(campaign: Campaign, model: Model, radio: str | None = None, calibration: str = "") -> RecordShape:
    """What does not change from round to round, for the recording; `radio` where it is not the campaign's."""
    grid = campaign.ofdm_grid()
    return RecordShape(
        nodes=campaign.nodes.count,
        layers=model.layers,
        frequency_hz=grid.frequency_hz,
        data_frequency_hz=grid.frequency_hz[grid.data],
        center_hz=campaign.radio.centre_hz,
        spacing_hz=grid.spacing_hz,
        attributes={
            "radio": radio or radio_words(campaign),
            "licence": campaign.radio.permit.licence,
            **({"calibration": calibration} if calibration else {}),
            "transmit_gain_db": campaign.radio.transmit_gain_db,
            "receive_gain_db": campaign.radio.receive_gain_db,
            "hops_priced": campaign.schedule.hops,
        },
    )
