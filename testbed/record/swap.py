"""One run folder in the place of another, so that whatever is killed meanwhile leaves the old one or the new one.

    .RUN.next   the new folder, complete; after the exchange the old one, on its way out

Linux exchanges two names in one step. Where a file system cannot, the old folder steps aside first (`.RUN.before`);
what a kill leaves in that moment is set right by `settle`, which the catalogue and `resume` call.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
from pathlib import Path

from testbed.errors import RecordError
from testbed.record.space import sync_folder

NEXT, BEFORE = "next", "before"
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_NOT_HERE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EXDEV)


def swap_in(new: Path, old: Path) -> None:
    """Put the folder `new` in the place of `old`, which is removed.

    Raises:
        RecordError: it cannot be done; one of the two is whole in the place of `old`, after `settle`.
    """
    coming, leaving = _beside(old, NEXT), _beside(old, BEFORE)
    try:
        settle(old)
        os.replace(new, coming)
        if not exchange(coming, old):
            os.replace(old, leaving)
            os.replace(coming, old)
        sync_folder(old.parent)
        settle(old)
    except OSError as error:
        raise RecordError(f"{old}: cannot be replaced: {error.strerror or error}") from error


def settle(run: Path) -> None:
    """Set right what a killed `swap_in` left beside a run; nothing happens where nothing was left.

    Raises:
        RecordError: it cannot be done.
    """
    try:
        if not run.exists():
            _bring_back(run)
        for folder in _left(run):
            if run.exists():
                shutil.rmtree(folder)
    except OSError as error:
        raise RecordError(f"{run}: cannot be set right: {error.strerror or error}") from error


def _left(run: Path) -> list[Path]:
    """Folders that lie beside a run, the newer one first."""
    return [folder for folder in (_beside(run, NEXT), _beside(run, BEFORE)) if folder.exists()]


def _bring_back(run: Path) -> None:
    for folder in _left(run)[:1]:
        os.replace(folder, run)


def settle_missing(out: Path) -> None:
    """Bring back runs of a folder that a killed `swap_in` left without their name; does nothing else."""
    for folder in [*out.glob(f".*.{NEXT}"), *out.glob(f".*.{BEFORE}")]:
        run = out / folder.name[1:].rpartition(".")[0]
        if not run.exists():
            with contextlib.suppress(OSError):  # another one was faster, or may write here
                _bring_back(run)


def _beside(run: Path, word: str) -> Path:
    return run.with_name(f".{run.name}.{word}")


def exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot.

    Raises:
        OSError: it can, but not these two.
    """
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    done = renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), ctypes.c_uint(_RENAME_EXCHANGE))
    number = ctypes.get_errno()
    if done != 0 and number not in _NOT_HERE:
        raise OSError(number, os.strerror(number), str(one), None, str(other))
    return bool(done == 0)
