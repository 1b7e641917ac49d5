"""Samples of a run: recorded beside it, or heard again by `replay:` radios."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from testbed.campaign import Campaign
from testbed.errors import RecordError
from testbed.radio.base import Radio
from testbed.radio.recording import RecordingRadio
from testbed.record.folder import RunFolder, read_manifest
from testbed.record.iq_read import IqTape, read_recordings
from testbed.record.iq_write import IqRecorder

REPLAY: Final = "replay:"
FIXED: Final = ("seed", "passes", "model", "nodes", "grid")
"""What decides the content of the frames: with another one the recorded samples would be somebody else's."""


def is_replay(campaign: Campaign) -> bool:
    """Its radios hear a recording."""
    return campaign.radio.address.startswith(REPLAY)


def replay_tapes(campaign: Campaign) -> Sequence[IqTape | None]:
    """(K) what each node's radio heard in the run that the campaign names; None each where it names none.

    Raises:
        RecordError: no run, no recorded samples, damaged ones, or a run that does not fit the campaign.
    """
    if not is_replay(campaign):
        return [None] * campaign.nodes.count
    folder = RunFolder(Path(campaign.radio.address.removeprefix(REPLAY)))
    read_manifest(folder)
    _check_fits(campaign, Campaign.from_text(folder.campaign.read_text(encoding="utf-8")), folder.path)
    recordings = read_recordings(folder.iq, direction="rx")
    if not recordings:
        raise RecordError(
            f"{folder.path}: no samples were recorded with this run; record some: testbed run --record-iq"
        )
    return [IqTape([one for one in recordings if one.header.node == k]) for k in range(campaign.nodes.count)]


def _check_fits(campaign: Campaign, recorded: Campaign, path: Path) -> None:
    """Rate and centre are compared again when the radios are tuned, every frame when it is asked for."""
    pairs = {name: (getattr(recorded, name), getattr(campaign, name)) for name in FIXED}
    pairs["grid"] = recorded.ofdm_grid(), campaign.ofdm_grid()
    pairs["radio.centre_hz"] = recorded.radio.centre_hz, campaign.radio.centre_hz
    for name, (was, wanted) in pairs.items():
        if was != wanted:
            raise RecordError(
                f"{path} was recorded with {name} = {was}, this campaign has {wanted}: replay its samples with the "
                f"campaign beside them, {path / 'campaign.toml'}"
            )


def recorded(radio: Radio, campaign: Campaign, node: int, folder: Path | None, stack: ExitStack) -> Radio:
    """`radio`, recorded into `folder` when there is one; `stack` closes the recording."""
    if folder is None or campaign.radio.record_iq == "no":
        return radio
    recorder = stack.enter_context(IqRecorder(folder, node, campaign.radio.record_iq, radio.address))
    return RecordingRadio(radio, recorder)
