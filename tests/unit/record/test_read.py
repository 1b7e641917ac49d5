from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace

import h5py
import numpy as np
import pytest

from testbed.errors import RecordError
from testbed.record.folder import RunFolder, create_run
from testbed.record.read import read_run, verify
from testbed.record.schema import VARIABLES
from testbed.record.writer import RunWriter
from tests.unit.record import factory
from tests.unit.record.same import assert_same


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A finished run of two passes; tests copy what they bend."""
    return factory.record_run(tmp_path_factory.mktemp("runs"), 7, passes=2)


@pytest.fixture
def copy(recorded, tmp_path):
    return RunFolder(shutil.copytree(recorded.path, tmp_path / recorded.run_id))


def test_a_run_reads_back_as_it_was_recorded(recorded):
    run = read_run(recorded.path)
    shape, made = factory.shape(), factory.rounds(7, factory.shape(), passes=2)
    assert len(run.rounds) == 8
    for found, (expected, _) in zip(run.rounds, made, strict=True):
        assert_same(found, expected)
    for found, (_, ended) in zip(run.predictions, made, strict=True):
        assert_same(found, ended)
    assert_same(run.shape, shape, skip=("attributes",))
    assert run.shape.attributes.items() >= shape.attributes.items()
    assert run.summary == replace(factory.summary([r for r, _ in made]), run_dir=str(recorded.path))
    assert (run.manifest.status, run.manifest.rounds) == ("complete", 8)
    assert run.campaign == factory.CAMPAIGN
    assert verify(recorded.path) == ()


def test_time_is_the_air_time_before_each_round(recorded):
    made = [r for r, _ in factory.rounds(7, factory.shape(), passes=2)]
    air = [r.forward.air_time_s + r.back.air_time_s for r in made]
    np.testing.assert_allclose(read_run(recorded.path).time_s, np.r_[0, np.cumsum(air)[:-1]])


def test_only_what_must_be_there_is_left_in_the_folder(recorded):
    assert {p.name for p in recorded.path.iterdir()} == {
        "manifest.json", "campaign.toml", "record.h5", "timings.jsonl", "summary.json", "checksums.b2",
    }  # fmt: skip


def test_two_runs_of_one_seed_are_bit_equal_but_for_clocks_and_names(recorded, tmp_path):
    again = factory.record_run(tmp_path, 7, passes=2)
    for name in ("record.h5", "summary.json", "campaign.toml"):
        assert (again.path / name).read_bytes() == (recorded.path / name).read_bytes(), name


@pytest.mark.skipif(shutil.which("b2sum") is None, reason="b2sum is not installed")
def test_checksums_are_those_of_b2sum(recorded):
    subprocess.run(["b2sum", "--quiet", "-c", "checksums.b2"], cwd=recorded.path, check=True)


def test_each_axis_is_named_by_its_dimension(recorded):
    with h5py.File(recorded.record) as file:
        for v in VARIABLES:
            if v.name != "time":
                assert tuple(dim[0].name[1:] for dim in file[v.name].dims) == v.dims
                assert file[v.name].attrs["units"] == v.units
        assert file["h"].dtype == np.complex64
        assert file["committed"][()] == 8


def test_opens_in_xarray_with_names_units_and_complex_numbers(recorded):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    made = [r for r, _ in factory.rounds(7, factory.shape(), passes=2)]
    with xarray.open_dataset(recorded.record, engine="h5netcdf") as csi:
        assert csi.h.dims == ("time", "link_from", "link_to", "subcarrier")
        assert (csi.h.dtype, csi.valid.dtype) == (np.complex64, bool)
        assert csi.subcarrier.attrs["units"] == "Hz"
        assert csi.time.attrs["units"] == "s"
        np.testing.assert_array_equal(csi.subcarrier, factory.shape().frequency_hz)
        np.testing.assert_array_equal(csi.h[3], made[3].measured.h)
        picked = csi.h.sel(link_from=1, link_to=2).isel(time=0)
        np.testing.assert_array_equal(picked, made[0].measured.h[1, 2])
    with xarray.open_dataset(recorded.record, engine="h5netcdf", group="tokens") as tokens:
        assert tokens.sizes == {"token": sum(r.source.size for r in made), "node": 4}
        np.testing.assert_array_equal(tokens.selected, np.concatenate([r.selected for r in made]))


@pytest.mark.skipif(shutil.which("ncdump") is None, reason="ncdump is not installed")
def test_opens_in_the_netcdf_library(recorded):
    done = subprocess.run(["ncdump", "-h", recorded.record], check=True, capture_output=True, text=True)
    assert " h(time, link_from, link_to, subcarrier) ;" in done.stdout
    assert "time = UNLIMITED ; // (8 currently)" in done.stdout


def test_a_running_run_can_be_read(tmp_path, seed):
    shape = factory.shape(K=2, L=2, U=20, pilots=2)
    made = [r for r, _ in factory.rounds(seed, shape, passes=2)]
    folder = create_run(tmp_path, "live", seed, factory.CAMPAIGN, [], factory.NOW)
    with RunWriter(folder, shape) as writer:
        for number, record in enumerate(made, 1):
            assert writer.append(record) == number
            run = read_run(folder.path)
            assert run.manifest.status == "running"
            assert_same(run.rounds[-1], record)
        writer.finish(None, "interrupted", ["stopped by hand"])
    run = read_run(folder.path)
    assert (run.manifest.status, run.summary) == ("interrupted", None)
    assert run.manifest.events == ("stopped by hand",)


def test_an_error_in_the_block_ends_the_run_as_failed(tmp_path, seed):
    folder = create_run(tmp_path, "fails", seed, factory.CAMPAIGN, [], factory.NOW)
    shape = factory.shape(K=2, L=2, U=20, pilots=2)
    made = factory.rounds(seed, shape)
    writer = RunWriter(folder, shape)

    def fail_after_a_round():
        with writer:
            writer.append(made[0][0])
            return 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail_after_a_round()
    run = read_run(folder.path)
    assert (run.manifest.status, len(run.rounds)) == ("failed", 1)
    assert run.manifest.events == ("ZeroDivisionError: division by zero",)
    with pytest.raises(RecordError, match="this recording has ended"):
        writer.append(made[1][0])


def test_a_round_that_does_not_fit_is_refused_and_the_run_goes_on(tmp_path, seed):
    folder = create_run(tmp_path, "fits", seed, factory.CAMPAIGN, [], factory.NOW)
    shape = factory.shape(K=2, L=2, U=20, pilots=2)
    (good, _), *_ = factory.rounds(seed, shape)
    with RunWriter(folder, shape) as writer:
        with pytest.raises(RecordError, match="h: shape"):
            writer.append(factory.round_record(np.random.default_rng(seed), factory.shape()))
        assert writer.append(good) == 1
        writer.finish(None)


def test_two_writers_of_one_run_are_refused(tmp_path, seed):
    folder = create_run(tmp_path, "two", seed, factory.CAMPAIGN, [], factory.NOW)
    shape = factory.shape(K=2, L=2, U=20, pilots=2)
    (record, _), *_ = factory.rounds(seed, shape)
    with RunWriter(folder, shape) as first:
        first.append(record)
        with pytest.raises(RecordError, match=r"recording cannot begin: .*temporarily unavailable"):
            RunWriter(folder, shape).__enter__()
        assert first.append(record) == 2
        first.finish(None)


def test_timings_that_were_lost_are_empty(copy):
    lines = copy.timings.read_bytes().splitlines(keepends=True)
    copy.timings.write_bytes(b"".join(lines[:3]) + lines[3][:20])
    seconds = [bool(r.seconds) for r in read_run(copy.path).rounds]
    assert seconds == [True] * 3 + [False] * 5
    assert verify(copy.path) == ("timings.jsonl: differs from its checksum",)


def test_a_future_version_is_refused_with_both_versions(copy):
    with h5py.File(copy.record, "r+") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(RecordError, match="version 99, this program reads 'dmoe-testbed-record' version 1"):
        read_run(copy.path)


def test_another_hdf5_file_is_refused(copy):
    copy.record.unlink()
    with h5py.File(copy.record, "w") as file:
        file["h"] = np.zeros(3)
    with pytest.raises(RecordError, match="format None"):
        read_run(copy.path)


def test_missing_files_are_named(copy):
    copy.record.unlink()
    with pytest.raises(RecordError, match=r"record\.h5: cannot be read"):
        read_run(copy.path)
    assert verify(copy.path)[0] == "record.h5: missing"
    copy.checksums.unlink()
    assert "checksums.b2: missing or empty" in verify(copy.path)


@pytest.mark.parametrize("name", ["h", "tokens/score", "text/utf8", "energy/spent_forward", "token_count"])
def test_a_changed_value_is_found_with_its_round_and_name(copy, name):
    with h5py.File(copy.record, "r+") as file:
        value = file[name][1]
        file[name][1] = value + 1
    with pytest.raises(RecordError, match=f"damaged.*{name}" if name != "token_count" else "damaged"):
        read_run(copy.path)
    assert any(name in words for words in verify(copy.path)) or name == "token_count"


def test_damaged_coordinates_and_summary_are_found(copy):
    with h5py.File(copy.record, "r+") as file:
        file["subcarrier"][3] += 1.0
    with pytest.raises(RecordError, match="coordinate subcarrier"):
        read_run(copy.path)


def test_a_damaged_summary_is_found(copy):
    figures = json.loads(copy.summary.read_text())
    copy.summary.write_text(json.dumps(figures | {"tokens": "many"}))
    with pytest.raises(RecordError, match=r"summary\.json: damaged"):
        read_run(copy.path)


def test_a_flipped_bit_without_checksum_file_is_refused_or_harmless(copy, rng):
    """What is read is right all the same, or nothing is."""
    copy.checksums.unlink()
    expected = read_run(copy.path)
    sound = copy.record.read_bytes()
    refused = 0
    for bit in rng.integers(0, 8 * len(sound), 40).tolist():
        copy.record.write_bytes(flipped(sound, bit))
        try:
            found = read_run(copy.path)
        except RecordError:
            refused += 1
        else:
            assert_same_rounds(found, expected.rounds)
    assert refused > 0


def flipped(sound, bit):
    bent = bytearray(sound)
    bent[bit // 8] ^= 1 << (bit % 8)
    return bytes(bent)


def assert_same_rounds(run, expected):
    for found, other in zip(run.rounds, expected, strict=True):
        assert_same(found, other)
