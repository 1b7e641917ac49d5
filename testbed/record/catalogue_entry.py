"""What the catalogue says of one run, read from its folder; tags, which lie in `tags.json` of the run."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from testbed.errors import RecordError
from testbed.record.folder import Manifest, RunFolder, read_manifest
from testbed.record.read import open_run, read_summary, read_timings
from testbed.record.space import replace
from testbed.record.sums import Totals
from testbed.record.totals import accuracies

_TAG = re.compile(r"[^\s,=<>!]{1,64}")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One run, as it is listed.

    Attributes:
        run_id: name of its folder.
        status: "running", "complete", "interrupted" (a killed run too), "failed", or "damaged".
        packages: versions of what decides the figures.
        started, finished: UTC, ISO 8601.
        seconds: wall time of the whole run.
        rounds: that are safe; while a run goes on, those that were begun.
        accuracy, accuracy_central: next-byte accuracy over the air, and of the same model in one place; None where
            no batch was finished.
        energy_predicted_j, energy_spent_j: joule over all rounds.
        tags: in alphabetical order.
        problem: why the run is "damaged" or its figures are missing; else empty.
    """

    run_id: str
    status: str
    campaign: str = ""
    seed: int | None = None
    git_commit: str | None = None
    python: str = ""
    packages: dict[str, str] = {}
    host: str = ""
    started: str = ""
    finished: str | None = None
    seconds: float | None = None
    rounds: int = 0
    accuracy: float | None = None
    accuracy_central: float | None = None
    energy_predicted_j: float | None = None
    energy_spent_j: float | None = None
    tags: tuple[str, ...] = ()
    problem: str = ""


def entry_of(folder: RunFolder) -> Entry:
    """A run folder as it is now; whatever cannot be read is said in `problem`."""
    try:
        manifest = read_manifest(folder)
        entry = msgspec.convert(_from_manifest(folder, manifest), Entry)
    except RecordError as error:
        return Entry(run_id=folder.run_id, status="damaged", problem=str(error))
    try:
        figures = _figures(folder, manifest) | {"tags": read_tags(folder)}
    except RecordError as error:
        status = "damaged" if manifest.status == "complete" else manifest.status
        return msgspec.structs.replace(entry, status=status, problem=str(error))
    return msgspec.structs.replace(entry, **figures)


def _from_manifest(folder: RunFolder, manifest: Manifest) -> dict[str, Any]:
    """What the manifest knows; the folder may have been given another name since."""
    named = msgspec.structs.asdict(manifest)
    return {k: v for k, v in named.items() if k in Entry.__struct_fields__} | {"run_id": folder.run_id}


def _figures(folder: RunFolder, manifest: Manifest) -> dict[str, Any]:
    """Closing figures; of a run that wrote none, the sums over the rounds that are safe."""
    if manifest.status == "running":
        return {"rounds": len(read_timings(folder.timings))}
    summary = read_summary(folder, manifest)
    if summary is not None:
        names = "rounds", "accuracy", "accuracy_central", "energy_predicted_j", "energy_spent_j"
        return {name: getattr(summary, name) for name in names}
    with open_run(folder.path) as run:
        sums, predictions = Totals(), []
        for one in run.each():
            sums = sums.with_round(one.record)
            predictions.append(one.predictions)
    scored = next(iter(accuracies(predictions)), None)
    return {
        "rounds": sums.rounds,
        "accuracy": scored.run if scored else None,
        "accuracy_central": scored.central if scored else None,
        "energy_predicted_j": sums.predicted_j,
        "energy_spent_j": sums.spent_j,
    }


def stamp_of(folder: RunFolder) -> str:
    """Changes when a file that an entry is made of does."""
    parts = []
    for file in (folder.manifest, folder.summary, folder.record, folder.journal, folder.campaign, _tag_file(folder)):
        with contextlib.suppress(OSError):
            stat = file.stat()
            parts.append(f"{file.name}:{stat.st_mtime_ns}:{stat.st_size}:{stat.st_ino}")
    return " ".join(parts)


def facts_of(entry: Entry, campaign: str) -> Iterator[tuple[str, str]]:
    """Name and value of all that can be searched for: columns, tags, versions, and settings by dotted key."""
    plain = msgspec.structs.asdict(entry)
    tags, packages = plain.pop("tags"), plain.pop("packages")
    with contextlib.suppress(tomllib.TOMLDecodeError):
        plain = {**dict(flat(tomllib.loads(campaign))), **packages, **plain}
    yield from (("tag", tag) for tag in tags)
    yield from ((name, as_text(value)) for name, value in plain.items() if value is not None)


def flat(table: Mapping[str, Any], parent: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of each setting of a TOML document."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{parent}{key}.")
        else:
            yield f"{parent}{key}", value


def as_text(value: object) -> str:
    """A setting as it is compared: strings as they are, all else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def campaign_text(folder: RunFolder) -> str:
    """The campaign as it was run, TOML; empty where it cannot be read."""
    try:
        return folder.campaign.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def read_tags(folder: RunFolder) -> tuple[str, ...]:
    """Tags of a run, none where there is no file.

    Raises:
        RecordError: the file is damaged.
    """
    file = _tag_file(folder)
    try:
        return msgspec.json.decode(file.read_bytes(), type=tuple[str, ...])
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"{file}: damaged: {error}; delete it and tag the run again") from error


def write_tags(folder: RunFolder, tags: Iterable[str]) -> tuple[str, ...]:
    """Replace the tags of a run; returns them in alphabetical order.

    Raises:
        RecordError: an impossible tag, or the folder cannot be written.
    """
    kept = tuple(sorted(set(tags)))
    for word in kept:
        if not _TAG.fullmatch(word):
            raise RecordError(f"tag {word!r}: a tag is 1 to 64 signs without blanks, commas, =, !, < and >")
    replace(_tag_file(folder), msgspec.json.encode(kept) + b"\n")
    return kept


def _tag_file(folder: RunFolder) -> Path:
    return folder.path / "tags.json"
