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
    listen: Annotated[str, typer.Option(help="Where it hears of a panic.")] = "tcp://127.0.0.1:*",
    state: Annotated[Path | None, typer.Option(help="Folder for the node's tokens between layers.")] = None,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """One node: a radio and an expert, at the service of a controller, and the guard that keeps it alive or silent."""
    with errors_as_sentences():
        from testbed.agents.agent import run_agent
        from testbed.agents.guard import Post

        raise typer.Exit(run_agent(connect, Post(index, keys, state, with_parent, iq, listen)))


@app.command(hidden=True)
def nursery() -> None:
    """A warm process that forks the others of a run, as told over the socket at standard input."""
    from testbed.agents.nursery import run_nursery
    from testbed.agents.warm import warm_children
    from testbed.cli.app import app as command

    run_nursery(command, warm_children)


@app.command(hidden=True)
def air(
    settings: Annotated[str, typer.Option(help="Settings of the air, as JSON.")],
    keys: Annotated[Path, typer.Option(help="Folder of keys.")],
) -> None:
    """The simulated air that node agents share; prints its address."""
    with errors_as_sentences():
        from testbed.agents.air import run_air

        run_air(settings, keys, lambda address: print(address, flush=True))
