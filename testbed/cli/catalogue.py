"""Commands about recorded runs: list, search, tag, remove, export, compare."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from testbed.cli.common import errors_as_sentences, group
from testbed.cli.printing import figure, joule

if TYPE_CHECKING:
    from testbed.record.catalogue_entry import Entry

app = group("Recorded runs.")
runs = group("List, search, tag and remove runs.")
app.add_typer(runs, name="runs")

Folder = Annotated[Path, typer.Option("--in", help="Folder of runs.")]
RUNS = Path("measurements/demo/runs")
RunName = Annotated[str, typer.Argument(help="Folder of a run, or a part of its name that fits no other.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


@runs.command("ls")
def list_all(folder: Folder = RUNS, as_json: AsJson = False) -> None:
    """List runs, oldest first."""
    with errors_as_sentences():
        from testbed.record.catalogue import list_runs

        _print_entries(list_runs(folder), as_json)


@runs.command("search")
def search_runs(
    words: Annotated[list[str], typer.Argument(help="Words, or conditions such as seed=7 or channel.snr_db<20.")],
    folder: Folder = RUNS,
    as_json: AsJson = False,
) -> None:
    """List the runs that meet every word."""
    with errors_as_sentences():
        from testbed.record.catalogue import search

        _print_entries(search(folder, words), as_json)


@runs.command("show")
def show_run(run: RunName, folder: Folder = RUNS) -> None:
    """All that is known of one run."""
    with errors_as_sentences():
        import msgspec

        from testbed.record.catalogue import find_run, show

        print(msgspec.json.format(msgspec.json.encode(show(find_run(folder, run))), indent=2).decode())


@runs.command("tag")
def tag_run(
    run: RunName,
    tags: Annotated[list[str], typer.Argument(help="Tags to put on the run.")],
    remove: Annotated[bool, typer.Option("--remove", help="Take them off instead.")] = False,
    folder: Folder = RUNS,
) -> None:
    """Put tags on a run, or take them off."""
    with errors_as_sentences():
        from testbed.record.catalogue import find_run, tag

        print(" ".join(tag(find_run(folder, run), *(((), tags) if remove else (tags,)))))


@runs.command("rm")
def remove_run(
    run: RunName, folder: Folder = RUNS, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
) -> None:
    """Delete a run with everything in its folder."""
    with errors_as_sentences():
        from testbed.record.catalogue import find_run, remove

        path = find_run(folder, run)
        if not yes:
            typer.confirm(f"delete {path}?", abort=True)
        print(f"removed {remove(path)}")


@app.command("export")
def export_run(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a run.")],
    to: Annotated[str, typer.Option(help="netcdf, mat, npz, parquet, or sigmf for the samples.")],
    out: Annotated[Path | None, typer.Option(help="File or folder.", show_default=False)] = None,
) -> None:
    """Write the rounds of a run to a file for other tools."""
    with errors_as_sentences():
        from testbed.record.export import export

        print(export(run_dir, to, out))


@app.command("diff")
def diff_runs(
    run_a: Annotated[Path, typer.Argument(help="Folder of a run.")],
    run_b: Annotated[Path, typer.Argument(help="Folder of another run.")],
) -> None:
    """Tell all that differs between two runs. Nothing when they are equal."""
    with errors_as_sentences():
        from testbed.record.compare import diff

        for one in diff(run_a, run_b):
            where = "run" if one.round is None else f"round {one.round}"
            print(f"{where:10}{one.kind:12}{one.name}: {one.words or f'{one.a} | {one.b} {one.unit}'}")


@app.command("import")
def import_csi(
    files: Annotated[list[Path], typer.Argument(help="CSI recordings by other tools; the format is recognised.")],
    out: Annotated[Path | None, typer.Option(help="NetCDF file to write.", show_default=False)] = None,
    as_links: Annotated[str | None, typer.Option(help="Rule that makes directed links of what was recorded.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse damaged packets instead of counting them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read other people's CSI, and write it as NetCDF.

    Intel 5300, Atheros, nexmon, FeitCSI, ESP32, PicoScenes, and arrays in NetCDF, .npz and .mat.
    """
    with errors_as_sentences():
        from testbed.record.foreign.importer import import_files

        found = [asdict(one) for one in import_files(files, out, as_links=as_links, strict=strict)]
        if as_json:
            for one in found:
                print(json.dumps(one))
            return
        for path, one in zip(files, found, strict=False):
            print(f"{path}: " + ", ".join(f"{name} {value}" for name, value in one.items()))
        if out is not None:
            print(out)


def _print_entries(entries: tuple[Entry, ...], as_json: bool) -> None:
    if as_json:
        import msgspec

        print(json.dumps(msgspec.to_builtins(entries)))
        return
    for one in entries:
        energy = "none" if one.energy_spent_j is None else joule(one.energy_spent_j)
        tags = " ".join(f"#{tag}" for tag in one.tags)
        print(f"{one.run_id:44}{one.status:12}{one.rounds:6} rounds  {figure(one.accuracy):>6}  {energy:>9}  {tags}")
