"""The run folder: its name, its files, and the manifest that says what was run and how it ended.

    <out>/20250317T120000Z-demo-seed7/
      manifest.json   format version, command line, versions, host, times, status, events
      campaign.toml   the campaign as it was run
      record.h5       all rounds
      journal.bin     all rounds, as long as record.h5 is not closed
      timings.jsonl   wall time of each round's phases, one line a round
      summary.json    closing figures
      iq/             samples of each node's radio as SigMF, if the campaign wants them
      report.html     pictures, made from the rest
      checksums.b2    BLAKE2 of the files above it, for `b2sum -c`; written last

Two runs of one seed on simulated radios differ in manifest, timings, report and checksums only.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import os
import platform
import re
import shutil
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from testbed.errors import RecordError
from testbed.record.space import BALLAST_BYTES, FLOOR_BYTES, release, replace, require, reserve

Status = Literal["running", "complete", "interrupted", "failed"]

FORMAT = "dmoe-testbed-run"
FORMAT_VERSION = 1
PACKAGES = ("dmoe-testbed", "numpy", "scipy", "numba", "h5py", "msgspec", "pyzmq", "pulp", "safetensors")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What was run, where, when, and how it ended; times are UTC in ISO 8601."""

    format: str = FORMAT
    format_version: int = FORMAT_VERSION
    run_id: str
    campaign: str
    seed: int
    command: tuple[str, ...]
    python: str
    platform: str
    host: str
    packages: dict[str, str]
    git_commit: str | None
    started: str
    finished: str | None = None
    status: Status = "running"
    rounds: int = 0
    seconds: float | None = None
    events: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunFolder:
    """Where the files of one run are."""

    path: Path

    @property
    def run_id(self) -> str:
        """Name of the run, unique in its folder."""
        return self.path.name

    @property
    def manifest(self) -> Path:
        """What was run."""
        return self.path / "manifest.json"

    @property
    def campaign(self) -> Path:
        """The campaign as it was run."""
        return self.path / "campaign.toml"

    @property
    def record(self) -> Path:
        """All rounds."""
        return self.path / "record.h5"

    @property
    def journal(self) -> Path:
        """All rounds too, while a run goes on or after it was killed."""
        return self.path / "journal.bin"

    @property
    def timings(self) -> Path:
        """Wall times."""
        return self.path / "timings.jsonl"

    @property
    def summary(self) -> Path:
        """Closing figures."""
        return self.path / "summary.json"

    @property
    def report(self) -> Path:
        """Pictures."""
        return self.path / "report.html"

    @property
    def checksums(self) -> Path:
        """BLAKE2 of the finished files."""
        return self.path / "checksums.b2"

    @property
    def iq(self) -> Path:
        """Recorded samples, where there are any."""
        return self.path / "iq"

    @property
    def lock(self) -> Path:
        """Held by the writer process while it lives."""
        return self.path / ".writer"

    @property
    def ballast(self) -> Path:
        """Reserve for the closing files."""
        return self.path / ".ballast"


def create_run(out: Path, name: str, seed: int, campaign_text: str, argv: Sequence[str], now: datetime) -> RunFolder:
    """A new run folder with manifest and campaign in it, status "running".

    Args:
        out: folder of all runs, made if missing.
        name: name of the campaign.
        seed: seed of the run.
        campaign_text: resolved campaign, TOML.
        argv: command line.
        now: with time zone; becomes part of the folder's name.

    Raises:
        RecordError: the folder cannot be made or written; nothing is left behind.
        NoSpace: less space is free than a run needs at least.
    """
    path: Path | None = None
    try:
        path = _new_folder(Path(out), name, seed, now)
        require(path, FLOOR_BYTES + BALLAST_BYTES)
        folder = RunFolder(path)
        reserve(folder.ballast)
        replace(folder.campaign, campaign_text.encode())
        write_manifest(folder, _manifest(folder, name, seed, argv, now))
    except (OSError, RecordError) as error:
        if path is not None:
            shutil.rmtree(path, ignore_errors=True)
        if isinstance(error, RecordError):
            raise
        raise RecordError(
            f"{out}: no run can be recorded here: {error.strerror or error}; "
            "choose a folder that can be written with --out"
        ) from error
    return folder


def _new_folder(out: Path, name: str, seed: int, now: datetime) -> Path:
    """`<UTC time>-<name>-seed<seed>`, with −2, −3 … where it exists already."""
    out.mkdir(parents=True, exist_ok=True)
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("._-")[:60] or "run"
    stem = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{plain}-seed{seed}"
    for number in range(1, 10_000):
        path = out / (stem if number == 1 else f"{stem}-{number}")
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path
    raise RecordError(f"{out}: 9999 runs named {stem} exist; choose another folder with --out")


def _manifest(folder: RunFolder, name: str, seed: int, argv: Sequence[str], now: datetime) -> Manifest:
    return Manifest(
        run_id=folder.run_id,
        campaign=name,
        seed=seed,
        command=tuple(argv),
        python=platform.python_version(),
        platform=platform.platform(),
        host=socket.gethostname(),
        packages=package_versions(),
        git_commit=git_commit(Path(__file__).parents[2]),
        started=now.astimezone(UTC).isoformat(),
    )


def package_versions() -> dict[str, str]:
    """Installed versions of what decides the figures of a run."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def git_commit(root: Path) -> str | None:
    """Commit of the source tree, with "-dirty" where files differ from it; None outside of git."""
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def write_manifest(folder: RunFolder, manifest: Manifest) -> None:
    """Replace the manifest as a whole.

    Raises:
        RecordError: it could not be written.
    """
    replace(folder.manifest, msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")


def read_manifest(folder: RunFolder) -> Manifest:
    """The manifest; a run whose writer is gone without a word is "interrupted".

    Raises:
        RecordError: there is none, it is damaged, or of a version this program does not know.
    """
    try:
        content = folder.manifest.read_bytes()
    except OSError as error:
        raise RecordError(
            f"{folder.path}: not a run folder, manifest.json cannot be read: {error.strerror or error}"
        ) from error
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"{folder.manifest}: damaged: {error}; restore it from a copy") from error
    if (manifest.format, manifest.format_version) != (FORMAT, FORMAT_VERSION):
        raise RecordError(
            f"{folder.manifest}: format {manifest.format!r} version {manifest.format_version}, this program "
            f"reads {FORMAT!r} version {FORMAT_VERSION}; use the version of the program that wrote it"
        )
    if manifest.status == "running" and not is_live(folder):
        return msgspec.structs.replace(manifest, status="interrupted")
    return manifest


def is_live(folder: RunFolder) -> bool:
    """Whether a writer process is at work in this folder."""
    try:
        handle = os.open(folder.lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def hold(folder: RunFolder) -> int:
    """Lock the folder for this process until it ends; the open file must be kept.

    Raises:
        OSError: another writer holds it, or it cannot be written.
    """
    handle = os.open(folder.lock, os.O_CREAT | os.O_RDWR, 0o644)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return handle


def clear_scaffold(folder: RunFolder) -> None:
    """Remove what only a running run needs."""
    release(folder.ballast)
    release(folder.lock)
