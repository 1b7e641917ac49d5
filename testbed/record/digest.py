"""BLAKE2 sums of the files of a run, in the form that `b2sum -c checksums.b2` checks; written at its begin and end."""

from __future__ import annotations

import hashlib
from pathlib import Path

from testbed.errors import RecordError
from testbed.record.folder import RunFolder
from testbed.record.space import replace


def covered(folder: RunFolder) -> tuple[Path, ...]:
    """Files whose sums are kept; the report can be made again and is not among them."""
    files = folder.manifest, folder.campaign, folder.record, folder.journal, folder.timings, folder.summary
    return (*(file for file in files if file.exists()), *sorted(folder.iq.glob("*.sigmf-*")))


def digest(path: Path) -> str:
    """BLAKE2b, 512 bit, in hexadecimal.

    Raises:
        RecordError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error


def write_digests(folder: RunFolder) -> None:
    """Sums of all files as they are now.

    Raises:
        RecordError: they cannot be read or written.
    """
    lines = [f"{digest(file)}  {file.relative_to(folder.path)}\n" for file in covered(folder)]
    replace(folder.checksums, "".join(lines).encode())


def read_digests(folder: RunFolder) -> dict[str, str]:
    """File name → sum; empty where there are none. Those of a killed run are of the files that were there at its begin.

    Raises:
        RecordError: the list is damaged.
    """
    if not folder.checksums.exists():
        return {}
    sums = {}
    for line in folder.checksums.read_text(errors="replace").splitlines():
        value, _, name = line.partition("  ")
        if not name or len(value) != 128:
            raise RecordError(f"{folder.checksums}: damaged: {line[:40]!r} is not a sum and a file name")
        sums[name] = value
    return sums
