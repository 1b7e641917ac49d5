"""Commands that run, replay and look at runs and campaigns."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbed.cli import printing
from testbed.cli.common import FAILED, INTERRUPTED, CampaignFile, default_out, errors_as_sentences, group

if TYPE_CHECKING:
    from testbed.agents.controller import Plan
    from testbed.agents.replay import Replay
    from testbed.agents.timeline import Rule
    from testbed.outcome import RoundRecord

app = group("Run, replay and look at runs.")
config = group("Look at campaign files.")
app.add_typer(config, name="config")


def schedulers_by_name() -> list[str]:
    """What `--scheduler` takes."""
    from testbed.schedule.policy import NOT_RUNNABLE, POLICIES

    return [name for name in POLICIES if name not in NOT_RUNNABLE]


@app.command()
def run(
    campaign: CampaignFile = None,
    radio: Annotated[str | None, typer.Option(help="Radio address, e.g. sim:")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Who chooses experts and subcarriers.", autocompletion=schedulers_by_name)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for runs.", show_default=False)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and touch nothing.")] = False,
    in_process: Annotated[bool, typer.Option("--in-process", help="All nodes in this process, no sockets.")] = False,
    record_iq: Annotated[bool, typer.Option("--record-iq", help="Record samples heard and sent, as SigMF.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON object on standard output.")] = False,
) -> None:
    """Run a campaign. Each round: sound, schedule, transmit, compute, aggregate, record."""
    with errors_as_sentences():
        from testbed.agents.controller import plan_run
        from testbed.campaign import load_campaign

        overrides = {"radio.address": radio, "schedule.scheduler": scheduler, "seed": seed}
        chosen: dict[str, object] = {key: value for key, value in overrides.items() if value is not None}
        if radio is not None:
            chosen["radio.addresses"] = None  # this one stands for all that the campaign names
        settings = load_campaign(campaign, chosen)
        if record_iq and settings.radio.record_iq == "no":
            settings = settings.with_overrides({"radio.record_iq": "ci16"})
        plan = plan_run(settings, out or default_out(campaign), in_process=in_process)
        if dry_run:
            printing.show_plan(plan, as_json)
            return
        _execute(plan, as_json)


def _execute(plan: Plan, as_json: bool) -> None:
    from testbed.agents.controller import execute

    lines = sys.stderr if as_json else sys.stdout
    for note in plan.notes:
        print(f"note: {note}", file=lines)
    print(f"{plan.sentence}", file=lines, flush=True)
    result = execute(
        plan,
        sys.argv,
        lambda record: printing.progress(record, plan.rounds, lines),
        lambda words: printing.say(words, lines),
    )
    if as_json:
        print(json.dumps(asdict(result.summary)))
    else:
        printing.closing_table(result.summary)
        print(f"run     {result.summary.run_dir}\nreport  {result.report}")
    if result.interrupted:
        raise typer.Exit(INTERRUPTED)


@app.command("replay")
def replay_run(
    sources: Annotated[list[Path], typer.Argument(help="Folder of a recorded run, or CSI files of other tools.")],
    scheduler: Annotated[str | None, typer.Option(help="Another scheduler.", autocompletion=schedulers_by_name)] = None,
    qos: Annotated[float | None, typer.Option(help="Another z.")] = None,
    importance: Annotated[float | None, typer.Option(help="Another γ0.")] = None,
    max_experts: Annotated[int | None, typer.Option(help="Another D.")] = None,
    passes: Annotated[int | None, typer.Option(help="Another number of batches.")] = None,
    between: Annotated[str, typer.Option(help="Between time stamps: hold, linear or nearest.")] = "hold",
    at_end: Annotated[str, typer.Option(help="After the last time stamp: stop or loop.")] = "stop",
    step: Annotated[float | None, typer.Option(help="Seconds between rounds.", show_default=False)] = None,
    as_links: Annotated[str | None, typer.Option(help="Rule that makes directed links of CSI files.")] = None,
    campaign: Annotated[Path | None, typer.Option(help="Campaign that CSI files must fit.", show_default=False)] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the new run.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object: recorded and replayed.")] = False,
) -> None:
    """Run a recording again. Through another scheduler or other settings; or recorded CSI of other tools."""
    chosen = {"scheduler": scheduler, "qos": qos, "importance": importance, "max_experts": max_experts}
    overrides: dict[str, object] = {f"schedule.{key}": value for key, value in chosen.items() if value is not None}
    overrides |= {"passes": passes} if passes is not None else {}
    with errors_as_sentences():
        from testbed.agents.timeline import Rule

        rule = Rule(between, at_end, step)  # type: ignore[arg-type]  # it checks them itself
        done = _replayed(sources, rule, overrides, as_links, campaign, out)
        recorded = None if done.recorded is None else asdict(done.recorded)
        for note in done.notes:
            print(f"note: {note}", file=sys.stderr if as_json else sys.stdout)
        if as_json:
            print(json.dumps({"recorded": recorded, "replayed": asdict(done.replayed)}))
            return
        printing.replay_table(done.recorded, done.replayed)
        print(f"run     {done.replayed.run_dir}\nreport  {done.report}")


def _replayed(
    sources: list[Path],
    rule: Rule,
    overrides: dict[str, object],
    as_links: str | None,
    campaign: Path | None,
    out: Path | None,
) -> Replay:
    """A run is a folder, anything else a file of another tool."""
    from testbed.agents.replay import replay
    from testbed.agents.replay_csi import replay_csi
    from testbed.errors import RecordError

    if len(sources) == 1 and sources[0].is_dir():
        if as_links or campaign:
            raise RecordError("--as-links and --campaign are for CSI files: a run knows its links and its campaign")
        return replay(sources[0], out or sources[0].parent, sys.argv, overrides, rule)
    where = out or default_out(campaign)
    return replay_csi(sources, where, sys.argv, overrides, as_links=as_links, campaign_file=campaign, rule=rule)


@app.command()
def report(run_dir: Annotated[Path, typer.Argument(help="Folder of a run.")]) -> None:
    """Draw the report of a run again. Its folder is all that is needed."""
    with errors_as_sentences():
        from testbed.record.report import write_report

        print(write_report(run_dir))


@app.command()
def verify(run_dir: Annotated[Path, typer.Argument(help="Folder of a run.")]) -> None:
    """Check every checksum of a run. Names what is damaged; exit code 1 when something is."""
    with errors_as_sentences():
        from testbed.record.read import verify as damages

        found = damages(run_dir)
        for words in found:
            print(words)
        if found:
            raise typer.Exit(FAILED)
        print(f"{run_dir}: sound")


@app.command("resume")
def resume_run(run_dir: Annotated[Path, typer.Argument(help="Folder of an interrupted run.")]) -> None:
    """Finish an interrupted run on simulated radios. It ends as if nothing had stopped it."""
    with errors_as_sentences():
        from testbed.agents.resume import resume

        rounds: list[int] = []

        def told(record: RoundRecord) -> None:
            rounds.append(record.number)
            printing.progress(record, len(rounds), sys.stdout)

        result = resume(run_dir, sys.argv, told, tell=lambda words: printing.say(words, sys.stdout))
        printing.closing_table(result.summary)
        print(f"run     {result.summary.run_dir}\nreport  {result.report}")


@app.command()
def repair(run_dir: Annotated[Path, typer.Argument(help="Folder of a run.")]) -> None:
    """Recover every committed round of a broken-off run."""
    with errors_as_sentences():
        from testbed.record.repair import repair as recover

        print(f"{run_dir}: {recover(run_dir)} rounds are safe")


@app.command()
def schedulers() -> None:
    """List the schedulers that `--scheduler` takes."""
    with errors_as_sentences():
        for name in schedulers_by_name():
            print(name)


@config.command("check")
def config_check(campaign: CampaignFile = None) -> None:
    """Read a campaign, and say whether it can be run."""
    with errors_as_sentences():
        from testbed.agents.assemble import check, notes
        from testbed.campaign import load_campaign

        settings = load_campaign(campaign)
        for note in notes(settings, check(settings)):
            print(f"note: {note}")
        print(f"{campaign or 'built-in demo'}: can be run")


@config.command("show")
def config_show(campaign: CampaignFile = None) -> None:
    """Print a campaign with all defaults filled in, as TOML."""
    with errors_as_sentences():
        from testbed.campaign import load_campaign

        print(load_campaign(campaign).text())


@config.command("schema")
def config_schema() -> None:
    """Print the JSON schema of campaign files."""
    with errors_as_sentences():
        from testbed.campaign import schema

        print(schema())
