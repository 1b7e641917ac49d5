"""Commands for many runs: sweeps over campaign keys, and the paper's experiments."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbed.cli.common import FAILED, errors_as_sentences, group

if TYPE_CHECKING:
    from testbed.sweep.run import Progress

app = group("Sweeps and experiments.")
Workers = Annotated[int, typer.Option(help="Processes that work at the same time.")]


@app.command("sweep")
def sweep_campaigns(
    sweep: Annotated[Path, typer.Argument(help="Sweep TOML: a grid over campaign keys.")],
    out: Annotated[Path, typer.Option(help="Folder for the table of cells.")] = Path("measurements/sweeps"),
    workers: Workers = 1,
    cluster: Annotated[
        str | None, typer.Option(help="Dask scheduler to work on instead, tcp://….", show_default=False)
    ] = None,
) -> None:
    """Run what is left of a grid of campaigns. Finished cells are never run again."""
    with errors_as_sentences():
        from testbed.sweep.run import run_sweep

        done = run_sweep(sweep, out, workers, _progress, cluster)
        print(f"{done.ran} cells run, {done.found} found, {done.failed} given up, {done.seconds:.1f} s: {done.table}")
        if done.failed:
            raise typer.Exit(FAILED)


@app.command("experiment")
def experiment_of_the_paper(
    name: Annotated[str, typer.Argument(help="One of measurements/paper, without .toml; all = every one.")],
    out: Annotated[Path, typer.Option(help="Folder for results.")] = Path("measurements/paper/results"),
    seeds: Annotated[int | None, typer.Option(help="Seeds, 2 or more.", show_default=False)] = None,
    workers: Workers = 1,
) -> None:
    """Run an experiment of the paper. Data, a figure, a table, and what they say of the claim."""
    with errors_as_sentences():
        from testbed.sweep.paper import EXPERIMENTS, SEEDS, run_experiment

        for one in EXPERIMENTS if name == "all" else (name,):
            done = run_experiment(one, out, SEEDS if seeds is None else seeds, _progress, workers)
            print(f"{one}: {done.finding.verdict}")
            for sentence in done.finding.sentences:
                print(f"  {sentence}")
            print(
                f"{done.seeds} seeds, {done.ran} cells run, {done.found} found, {done.failed} given up: {done.folder}"
            )


def _progress(progress: Progress) -> None:
    print(f"\r{progress.done}/{progress.total} cells, {progress.failed} given up", end="", file=sys.stderr, flush=True)
    if progress.done + progress.failed == progress.total:
        print(file=sys.stderr)
