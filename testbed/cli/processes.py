"""Commands that the testbed gives itself: the processes of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.common import errors_as_sentences, group

app = group("Processes of a run.")


@app.command(hidden=True)
def agent(
    connect: Annotated[str, typer.Option(help="Address of the controller.")],
    index: Annotated[int, typer.Option(help="Number of this node.")],
    keys: Annotated[Path, typer.Option(help="Folder of keys.")],
    iq: Annotated[Path | None, typer.Option(help="Folder for recorded samples.")] = None,
) -> None:
    """One node: a radio and an expert, at the service of a controller."""
    with errors_as_sentences():
        from testbed.agents.agent import run_agent

        raise typer.Exit(run_agent(connect, index, keys, iq))


@app.command(hidden=True)
def air(
    settings: Annotated[str, typer.Option(help="Settings of the air, as JSON.")],
    keys: Annotated[Path, typer.Option(help="Folder of keys.")],
) -> None:
    """The simulated air that node agents share; prints its address."""
    with errors_as_sentences():
        from testbed.agents.air import run_air

        run_air(settings, keys, lambda address: print(address, flush=True))
