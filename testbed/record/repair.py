"""Repair of a run whose writer was killed: its record file is made anew from the journal."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import msgspec

from testbed.errors import RecordError
from testbed.record.digest import write_digests
from testbed.record.folder import RunFolder, clear_scaffold, is_live, read_manifest, write_manifest
from testbed.record.iq_write import finish_iq
from testbed.record.space import require, sync_folder
from testbed.record.table import Table, open_journal, open_table, sound_rows

DAMAGED = "journal.damaged"


def repair(path: Path) -> int:
    """Leave a run as an orderly end would have: `record.h5` closed, no journal, manifest and checksums written.

    Of a damaged journal the rounds before the damage are kept, and it is set aside as `journal.damaged`. A finished
    run is left as it is.

    Returns:
        Rounds of the run. All that were committed are kept, but for those behind a damage.

    Raises:
        RecordError: the run is still being written, its record file is damaged, nothing of it is left, or it cannot be
            written; nothing was changed.
    """
    folder = RunFolder(Path(path))
    manifest = read_manifest(folder)
    if is_live(folder):
        raise RecordError(f"{folder.path}: still being written; repair it when the run has ended")
    finish_iq(folder.iq)
    if not folder.journal.exists():
        with open_table(folder) as table:
            rounds, damage = sum(1 for _ in sound_rows(folder, table)), ""
        if manifest.finished is not None:
            return rounds
    else:
        rounds, damage = _rebuild(folder)
        _put_away(folder.journal, damage)
    clear_scaffold(folder)
    words = (f"{rounds} rounds are safe, what followed is damaged: {damage}",) if damage else ()
    write_manifest(folder, msgspec.structs.replace(manifest, rounds=rounds, events=(*manifest.events, *words)))
    write_digests(folder)
    return rounds


def _put_away(journal: Path, damage: str) -> None:
    if damage:
        os.replace(journal, journal.with_name(DAMAGED))
    else:
        journal.unlink()


def sound_rounds(folder: RunFolder, table: Table) -> tuple[int, str]:
    """How many rounds of a table are sound from its beginning, and what is wrong with the next; empty: nothing."""
    rounds = 0
    try:
        for _ in sound_rows(folder, table):
            rounds += 1
    except RecordError as error:
        return rounds, str(error)
    return rounds, ""


def _rebuild(folder: RunFolder) -> tuple[int, str]:
    """Replace the record file by one with the sound rounds of the journal; these, and what the damage is."""
    from testbed.record.store import write_record

    part = folder.record.with_name(".record.h5.part")
    with open_journal(folder.journal) as table:
        folder.record.unlink(missing_ok=True)  # the journal has all of it
        require(folder.path, folder.journal.stat().st_size * 5 // 4 + (1 << 20))
        rounds, damage = sound_rounds(folder, table)
        try:
            part.unlink(missing_ok=True)
            write_record(part, table.shape, islice(table.each(), rounds))
            os.replace(part, folder.record)
            sync_folder(folder.path)
        except (OSError, RuntimeError) as error:
            raise RecordError(f"{folder.record}: cannot be written: {error}") from error
    return rounds, damage
