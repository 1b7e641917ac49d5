"""Disk space: how much is left, a reserve for the last words of a run, files replaced as a whole."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from testbed.errors import RecordError

FLOOR_BYTES = 16 << 20
BALLAST_BYTES = 1 << 20


class NoSpace(RecordError):
    """The disk is nearly full and the round was not recorded; free space and append it again."""


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write."""
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize


def low_space(folder: Path, expected: int) -> str:
    """A warning where less than a tenth of the disk is free, or less than twice what will be written; else empty.

    Args:
        folder: on the disk; it need not exist yet.
        expected: bytes still to be written.
    """
    there = next((path for path in (folder, *folder.absolute().parents) if path.is_dir()), Path("/"))
    stat = os.statvfs(there)
    free, whole = stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize
    if free >= max(0.1 * whole, 2 * expected + FLOOR_BYTES):
        return ""
    return (
        f"little space in {folder}: {free / 1e6:.0f} MB free, {100 * free / max(1, whole):.0f} % of the disk, and "
        f"about {expected / 1e6:.0f} MB still to be written; a run pauses when the disk is full"
    )


def no_space(folder: Path, free: int, needed: int) -> NoSpace:
    """The sentence for a full disk."""
    return NoSpace(
        f"{folder}: disk nearly full, {free / 1e6:.1f} MB free and {needed / 1e6:.1f} MB needed; "
        "free some space or choose another folder with --out"
    )


def require(folder: Path, needed: int) -> None:
    """Refuse unless `needed` bytes are free.

    Raises:
        NoSpace: names folder, free and needed space, and what to do.
    """
    free = free_bytes(folder)
    if free < needed:
        raise no_space(folder, free, needed)


def reserve(ballast: Path) -> None:
    """Allocate a file that is deleted at the end, so that a full disk still takes the closing files.

    Raises:
        OSError: no room for it.
    """
    handle = os.open(ballast, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    try:
        os.posix_fallocate(handle, 0, BALLAST_BYTES)
    finally:
        os.close(handle)


def release(ballast: Path) -> None:
    """Give the reserve back; nothing happens where there is none."""
    with contextlib.suppress(OSError):
        ballast.unlink(missing_ok=True)


def replace(path: Path, content: bytes) -> None:
    """Write a small file so that a reader, or a crash, sees the old or the new one and nothing between.

    Raises:
        RecordError: it could not be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        _write_through(part, content)
        os.replace(part, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise RecordError(f"{path}: cannot be written: {error.strerror or error}") from error


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Push the names of a folder's files to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
