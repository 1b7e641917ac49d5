"""Commands for many runs: sweeps over campaign keys, and the paper's experiments."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbed.cli.common import FAILED, errors_as_sentences, group

if TYPE_CHECKING:
    from testbed.sweep.paper import ExperimentResult
    from testbed.sweep.run import Progress, SweepResult

app = group("Sweeps and experiments.")
Workers = Annotated[int, typer.Option(help="Processes that work at the same time.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


@app.command("sweep")
def sweep_campaigns(
    sweep: Annotated[Path, typer.Argument(help="Sweep TOML: a grid over campaign keys.")],
    out: Annotated[Path, typer.Option(help="Folder for the table of cells.")] = Path("measurements/sweeps"),
    workers: Workers = 1,
    cluster: Annotated[
        str | None, typer.Option(help="Dask scheduler to work on instead, tcp://….", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run what is left of a grid of campaigns. Finished cells are never run again."""
    with errors_as_sentences():
        from testbed.sweep.run import run_sweep

        with _bar(sweep.stem) as progress:
            done = run_sweep(sweep, out, workers, progress, cluster)
        counts = {"ran": done.ran, "found": done.found, "failed": done.failed, "seconds": done.seconds}
        if as_json:
            print(json.dumps(counts | {"table": str(done.table)}))
        else:
            print(f"{_cells(done)}, {done.seconds:.1f} s: {done.table}")
        if done.failed:
            raise typer.Exit(FAILED)


@app.command("experiment")
def experiment_of_the_paper(
    name: Annotated[str, typer.Argument(help="One of measurements/paper, without .toml; all = every one.")],
    out: Annotated[Path, typer.Option(help="Folder for results.")] = Path("measurements/paper/results"),
    seeds: Annotated[int | None, typer.Option(help="Seeds, 2 or more.", show_default=False)] = None,
    workers: Workers = 1,
    as_json: AsJson = False,
) -> None:
    """Run an experiment of the paper. Data, a figure, a table, and what they say of the claim."""
    with errors_as_sentences():
        from testbed.sweep.paper import EXPERIMENTS, SEEDS, run_experiment

        failed = 0
        for one in EXPERIMENTS if name == "all" else (name,):
            with _bar(one) as progress:
                done = run_experiment(one, out, SEEDS if seeds is None else seeds, progress, workers)
            _say(one, done, as_json)
            failed += done.failed
        if failed:
            raise typer.Exit(FAILED)


def _say(name: str, done: ExperimentResult, as_json: bool) -> None:
    """What an experiment found: sentences, or one object a line."""
    if as_json:
        counts = {"seeds": done.seeds, "ran": done.ran, "found": done.found, "failed": done.failed}
        said = {"experiment": name, "verdict": done.finding.verdict, "sentences": done.finding.sentences}
        print(json.dumps(said | counts | {"folder": str(done.folder)}, ensure_ascii=False), flush=True)
        return
    print(f"{name}: {done.finding.verdict}")
    for sentence in done.finding.sentences:
        print(f"  {sentence}")
    print(f"{done.seeds} seeds, {_cells(done)}: {done.folder}", flush=True)


def _cells(done: SweepResult | ExperimentResult) -> str:
    return f"{done.ran} cells run, {done.found} found, {done.failed} given up"


@contextmanager
def _bar(what: str) -> Iterator[Callable[[Progress], None]]:
    """How far it is and how long it will take, on standard error; redrawn by who works, without a thread."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    failed = TextColumn("{task.fields[failed]} given up")
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), failed, TimeRemainingColumn()
    with Bar(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
        task = bar.add_task(what, total=None, failed=0)

        def advance(so_far: Progress) -> None:
            ended = so_far.done + so_far.failed
            bar.update(task, completed=ended, total=so_far.total, failed=so_far.failed, refresh=True)

        yield advance
