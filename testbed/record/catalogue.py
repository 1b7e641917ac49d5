"""The catalogue of a folder of runs: which runs there are, how they ended, what they are tagged with.

The run folders are the truth. `<out>/.catalogue.sqlite` only remembers what was read from them, so that many runs
list at once; it may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from testbed.errors import RecordError
from testbed.outcome import Summary
from testbed.record.catalogue_entry import (
    Entry,
    campaign_text,
    entry_of,
    facts_of,
    read_tags,
    stamp_of,
    write_tags,
)
from testbed.record.catalogue_index import Index, Indexed, open_index
from testbed.record.folder import Manifest, RunFolder, is_live, read_manifest
from testbed.record.read import read_summary
from testbed.record.swap import settle_missing

INDEX = ".catalogue.sqlite"
_CONDITION = re.compile(r"([A-Za-z_][\w.-]*)(<=|>=|!=|=|<|>)(.*)", re.DOTALL)


@dataclass(frozen=True)
class Details:
    """All that is known of one run without its rounds.

    Attributes:
        entry: as it is listed.
        manifest: what was run and how it ended; None where it is damaged.
        campaign: the campaign as it was run, TOML; empty where it cannot be read.
        summary: closing figures; None for a run that did not come to its end.
        files: name → bytes.
    """

    entry: Entry
    manifest: Manifest | None
    campaign: str
    summary: Summary | None
    files: dict[str, int]


def list_runs(out: Path) -> tuple[Entry, ...]:
    """All runs of a folder, oldest first; folders that hold no run are passed over.

    Raises:
        RecordError: `out` is no folder or cannot be read.
    """
    return search(out, ())


def search(out: Path, words: Sequence[str]) -> tuple[Entry, ...]:
    """Runs that meet every word, oldest first.

    Args:
        out: folder of runs.
        words: each one is a condition (`seed=7`, with = != < <= > >=) on a field of `Entry`, on `tag`, on the
            version of a package (`numpy=2.4.6`) or on a setting (`schedule.scheduler=jesa`, `channel.snr_db<20`);
            or a text that occurs in the run's name, campaign, host, commit, status or tags, whatever the case.

    Raises:
        RecordError: no folder of runs, or a condition on what no run has; says which.
    """
    with _catalogue(Path(out)) as index:
        found = [_meeting(index, word) for word in words]
        rows = index.entries()
    return tuple(
        msgspec.json.decode(entry, type=Entry) for run_id, entry in rows if all(run_id in ids for ids in found)
    )


def _meeting(index: Index, word: str) -> set[str]:
    condition = _CONDITION.fullmatch(word)
    if condition is None:
        return index.containing(word)
    name, sign, value = condition.groups()
    names = {*Entry.__struct_fields__, *index.names(), "tag"} - {"tags", "packages"}
    if name not in names:
        raise RecordError(f"condition {word!r}: no run has {name!r}; known are {', '.join(sorted(names))}")
    return index.meeting(name, sign, value)


@contextlib.contextmanager
def _catalogue(out: Path) -> Iterator[Index]:
    """The index, brought up to date from the folders."""
    folders = run_folders(out)
    with contextlib.closing(open_index(out / INDEX)) as index:
        try:
            _refresh(index, folders)
            yield index
        except sqlite3.Error as error:
            raise RecordError(f"{out / INDEX}: {error}; delete this file, it is made again") from error


def _refresh(index: Index, folders: list[RunFolder]) -> None:
    known = index.stamps()
    stamps = ((folder, stamp_of(folder)) for folder in folders)
    index.put(_indexed(folder, stamp) for folder, stamp in stamps if known.get(folder.run_id) != stamp)
    index.keep_only({folder.run_id for folder in folders})


def _indexed(folder: RunFolder, stamp: str) -> Indexed:
    entry = entry_of(folder)
    return Indexed(
        run_id=folder.run_id,
        # A run that goes on is read again each time: nothing changes in its folder when it is killed.
        stamp="" if entry.status == "running" else stamp,
        started=entry.started,
        entry=msgspec.json.encode(entry),
        facts=tuple(facts_of(entry, campaign_text(folder))),
    )


def run_folders(out: Path) -> list[RunFolder]:
    """The runs that lie in `out`.

    Raises:
        RecordError: `out` is no folder or cannot be read.
    """
    settle_missing(out)
    try:
        paths = sorted(path for path in out.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise RecordError(f"{out}: no folder of runs: {error.strerror or error}; choose one with --out") from error
    return [RunFolder(path) for path in paths if (path / "manifest.json").exists()]


def find_run(out: Path, name: str) -> Path:
    """The run that a person means: a path, or a part of a name that fits one run of `out` alone.

    Raises:
        RecordError: none or several fit; names them.
    """
    if RunFolder(Path(name)).manifest.exists():
        return Path(name)
    names = [folder.run_id for folder in run_folders(out)] if out.is_dir() else []
    fits = [run_id for run_id in names if run_id == name] or [run_id for run_id in names if name and name in run_id]
    if len(fits) == 1:
        return out / fits[0]
    if not fits:
        raise RecordError(
            f"{name}: neither a run folder nor a part of the name of one of the {len(names)} runs in {out}"
        )
    raise RecordError(f"{name}: fits {len(fits)} runs in {out}, give more of the name: {', '.join(fits[:8])}")


def show(run: Path) -> Details:
    """All that is known of one run; a damaged one is shown as far as it can be read.

    Raises:
        RecordError: there is no run.
    """
    folder = _existing(run)
    manifest = summary = None
    with contextlib.suppress(RecordError):
        manifest = read_manifest(folder)
        summary = read_summary(folder, manifest)
    files = {path.name: path.stat().st_size for path in sorted(folder.path.iterdir()) if path.is_file()}
    return Details(entry_of(folder), manifest, campaign_text(folder), summary, files)


def tag(run: Path, add: Iterable[str] = (), remove: Iterable[str] = ()) -> tuple[str, ...]:
    """Puts tags on a run and takes others off; returns its tags afterwards, in alphabetical order.

    Raises:
        RecordError: no run, an impossible tag, or the folder cannot be written.
    """
    folder = _existing(run)
    return write_tags(folder, {*read_tags(folder), *add} - set(remove))


def remove(run: Path) -> str:
    """Deletes a run with everything in its folder; returns its name.

    Raises:
        RecordError: no run, one that is still going on, or the folder cannot be removed.
    """
    folder = _existing(run)
    if is_live(folder):
        raise RecordError(f"{folder.path}: still being written; stop the run before you remove it")
    going = folder.path.with_name(f".{folder.run_id}.removed")
    try:
        os.replace(folder.path, going)  # an interrupted removal must not leave half a run
        shutil.rmtree(going)
    except OSError as error:
        raise RecordError(f"{folder.path}: cannot be removed: {error.strerror or error}") from error
    return folder.run_id


def _existing(run: Path) -> RunFolder:
    folder = RunFolder(Path(run).resolve())
    if not folder.manifest.exists():
        raise RecordError(f"{run}: not a run folder, it has no manifest.json")
    return folder
