"""Commands about radios: virtual ones, real ones, and whether they are fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbed.cli.common import FAILED, CampaignFile, default_out, errors_as_sentences, group
from testbed.errors import AddressError

if TYPE_CHECKING:
    from testbed.agents.latch import OnDuty
    from testbed.agents.panic import Outcome
    from testbed.virtual_pluto.clock import ClockName

app = group("Radios.")
calibrate = group("Measure radios against each other.")
app.add_typer(calibrate, name="calibrate")


class Clock(StrEnum):
    """How the time of virtual Plutos passes."""

    logical = "logical"
    wall = "wall"


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
    """Serve simulated Plutos to any IIO client. Prints a URI a unit, and runs until Ctrl+C or SIGTERM."""
    with errors_as_sentences():
        from testbed.agents.virtual import run_virtual_plutos

        def announce(uri: str) -> None:
            print(uri, flush=True)

        kind: ClockName = "wall" if clock is Clock.wall else "logical"
        run_virtual_plutos(units, first, port, kind, seed, announce, air=air, with_parent=with_parent)


Nodes = Annotated[
    list[str] | None,
    typer.Option("--node", help="A guard on another machine, as INDEX=tcp://HOST:PORT; may be repeated."),
]


@app.command()
def panic(node: Nodes = None) -> None:
    """Silence every node at once, until `testbed arm`. Works whatever the controller does."""
    with errors_as_sentences():
        from testbed.agents.panic import panic as silence_all

        _ordered("silent", silence_all, node)


@app.command()
def arm(node: Nodes = None) -> None:
    """Allow nodes to transmit again after a panic."""
    with errors_as_sentences():
        from testbed.agents.panic import arm as allow_all

        _ordered("armed", allow_all, node)


def _ordered(word: str, order: Callable[[Path, list[OnDuty]], list[Outcome]], node: list[str] | None) -> None:
    from testbed.agents.latch import OnDuty
    from testbed.agents.paths import key_folder

    others = []
    for text in node or []:
        index, _, address = text.partition("=")
        if not index.isdigit() or not address.startswith("tcp://"):
            raise AddressError(f"--node {text!r} is not INDEX=tcp://HOST:PORT")
        others.append(OnDuty(int(index), 0, address))
    outcomes = order(key_folder(), others)
    for one in sorted(outcomes, key=lambda outcome: outcome.index):
        print(f"node {one.index}: {word if one.well else one.words} ({1000 * one.seconds:.0f} ms)")
    if not outcomes:
        print(f"{word}; no node is on duty on this machine")
    if not all(one.well for one in outcomes):
        raise typer.Exit(FAILED)


@app.command()
def scan(
    addresses: Annotated[list[str] | None, typer.Argument(help="Ask these alone, e.g. pluto:ip:HOST.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
) -> None:
    """Find Plutos. Of each: URI, serial, model, firmware, temperature, tuning range."""
    with errors_as_sentences():
        from testbed.radio.pluto_connect import ask
        from testbed.radio.pluto_connect import scan as find

        found = [asdict(one) for one in ([ask(address) for address in addresses] if addresses else find())]
        if as_json:
            print(json.dumps(found))
            return
        for one in found:
            print("  ".join(f"{key} {value}" for key, value in one.items()))
        if not found:
            print("no Pluto answers; name one that is elsewhere: testbed scan pluto:ip:HOST")


@app.command()
def doctor(
    campaign: CampaignFile = None,
    radio: Annotated[list[str] | None, typer.Option(help="Address of a Pluto; may be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
) -> None:
    """Examine this machine and its radios. Each line says what to do; exit code 1 when something is amiss."""
    with errors_as_sentences():
        from testbed.agents.doctor import examine
        from testbed.campaign import load_campaign

        findings = examine(load_campaign(campaign), default_out(campaign), radio or [])
        if as_json:
            print(json.dumps([asdict(one) for one in findings]))
        else:
            for one in findings:
                print(f"{'ok  ' if one.well else 'MEND'}  {one.name}: {one.found}")
                if not one.well:
                    print(f"      → {one.remedy}")
        if not all(one.well for one in findings):
            raise typer.Exit(FAILED)


@calibrate.command("frequency")
def calibrate_frequency(
    units: Annotated[list[str], typer.Argument(help="Addresses of the units to measure.")],
    reference: Annotated[str, typer.Option(help="Address of the unit that transmits a tone.")],
    campaign: Annotated[Path, typer.Option(help="Campaign with centre, gains and permit.")],
    folder: Annotated[Path, typer.Option(help="Folder for dated results.")] = Path("measurements/calibration"),
) -> None:
    """Measure each unit's crystal, gain steps and timing against a reference unit over the air."""
    with errors_as_sentences():
        from datetime import date

        from testbed.agents.assemble import radio_settings, transmit_permit
        from testbed.campaign import load_campaign
        from testbed.radio.pluto_calibrate import calibrate as measure

        chosen = load_campaign(campaign)
        permit = transmit_permit(chosen)
        for one in measure(reference, units, radio_settings(chosen), permit, folder, date.today()):
            print(f"{one.serial}: {one.ppm:+.3f} ppm, xo_correction_hz {one.xo_correction_hz}")
