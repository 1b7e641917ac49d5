from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from testbed.errors import RecordError
from testbed.record.compare import diff
from testbed.record.folder import create_run
from testbed.record.writer import RunWriter
from tests.unit.record import factory

GOLDEN = Path(__file__).parents[3] / "measurements" / "golden"
SMALL = factory.shape(K=3, L=2, U=20, pilots=2)
MADE = factory.rounds(7, SMALL, passes=2)


def recorded(out, rounds=None, campaign=factory.CAMPAIGN, of=SMALL):
    folder = create_run(out, "demo", 7, campaign, [], factory.NOW)
    rounds = MADE if rounds is None else rounds
    with RunWriter(folder, of) as writer:
        for record, ended in rounds:
            writer.append(record, ended)
        writer.finish(factory.summary([r for r, _ in rounds]))
    return folder.path


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("base"))


def changed(number, **fields):
    """The rounds with other fields in one of them."""
    rounds = list(MADE)
    rounds[number] = (replace(rounds[number][0], **fields), rounds[number][1])
    return rounds


def test_equal_runs_do_not_differ(base, tmp_path):
    assert diff(base, base) == ()
    assert diff(base, recorded(tmp_path)) == ()


def test_settings_differ_by_dotted_key(base, tmp_path):
    other = recorded(tmp_path, campaign='name = "demo"\nseed = 3\n[radio]\nnodes = 5\n')
    found = {(d.kind, d.name): (d.a, d.b) for d in diff(base, other)}
    assert found == {("setting", "radio.nodes"): (4, 5), ("setting", "seed"): (None, 3)}


def test_versions_differ(base, tmp_path):
    other = Path(shutil.copytree(base, tmp_path / "other"))
    text = (other / "manifest.json").read_text()
    numpy = np.__version__
    (other / "manifest.json").write_text(text.replace(f'"numpy": "{numpy}"', '"numpy": "0.0.1"'))
    (only,) = diff(base, other)
    assert (only.kind, only.name, only.a, only.b) == ("version", "numpy", numpy, "0.0.1")


def test_a_decision_differs_in_tokens_and_names_the_round(base, tmp_path):
    selected = MADE[2][0].selected.copy()
    selected[[1, 4]] = ~selected[[1, 4]]
    (only,) = diff(base, recorded(tmp_path, changed(2, selected=selected)))
    assert (only.kind, only.round, only.name) == ("decision", 2, "selected experts")
    assert only.words == f"2 of {len(selected)} tokens go to other experts"


def test_channels_differ_in_entries_and_nan_equals_nan(base, tmp_path):
    measured = MADE[1][0].measured
    h = measured.h.copy()
    h[0, 1, :3] += 1
    (only,) = diff(base, recorded(tmp_path, changed(1, measured=replace(measured, h=h))))
    assert (only.kind, only.round, only.name) == ("channel", 1, "h")
    assert only.words == f"3 of {h.size} entries differ"
    unknown = replace(measured, cfo_hz=np.full_like(measured.cfo_hz, np.nan))
    twice = [recorded(tmp_path, changed(1, measured=unknown)) for _ in range(2)]
    assert diff(*twice) == ()


def test_energies_differ_by_part_in_total_and_over_the_run(base, tmp_path):
    spent = MADE[3][0].spent
    more = replace(spent, computation=2 * spent.computation)
    found = {(d.kind, d.round, d.name): d for d in diff(base, recorded(tmp_path, changed(3, spent=more)))}
    assert set(found) == {
        ("energy", 3, "spent computation"), ("energy", 3, "spent total"), ("energy", None, "spent_j"),
    }  # fmt: skip
    part = found["energy", 3, "spent computation"]
    assert (part.unit, part.a, part.change) == ("J", spent.computation.sum(), pytest.approx(1.0))
    whole = found["energy", None, "spent_j"]
    assert whole.b - whole.a == pytest.approx(spent.computation.sum())


def test_blocks_and_accuracy_differ(base, tmp_path):
    record, ended = MADE[1]
    failed = record.back.failed.copy()
    failed[0, 1] += 4
    rounds = changed(1, back=replace(record.back, failed=failed))
    rounds[1] = (rounds[1][0], replace(ended, predicted=ended.target))
    found = {(d.kind, d.round, d.name): (d.a, d.b) for d in diff(base, recorded(tmp_path, rounds))}
    before = int(record.back.failed.sum())
    assert found["blocks", 1, "back failed"] == (before, before + 4)
    assert found["accuracy", 1, "accuracy"] == ((ended.predicted == ended.target).mean(), 1.0)
    assert ("accuracy", None, "accuracy") in found
    assert ("accuracy", None, "accuracy_central") not in found


def test_a_shorter_run_differs_in_what_it_lacks(base, tmp_path):
    shorter = recorded(tmp_path, MADE[:3])
    found = {(d.kind, d.name): (d.a, d.b) for d in diff(base, shorter)}
    assert found["rounds", "rounds"] == (4, 3)
    assert {d.round for d in diff(base, shorter)} == {None}


def test_runs_of_other_sizes_and_ends_can_be_compared():
    found = diff(GOLDEN / "v1-four-nodes", GOLDEN / "v1-killed")
    by_name = {(d.kind, d.round, d.name): d for d in found}
    assert by_name["channel", 0, "h"].words == "shape (4, 4, 72) and (3, 3, 52)"
    assert by_name["rounds", None, "status"].b == "interrupted"
    assert (by_name["setting", None, "nodes.count"].a, by_name["setting", None, "nodes.count"].b) == (4, 3)
    backwards = diff(GOLDEN / "v1-killed", GOLDEN / "v1-four-nodes")
    assert {(d.kind, d.round, d.name) for d in backwards} == set(by_name)


def test_what_is_no_run_is_refused(base, tmp_path):
    with pytest.raises(RecordError, match="not a run folder"):
        diff(base, tmp_path)
