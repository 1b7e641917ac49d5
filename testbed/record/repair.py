"""Repair of a run that was killed or cut off: its record file is made anew from what is sound."""

from __future__ import annotations

import os
import shutil
from itertools import islice
from pathlib import Path

import msgspec

from testbed.errors import RecordError
from testbed.record.digest import write_digests
from testbed.record.folder import Manifest, RunFolder, clear_scaffold, is_live, read_manifest, write_manifest
from testbed.record.hdf5_bytes import stored_size
from testbed.record.iq_write import finish_iq
from testbed.record.space import require, sync_folder
from testbed.record.table import Table, open_hdf5, open_journal, open_table, sound_rows


def repair(path: Path) -> int:
    """Leave a run as an orderly end would have: `record.h5` closed, no journal, manifest and checksums written.

    Of a damaged journal, and of a record file that was cut off, the rounds before the damage are kept, and the file is
    set aside as `journal.damaged` or `record.damaged`. A finished run is left as it is.

    Returns:
        Rounds of the run. All that were committed are kept, but for those behind a damage.

    Raises:
        RecordError: the run is still being written, its record file is damaged otherwise, nothing of it is left, or it
            cannot be written; nothing was changed.
    """
    folder = RunFolder(Path(path))
    manifest = read_manifest(folder)
    if is_live(folder):
        raise RecordError(f"{folder.path}: still being written; repair it when the run has ended")
    finish_iq(folder.iq)
    if folder.journal.exists():
        rounds, damage = _from_journal(folder)
    elif _is_cut_off(folder.record):
        rounds, damage = _from_cut_record(folder)
    else:
        with open_table(folder) as table:
            rounds, damage = sum(1 for _ in sound_rows(folder, table)), ""
        if manifest.finished is not None:
            return rounds
    clear_scaffold(folder)
    _note(folder, manifest, rounds, damage)
    write_digests(folder)
    return rounds


def _note(folder: RunFolder, manifest: Manifest, rounds: int, damage: str) -> None:
    events, status = manifest.events, manifest.status
    if damage:
        status = "interrupted"
        events = (*events, f"{rounds} rounds are safe, what followed is damaged: {damage}")
    write_manifest(folder, msgspec.structs.replace(manifest, rounds=rounds, status=status, events=events))


def _from_journal(folder: RunFolder) -> tuple[int, str]:
    with open_journal(folder.journal) as table:
        folder.record.unlink(missing_ok=True)  # the journal has all of it
        found = _rebuild(folder, table)
    if found[1]:
        os.replace(folder.journal, folder.path / "journal.damaged")
    else:
        folder.journal.unlink()
    return found


def _is_cut_off(record: Path) -> bool:
    try:
        size = stored_size(record)
        return size is not None and record.stat().st_size < size
    except OSError:
        return False


def _from_cut_record(folder: RunFolder) -> tuple[int, str]:
    """HDF5 opens no file that is shorter than it says; with zeros in the place of what is missing it does."""
    whole, aside = folder.path / ".record.h5.whole", folder.path / "record.damaged"
    try:
        shutil.copyfile(folder.record, whole)
        os.truncate(whole, stored_size(folder.record) or 0)
        os.link(folder.record, aside)
        with open_hdf5(whole) as table:
            return _rebuild(folder, table)
    except OSError as error:
        raise RecordError(f"{folder.record}: cannot be repaired: {error.strerror or error}") from error
    finally:
        whole.unlink(missing_ok=True)


def sound_rounds(folder: RunFolder, table: Table) -> tuple[int, str]:
    """How many rounds of a table are sound from its beginning, and what is wrong with the next; empty: nothing."""
    rounds = 0
    try:
        for _ in sound_rows(folder, table):
            rounds += 1
    except RecordError as error:
        return rounds, str(error)
    return rounds, ""


def _rebuild(folder: RunFolder, table: Table) -> tuple[int, str]:
    """Replace the record file by one with the sound rounds of a table; these, and what the damage is."""
    from testbed.record.store import write_record

    rounds, damage = sound_rounds(folder, table)
    part = folder.record.with_name(".record.h5.part")
    size = sum(sum(array.nbytes for array in row.values.values()) for row in islice(table.each(), rounds))
    require(folder.path, size * 5 // 4 + (1 << 20))
    try:
        part.unlink(missing_ok=True)
        write_record(part, table.shape, islice(table.each(), rounds))
        os.replace(part, folder.record)
        sync_folder(folder.path)
    except (OSError, RuntimeError) as error:
        raise RecordError(f"{folder.record}: cannot be written: {error}") from error
    return rounds, damage
