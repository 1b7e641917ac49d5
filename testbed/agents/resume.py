"""A run that was killed or stopped, brought to its end on simulated radios.

The air, the frame numbers and the tokens of a simulated run follow from its campaign. Therefore the run is done
again from its beginning; each round that was recorded must come out bit-equal, and the rest is new. The result
takes the place of the broken run in one step, and only when it holds as much; until then nothing of that is touched.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from testbed.agents.controller import Result, execute, plan_run
from testbed.agents.suspend import Tell, say_nothing
from testbed.campaign import Campaign
from testbed.errors import RecordError
from testbed.outcome import RoundRecord
from testbed.record.digest import write_digests
from testbed.record.folder import Manifest, RunFolder, read_manifest, write_manifest
from testbed.record.read import OpenRun, empty_run, open_run
from testbed.record.report import write_report
from testbed.record.rows import rows_of
from testbed.record.swap import settle, swap_in
from testbed.record.table import NothingRecorded

_LEFT_BEHIND = {"journal.bin", "report.html"}


def resume(
    path: Path,
    argv: Sequence[str],
    on_round: Callable[[RoundRecord], None],
    *,
    in_process: bool | None = None,
    tell: Tell = say_nothing,
) -> Result:
    """Brings an interrupted or failed run to its end, in its own folder.

    Record, summary and campaign end bit-equal to those of an unbroken run. Recorded rounds cost their time again.

    Args:
        path: the run folder.
        argv: command line, for the record.
        on_round: told every round, recorded ones too.
        in_process: all nodes in this process or each in its own, which differs in the last bits of the channels;
            unset = as the recorded command line says.
        tell: told of pauses, and of a disk that fills up.

    Raises:
        RecordError: the run goes on, is complete, was not on simulated radios, is damaged, or a recorded round
            comes out differently with this version of the program.
        CampaignError, ModelError: it cannot be run here.
    """
    folder = RunFolder(Path(path).resolve())
    settle(folder.path)
    out = folder.path.with_name(f".{folder.run_id}.resumed")
    shutil.rmtree(out, ignore_errors=True)
    with _recorded(folder) as run:
        campaign = _resumable(run)
        if in_process is None:
            in_process = "--in-process" in run.manifest.command
        try:
            done = execute(plan_run(campaign, out, in_process=in_process), argv, _checked(run, on_round), tell)
            if done.summary.rounds < run.count:
                raise RecordError(f"{folder.path}: stopped before its last recorded round; it is left as it was")
            _take_place(folder, RunFolder(Path(done.summary.run_dir)), run)
        finally:
            shutil.rmtree(out, ignore_errors=True)
    summary = replace(done.summary, run_dir=str(folder.path))
    return Result(summary, write_report(folder.path), done.interrupted)


@contextmanager
def _recorded(folder: RunFolder) -> Iterator[OpenRun]:
    """What was recorded; of a run that was killed before its first round, nothing."""
    with ExitStack() as stack:
        try:
            run = stack.enter_context(open_run(folder.path))
        except NothingRecorded:
            run = empty_run(folder)
        yield run


def _resumable(run: OpenRun) -> Campaign:
    """The campaign of a run that can be resumed."""
    path, status = run.folder.path, run.manifest.status
    if status == "running":
        raise RecordError(f"{path}: still being written; stop the run, or wait for its end")
    if status == "complete":
        raise RecordError(f"{path}: complete, there is nothing to resume")
    campaign = Campaign.from_text(run.campaign)
    addresses = campaign.radio.addresses or [campaign.radio.address]
    recorded = str(run.shape.attributes.get("radio", ""))
    if recorded.startswith("replay:") or not all(address.startswith("sim:") for address in addresses):
        raise RecordError(
            f"{path}: made on {recorded or ' '.join(addresses)}; only a run on sim: radios can be resumed, "
            "use repair to keep the rounds that were recorded"
        )
    return campaign


def _checked(run: OpenRun, on_round: Callable[[RoundRecord], None]) -> Callable[[RoundRecord], None]:
    """Holds each round against the recorded one."""
    recorded = run.each()

    def keep(record: RoundRecord) -> None:
        before = next(recorded, None)
        if before is not None and (name := _difference(before.record, record)):
            raise RecordError(
                f"{run.folder.path}: round {record.number} comes out with another {name!r}; it was recorded by commit "
                f"{run.manifest.git_commit}, resume it with that version, or use repair to keep what is there"
            )
        on_round(record)

    return keep


def _difference(recorded: RoundRecord, record: RoundRecord) -> str:
    """Name of the first variable that is not bit-equal; empty for equal rounds."""
    before, now = rows_of(recorded, 0.0), rows_of(record, 0.0)
    same = {
        name: before[name].shape == now[name].shape and before[name].tobytes() == now[name].tobytes() for name in now
    }
    return next((name for name, equal in same.items() if not equal), "")


def _take_place(old: RunFolder, new: RunFolder, run: OpenRun) -> None:
    """Puts the new folder in the place of the old one, with its name, its start, and what else lay in it."""
    made = read_manifest(new)
    write_manifest(new, _joined(run, made))
    write_digests(new)
    for path in old.path.iterdir():
        if not (new.path / path.name).exists() and not path.name.startswith(".") and path.name not in _LEFT_BEHIND:
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, new.path / path.name)
    swap_in(new.path, old.path)


def _joined(run: OpenRun, made: Manifest) -> Manifest:
    before = run.manifest
    words = f"resumed after {run.count} rounds, at {made.started}"
    return msgspec.structs.replace(
        made, run_id=before.run_id, started=before.started, events=(*before.events, words, *made.events)
    )
