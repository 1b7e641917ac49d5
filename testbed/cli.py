"""The command line: the only place that prints.

Commands import what they need when they run, so that `testbed --help` answers at once. Exit codes: 0 done,
1 failed on the way, 2 refused before anything started, 130 stopped by Ctrl+C.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TextIO

import typer

from testbed.errors import AddressError, CampaignError, FirmwareError, ModelError, TestbedError

if TYPE_CHECKING:
    from testbed.agents.controller import Plan
    from testbed.firmware.apply import Target
    from testbed.firmware.board import Board
    from testbed.outcome import RoundRecord, Summary
    from testbed.virtual_pluto.clock import ClockName

app = typer.Typer(
    name="testbed",
    help="Distributed mixture-of-experts inference over real or simulated OFDM radios.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help needs half the time
)
config = typer.Typer(help="Look at campaign files.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(config, name="config")
firmware = typer.Typer(help="Configure boards from firmware_configs.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(firmware, name="firmware")

REFUSED, FAILED, INTERRUPTED = 2, 1, 130

CampaignFile = Annotated[
    Path | None, typer.Argument(help="Campaign TOML; without one, the built-in demo.", show_default=False)
]




class Clock(StrEnum):
    """How the time of virtual Plutos passes."""

    logical = "logical"
    wall = "wall"


FIRMWARE = Path("firmware_configs")
BoardFolder = Annotated[Path, typer.Option("--configs", help="Folder of board files.")]
BoardName = Annotated[str, typer.Argument(help="Name of a board in firmware_configs, or a TOML file.")]
Drive = Annotated[Path | None, typer.Option(help="Mounted mass-storage drive of the board.", show_default=False)]
Host = Annotated[str | None, typer.Option(help="SSH host, instead of the board's address.", show_default=False)]


@app.command()
def run(
    campaign: CampaignFile = None,
    radio: Annotated[str | None, typer.Option(help="Radio address, e.g. sim:")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Who chooses experts and subcarriers.", autocompletion=lambda: _schedulers())
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for runs.", show_default=False)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and touch nothing.")] = False,
    in_process: Annotated[bool, typer.Option("--in-process", help="All nodes in this process, no sockets.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON object on standard output.")] = False,
) -> None:
    """Run a campaign: sound, schedule, transmit, compute, aggregate, record."""
    with errors_as_sentences():
        from testbed.agents.controller import plan_run
        from testbed.campaign import load_campaign

        overrides = {"radio.address": radio, "schedule.scheduler": scheduler, "seed": seed}
        settings = load_campaign(campaign, {key: value for key, value in overrides.items() if value is not None})
        plan = plan_run(settings, out or _default_out(campaign), in_process=in_process)
        if dry_run:
            _show_plan(plan, as_json)
            return
        _execute(plan, as_json)


def _execute(plan: Plan, as_json: bool) -> None:
    from testbed.agents.controller import execute

    lines = sys.stderr if as_json else sys.stdout
    for note in plan.notes:
        print(f"note: {note}", file=lines)
    print(f"{plan.sentence}", file=lines, flush=True)
    result = execute(plan, sys.argv, lambda record: _progress(record, plan.rounds, lines))
    if as_json:
        print(json.dumps(asdict(result.summary)))
    else:
        _closing_table(result.summary)
        print(f"run     {result.summary.run_dir}\nreport  {result.report}")
    if result.interrupted:
        raise typer.Exit(INTERRUPTED)


@app.command("replay")
def replay_run(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a recorded run.")],
    scheduler: Annotated[
        str | None, typer.Option(help="Another scheduler.", autocompletion=lambda: _schedulers())
    ] = None,
    qos: Annotated[float | None, typer.Option(help="Another z.")] = None,
    importance: Annotated[float | None, typer.Option(help="Another γ0.")] = None,
    max_experts: Annotated[int | None, typer.Option(help="Another D.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the new run.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object: recorded and replayed.")] = False,
) -> None:
    """The channels and tokens of a recorded run again, through another scheduler or other settings."""
    with errors_as_sentences():
        from testbed.agents.replay import replay

        chosen = {"scheduler": scheduler, "qos": qos, "importance": importance, "max_experts": max_experts}
        overrides = {f"schedule.{key}": value for key, value in chosen.items() if value is not None}
        done = replay(run_dir, out or run_dir.parent, sys.argv, overrides)
        recorded = None if done.recorded is None else asdict(done.recorded)
        if as_json:
            print(json.dumps({"recorded": recorded, "replayed": asdict(done.replayed)}))
            return
        _replay_table(done.recorded, done.replayed)
        print(f"run     {done.replayed.run_dir}\nreport  {done.report}")


@app.command()
def report(run_dir: Annotated[Path, typer.Argument(help="Folder of a run.")]) -> None:
    """Draw the report of a run again, from its folder alone."""
    with errors_as_sentences():
        from testbed.record.report import write_report

        print(write_report(run_dir))


@app.command()
def schedulers() -> None:
    """List the schedulers that `--scheduler` takes."""
    with errors_as_sentences():
        for name in _schedulers():
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


@app.command("virtual-pluto")
def virtual_pluto(
    units: Annotated[int, typer.Option(help="How many, each on an address of its own.")] = 1,
    first: Annotated[str, typer.Option(help="Address of the first one; the next ones follow.")] = "127.0.0.2",
    port: Annotated[int, typer.Option(help="Port on all addresses; 0 takes any free one.")] = 30431,
    clock: Annotated[Clock, typer.Option(help="Deterministic and as fast as possible, or real time.")] = Clock.logical,
    seed: Annotated[int, typer.Option(help="Seed of channels and noise.")] = 0,
    air: Annotated[str | None, typer.Option(hidden=True)] = None,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """Serve simulated Plutos over the network protocol of real ones, until Ctrl+C; prints a URI a unit."""
    with errors_as_sentences():
        from testbed.agents.virtual import run_virtual_plutos

        def announce(uri: str) -> None:
            print(uri, flush=True)

        kind: ClockName = "wall" if clock is Clock.wall else "logical"
        run_virtual_plutos(units, first, port, kind, seed, announce, air=air, with_parent=with_parent)


@app.command()
def scan(as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False) -> None:
    """Find Plutos: URI, serial, model, firmware, temperature, tuning range."""
    with errors_as_sentences():
        from testbed.radio.pluto import scan as find

        found = [asdict(one) for one in find()]
        if as_json:
            print(json.dumps(found))
            return
        for one in found:
            print("  ".join(f"{key} {value}" for key, value in one.items()))
        if not found:
            print("no Pluto answers; name one by address if it is behind a router: pluto:ip:HOST")


@app.command(hidden=True)
def agent(
    connect: Annotated[str, typer.Option(help="Address of the controller.")],
    index: Annotated[int, typer.Option(help="Number of this node.")],
    keys: Annotated[Path, typer.Option(help="Folder of keys.")],
) -> None:
    """One node: a radio and an expert, at the service of a controller."""
    with errors_as_sentences():
        from testbed.agents.agent import run_agent

        raise typer.Exit(run_agent(connect, index, keys))


@app.command(hidden=True)
def air(
    settings: Annotated[str, typer.Option(help="Settings of the air, as JSON.")],
    keys: Annotated[Path, typer.Option(help="Folder of keys.")],
) -> None:
    """The simulated air that node agents share; prints its address."""
    with errors_as_sentences():
        from testbed.agents.air import run_air

        run_air(settings, keys, lambda address: print(address, flush=True))


@firmware.command("check")
def firmware_check(folder: BoardFolder = FIRMWARE) -> None:
    """Validate every board file and filter, and what must be unique over the fleet."""
    with errors_as_sentences():
        from testbed.firmware.folder import check

        for line in check(folder):
            print(line)


@firmware.command("render")
def firmware_render(
    out: Annotated[Path, typer.Option(help="Folder for the rendered files.")], folder: BoardFolder = FIRMWARE
) -> None:
    """Write config.txt and U-Boot variables of every board, and the filter of every grid preset."""
    with errors_as_sentences():
        from testbed.firmware.folder import render

        for path in render(folder, out):
            print(path)


@firmware.command("diff")
def firmware_diff(board: BoardName, drive: Drive = None, host: Host = None, folder: BoardFolder = FIRMWARE) -> None:
    """Show what `apply` would change on a board; touches nothing."""
    with errors_as_sentences():
        from testbed.firmware.apply import diff

        for change in diff(*_board_and_target(board, folder, drive, host), passphrase=_passphrase()):
            print(change)


@firmware.command("apply")
def firmware_apply(
    board: BoardName,
    drive: Drive = None,
    host: Host = None,
    folder: BoardFolder = FIRMWARE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written.")] = False,
) -> None:
    """Write a board's configuration to its drive or over SSH, and read it back."""
    with errors_as_sentences():
        from testbed.firmware.apply import apply

        chosen, target = _board_and_target(board, folder, drive, host)
        outcome = apply(chosen, target, passphrase=_passphrase(), dry_run=dry_run)
        for change in outcome.changes:
            print(change)
        for note in outcome.notes:
            print(note)


def _board_and_target(board: str, folder: Path, drive: Path | None, host: str | None) -> tuple[Board, Target]:
    from testbed.firmware.apply import target_of
    from testbed.firmware.fleet import load_board

    path = Path(board) if board.endswith(".toml") else folder / f"{board}.toml"
    chosen = load_board(path)
    return chosen, target_of(chosen, drive=drive, host=host, ask=sys.stdin.isatty())


def _passphrase() -> str:
    return os.environ.get("TESTBED_WLAN_PASSPHRASE", "")


# Printing ---------------------------------------------------------------------------------------------


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """A refusal or failure of the testbed becomes one sentence and an exit code, not a traceback."""
    try:
        yield
    except (CampaignError, AddressError, FirmwareError, ModelError) as error:
        _fail(str(error), REFUSED)
    except TestbedError as error:
        _fail(str(error), FAILED)
    except KeyboardInterrupt:
        _fail("stopped at once", INTERRUPTED)


def _fail(sentence: str, code: int) -> NoReturn:
    if os.environ.get("TESTBED_TRACEBACK"):
        raise
    print(f"testbed: {sentence}", file=sys.stderr)
    raise typer.Exit(code)


def _default_out(campaign: Path | None) -> Path:
    return (campaign.parent if campaign else Path("measurements/demo")) / "runs"


def _schedulers() -> list[str]:
    from testbed.schedule.policy import NOT_RUNNABLE, POLICIES

    return [name for name in POLICIES if name not in NOT_RUNNABLE]


def _show_plan(plan: Plan, as_json: bool) -> None:
    if as_json:
        print(json.dumps(plan.facts))
        return
    for note in plan.notes:
        print(f"note: {note}")
    for name, value in plan.facts.items():
        print(f"{name:24}{value}")


def _progress(record: RoundRecord, rounds: int, lines: TextIO) -> None:
    done = record.number + 1
    blocks = int(record.forward.sent.sum() + record.back.sent.sum())
    failed = int(record.forward.failed.sum() + record.back.failed.sum())
    print(
        f"round {done:>{len(str(rounds))}}/{rounds}  layer {record.layer}  "
        f"{int(record.selected.sum()) / max(1, record.source.size):.2f} experts/token  "
        f"{blocks:4d} blocks, {failed} failed  {int(record.lost.sum())} lost  "
        f"{joule(record.spent.total_j())} spent, {joule(record.predicted.total_j())} predicted  "
        f"{sum(record.seconds.values()):.2f} s",
        file=lines,
        flush=True,
    )
    for event in record.events:
        print(f"  {event}", file=lines, flush=True)


def _closing_table(summary: Summary) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _rows(summary):
        table.add_row(name, value)
    Console().print(table)


def _replay_table(recorded: Summary | None, replayed: Summary) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "recorded", "replayed", box=None, pad_edge=False)
    before = dict(_rows(recorded)) if recorded else {}
    for name, value in _rows(replayed):
        table.add_row(name, before.get(name, "none"), value)
    Console().print(table)


def joule(value_j: float) -> str:
    """Energy for people."""
    from testbed.units import engineering

    return engineering(value_j, "J")


def figure(value: float | None) -> str:
    """A ratio for people."""
    return "none" if value is None else f"{value:.3f}"


def _rows(s: Summary) -> list[tuple[str, str]]:
    return [
        ("rounds", f"{s.rounds}"),
        ("tokens through layers", f"{s.tokens} ({s.tokens_relaxed} relaxed, {s.tokens_lost} lost)"),
        ("block error rate", f"{figure(s.block_error_rate)} ({s.retransmissions} retransmissions)"),
        ("energy predicted", f"{joule(s.energy_predicted_j)} (lower bound {joule(s.bound_j)})"),
        ("energy spent", f"{joule(s.energy_spent_j)}, overhead of frames included"),
        ("accuracy", f"{figure(s.accuracy)} (the same model in one place: {figure(s.accuracy_central)})"),
        ("time", f"{s.seconds:.1f} s"),
    ]
