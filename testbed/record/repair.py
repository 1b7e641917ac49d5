"""Repair of a run whose writer was killed: its record file is made anew from the journal."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from testbed.errors import RecordError
from testbed.record.digest import write_digests
from testbed.record.folder import RunFolder, clear_scaffold, is_live, read_manifest, write_manifest
from testbed.record.iq_write import finish_iq
from testbed.record.space import require
from testbed.record.table import Table, damaged, read_table


def repair(path: Path) -> int:
    """Leave a run as an orderly end would have: `record.h5` closed, no journal, manifest and checksums written.

    Returns:
        Rounds of the run. All that were committed are kept; a finished run is left as it is.

    Raises:
        RecordError: the run is still being written, is damaged, or cannot be written; nothing was changed.
    """
    folder = RunFolder(Path(path))
    manifest = read_manifest(folder)
    if is_live(folder):
        raise RecordError(f"{folder.path}: still being written; repair it when the run has ended")
    table = read_table(folder)
    damage = next(damaged(table), None)
    if damage is not None:
        raise RecordError(f"{folder.path}: damaged: {damage}; restore the recording from a copy")
    finish_iq(folder.iq)
    if folder.journal.exists():
        _rebuild(folder, table)
        folder.journal.unlink()
        clear_scaffold(folder)
        write_manifest(folder, msgspec.structs.replace(manifest, rounds=len(table.rows)))
        write_digests(folder)
    return len(table.rows)


def _rebuild(folder: RunFolder, table: Table) -> None:
    """Replace the record file by one with the rounds of the table."""
    from testbed.record.store import Store

    require(folder.path, 3 * folder.journal.stat().st_size + (1 << 20))
    part = folder.record.with_name(".record.h5.part")
    try:
        part.unlink(missing_ok=True)
        store = Store(part, table.shape)
        for rows, crc in zip(table.rows, table.crc, strict=True):
            store.append(rows, crc)
        store.close()
        os.replace(part, folder.record)
    except (OSError, RuntimeError) as error:
        raise RecordError(f"{folder.record}: cannot be written: {error}") from error
