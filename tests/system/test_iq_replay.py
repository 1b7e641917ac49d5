"""Whole rounds on recorded samples: the modem hears the same, and comes to the same."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import sigmf
from sigmf.validate import validate

from testbed.agents.assemble import check
from testbed.agents.conduct import conduct
from testbed.agents.controller import execute, plan_run
from testbed.agents.local import local_fleet
from testbed.campaign import Campaign, load_campaign
from testbed.errors import RadioError, RecordError
from testbed.record.compare import diff
from testbed.record.export import export
from testbed.record.iq_read import read_recordings
from testbed.record.read import Run, read_run, verify
from tests.system.rounds import SMALL

NOISY: dict[str, object] = {"channel.snr_db": 8.0, "transmission.margin_db": 0.0, "seed": 5}


def done(campaign: Campaign, out: Path) -> Run:
    result = execute(plan_run(campaign, out, in_process=True), ["test"], lambda record: None)
    return read_run(Path(result.summary.run_dir))


def on_samples_of(run: Run, **overrides: object) -> Campaign:
    """The campaign of a run, on the samples of that run."""
    changed = {"radio.address": f"replay:{run.folder.path}", "radio.record_iq": "no"} | overrides
    return Campaign.from_text(run.campaign).with_overrides(changed)


def try_again(run: Run, **overrides: object) -> None:
    """The same, without a record."""
    campaign = on_samples_of(run, **overrides)
    model = check(campaign)
    with local_fleet(campaign, model) as fleet:
        conduct(campaign, model, fleet, on_round=lambda *_: None, stopping=lambda: False, clock=time.monotonic)


@pytest.fixture(scope="module", params=["ci16", pytest.param("cf32", marks=pytest.mark.long)])
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    campaign = load_campaign(None, SMALL | NOISY | {"radio.record_iq": request.param})
    return done(campaign, tmp_path_factory.mktemp(request.param))


def assert_same(one: Run, other: Run) -> None:
    found = diff(one.folder.path, other.folder.path)
    assert {difference.name for difference in found} <= {"radio.address", "radio.record_iq"}, found
    assert len(one.rounds) == len(other.rounds) > 0


def test_a_round_on_recorded_samples_is_the_recorded_round(recorded: Run, tmp_path: Path) -> None:
    assert sum(int(record.forward.failed.sum()) for record in recorded.rounds) > 0  # and so are its retransmissions
    replayed = done(on_samples_of(recorded), tmp_path)
    assert_same(recorded, replayed)
    assert str(replayed.shape.attributes["radio"]).startswith("replay:")


def test_the_recording_is_part_of_the_run(recorded: Run) -> None:
    assert verify(recorded.folder.path) == ()
    names = sorted(path.name for path in recorded.folder.iq.iterdir())
    assert names == [f"node-{k}-{d}.sigmf-{part}" for k in range(4) for d in ("rx", "tx") for part in ("data", "meta")]
    frames = set()
    for path in recorded.folder.iq.glob("*-rx.sigmf-meta"):
        found = sigmf.fromfile(path)
        validate(found._metadata, found.get_schema())
        frames |= {(one["dmoe:round"], one["dmoe:layer"]) for one in found.get_annotations()}
    assert frames == {(k, k) for k in range(4)}


def test_damaged_samples_are_named_and_not_replayed(recorded: Run) -> None:
    path = recorded.folder.iq / "node-2-rx.sigmf-data"
    sound = path.read_bytes()
    try:
        path.write_bytes(sound[:1000] + bytes([sound[1000] ^ 1]) + sound[1001:])
        assert verify(recorded.folder.path) == ("iq/node-2-rx.sigmf-data: differs from its checksum",)
        with pytest.raises(RecordError, match="node-2-rx"):
            try_again(recorded)
    finally:
        path.write_bytes(sound)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("grid.preset", "lte", "recorded with grid"),
        ("grid.sample_rate_hz", 5e6, "recorded with grid"),
        ("radio.centre_hz", 2.41e9, "radio.centre_hz = 2450000000.0, this campaign has 2410000000.0"),
        ("seed", 6, "recorded with seed = 5"),
        ("nodes.tokens", 5, "recorded with nodes"),
        ("schedule.scheduler", "random", "this schedule asks for what was not on the air"),
        ("transmission.repetitions", 2, "samples are asked for where"),
        ("passes", 2, "recorded with passes = 1"),
    ],
)
def test_what_does_not_fit_the_recording_is_refused_with_the_reason(
    recorded: Run, key: str, value: object, words: str
) -> None:
    with pytest.raises((RecordError, RadioError), match=words):
        try_again(recorded, **{key: value})


def test_a_run_without_samples_cannot_be_heard_again(recorded: Run, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(recorded.folder.path, bare, ignore=shutil.ignore_patterns("iq"))
    with pytest.raises(RecordError, match="no samples were recorded with this run"):
        try_again(recorded, **{"radio.address": f"replay:{bare}"})
    with pytest.raises(RecordError, match="not a run folder"):
        done(load_campaign(None, SMALL | {"radio.address": f"replay:{tmp_path / 'nowhere'}"}), tmp_path)


def test_all_samples_of_a_run_are_one_archive_for_others(recorded: Run, tmp_path: Path) -> None:
    path = export(recorded.folder.path, "sigmf", tmp_path)
    found = sigmf.fromfile(path)
    validate(found._metadata, found.get_schema())
    total = 0
    for one in read_recordings(recorded.folder.iq):
        for entry in one.entries:
            np.testing.assert_array_equal(found[total : total + entry.count], one.samples(entry))
            total += entry.count
    assert total == len(found)
    told = {(about["dmoe:node"], about["dmoe:direction"]) for about in found.get_annotations()}
    assert told == {(k, direction) for k in range(4) for direction in ("rx", "tx")}
