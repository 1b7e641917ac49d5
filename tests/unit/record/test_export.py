"""Exports are opened with the tools they are for, and hold what was recorded."""

from __future__ import annotations

import json
import shutil
import sys
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import loadmat

from testbed.errors import RecordError
from testbed.record import export as exporting
from testbed.record import export_parquet
from testbed.record import table as tables
from testbed.record.compare import diff
from testbed.record.export import FORMATS, export
from testbed.record.folder import create_run
from testbed.record.read import verify
from testbed.record.schema import VARIABLES
from testbed.record.writer import RunWriter
from tests.unit.record import factory

GOLDEN = Path(__file__).parents[3] / "measurements" / "golden"
SMALL = factory.shape(K=3, L=2, U=20, pilots=2)
ROUNDS = factory.rounds(7, SMALL, passes=2)
RECORDS = [record for record, _ in ROUNDS]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return factory.record_run(tmp_path_factory.mktemp("runs"), 7, passes=2, of=SMALL)


def stacked(of):
    return np.stack([of(record) for record in RECORDS])


def joined(of):
    return np.concatenate([of(record) for record in RECORDS])


def test_netcdf_opens_in_xarray_with_names_units_and_values(recorded, tmp_path):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    path = export(recorded.path, "netcdf", tmp_path)
    assert path == tmp_path / f"{recorded.run_id}.nc"
    with xarray.open_dataset(path, engine="h5netcdf") as csi:
        assert csi.h.dims == ("time", "link_from", "link_to", "subcarrier")
        assert (csi.h.dtype, csi.subcarrier.attrs["units"]) == (np.complex64, "Hz")
        np.testing.assert_array_equal(csi.subcarrier, SMALL.frequency_hz)
        np.testing.assert_array_equal(csi.h, stacked(lambda r: r.measured.h))
    with xarray.open_dataset(path, engine="h5netcdf", group="energy") as energy:
        np.testing.assert_array_equal(energy.spent_forward, stacked(lambda r: r.spent.forward))


def test_netcdf_of_a_finished_run_is_its_record_and_of_a_killed_one_has_its_safe_rounds(recorded, tmp_path):
    assert export(recorded.path, "netcdf", tmp_path).read_bytes() == recorded.record.read_bytes()
    with h5py.File(export(GOLDEN / "v1-killed", "netcdf", tmp_path)) as file:
        assert (int(file["committed"][()]), file["h"].shape) == (5, (5, 3, 3, 52))


def test_mat_opens_with_structs_and_values(recorded, tmp_path):
    content = loadmat(export(recorded.path, "mat", tmp_path), simplify_cells=True)
    np.testing.assert_array_equal(content["h"], stacked(lambda r: r.measured.h))
    assert content["h"].dtype == np.complex64
    np.testing.assert_array_equal(content["tokens"]["score"], joined(lambda r: r.score))
    np.testing.assert_array_equal(content["tokens"]["selected"], joined(lambda r: r.selected))
    np.testing.assert_array_equal(content["energy"]["spent_back"], stacked(lambda r: r.spent.back))
    np.testing.assert_array_equal(content["subcarrier"], SMALL.frequency_hz)
    np.testing.assert_array_equal(content["token_count"], [r.source.size for r in RECORDS])
    assert content["about"]["energy"]["spent_back"]["units"] == "J"
    assert content["about"]["h"]["dimensions"] == "time, link_from, link_to, subcarrier"
    assert content["attributes"]["center_hz"] == SMALL.center_hz


def test_npz_opens_without_pickle(recorded, tmp_path):
    with np.load(export(recorded.path, "npz", tmp_path), allow_pickle=False) as content:
        assert {v.name for v in VARIABLES} < set(content)
        np.testing.assert_array_equal(content["h"], stacked(lambda r: r.measured.h))
        np.testing.assert_array_equal(content["tokens/source"], joined(lambda r: r.source))
        np.testing.assert_array_equal(content["predictions/target"], np.concatenate([p.target for _, p in ROUNDS if p]))
        assert {v.name: content[v.name].dtype for v in VARIABLES} == {v.name: np.dtype(v.dtype) for v in VARIABLES}
        assert json.loads(content["attributes"].item())["spacing_hz"] == SMALL.spacing_hz


def test_parquet_opens_with_a_row_a_round(recorded, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(export(recorded.path, "parquet", tmp_path))
    assert table.num_rows == len(RECORDS)
    assert table.column("layer").to_pylist() == [r.layer for r in RECORDS]
    for row, record in enumerate(RECORDS):
        real, imaginary = (np.array(table.column(name)[row].as_py(), np.float32) for name in ("h_re", "h_im"))
        np.testing.assert_array_equal((real + 1j * imaginary).reshape(record.measured.h.shape), record.measured.h)
        selected = np.array(table.column("tokens/selected")[row].as_py())
        np.testing.assert_array_equal(selected.reshape(record.selected.shape), record.selected)
    assert table.schema.field("energy/spent_back").metadata[b"units"] == b"J"
    axes = json.loads(table.schema.metadata[b"coordinates"])
    np.testing.assert_array_equal(axes["subcarrier"], SMALL.frequency_hz)


def test_without_pyarrow_the_error_says_what_to_do(recorded, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RecordError, match="pip install pyarrow"):
        export(recorded.path, "parquet", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("to", FORMATS)
def test_a_run_before_its_first_round_exports_empty(tmp_path, to):
    if to == "parquet":
        pytest.importorskip("pyarrow")
    folder = create_run(tmp_path, "empty", 1, factory.CAMPAIGN, [], factory.NOW)
    with RunWriter(folder, SMALL) as writer:
        writer.finish(None, "interrupted")
    assert export(folder.path, to).parent == tmp_path


def test_an_existing_file_is_kept(recorded, tmp_path):
    (tmp_path / "mine.npz").write_text("dear to me")
    with pytest.raises(RecordError, match="exists; remove it or choose another"):
        export(recorded.path, "npz", tmp_path / "mine.npz")
    assert (tmp_path / "mine.npz").read_text() == "dear to me"


def test_what_cannot_be_exported_is_refused(recorded, tmp_path):
    with pytest.raises(RecordError, match="'csv': not one of netcdf, mat, npz, parquet"):
        export(recorded.path, "csv", tmp_path)
    with pytest.raises(RecordError, match="not a run folder"):
        export(tmp_path, "npz")
    with pytest.raises(RecordError, match="there is no folder"):
        export(recorded.path, "npz", tmp_path / "absent" / "a.npz")
    copy = Path(shutil.copytree(recorded.path, tmp_path / "copy"))
    with h5py.File(copy / "record.h5", "r+") as file:
        file["h"][1] += 1
    with pytest.raises(RecordError, match="damaged: round 1, h"):
        export(copy, "npz", tmp_path)


def test_a_variable_too_large_for_matlab_5_names_the_format_that_takes_it(recorded, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "MAT_LIMIT_BYTES", 1000)
    with pytest.raises(RecordError, match="export to netcdf"):
        export(recorded.path, "mat", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_netcdf_opens_in_the_netcdf_library(recorded, tmp_path):
    netcdf = pytest.importorskip("netCDF4")
    with netcdf.Dataset(export(recorded.path, "netcdf", tmp_path)) as csi:
        assert csi["h"].dimensions == ("time", "link_from", "link_to", "subcarrier")
        assert (csi["time"].units, csi["subcarrier"].units) == ("s", "Hz")
        values = csi["h"][:]
        np.testing.assert_array_equal(values["r"] + 1j * values["i"], stacked(lambda r: r.measured.h))
        np.testing.assert_array_equal(csi["energy/spent_forward"][:], stacked(lambda r: r.spent.forward))
        np.testing.assert_array_equal(csi["tokens/score"][:], joined(lambda r: r.score))


@pytest.mark.parametrize("to", FORMATS)
def test_a_running_run_is_exported_as_far_as_it_is(tmp_path, to):
    if to == "parquet":
        pytest.importorskip("pyarrow")
    folder = create_run(tmp_path, "live", 1, factory.CAMPAIGN, [], factory.NOW)
    with RunWriter(folder, SMALL) as writer:
        for record in RECORDS[:3]:
            writer.append(record)
        path = export(folder.path, to)
        writer.append(RECORDS[3])
        writer.finish(None)
    rounds = {
        "netcdf": lambda: h5py.File(path)["h"].shape[0],
        "mat": lambda: len(loadmat(path)["h"]),
        "npz": lambda: len(np.load(path)["h"]),
        "parquet": lambda: pytest.importorskip("pyarrow.parquet").read_table(path).num_rows,
    }
    assert rounds[to]() == 3


def test_a_long_run_is_never_in_memory_as_a_whole(recorded, tmp_path, monkeypatch):
    """Peak of what Python and numpy hold, against the 17 MB of the run."""
    pytest.importorskip("pyarrow")
    (tmp_path / "small").mkdir()
    export(recorded.path, "parquet", tmp_path / "small")  # pyarrow loads what it needs, some 30 MB
    shape = factory.shape(K=8, L=2, U=256, pilots=4)
    (record, _), *_ = factory.rounds(7, shape)
    folder = create_run(tmp_path, "long", 7, factory.CAMPAIGN, [], factory.NOW)
    with RunWriter(folder, shape) as writer:
        for _ in range(60):
            writer.append(record)
        writer.finish(None)
    assert folder.record.stat().st_size > 15e6
    monkeypatch.setattr(tables, "BLOCK_BYTES", 1 << 20)
    monkeypatch.setattr(export_parquet, "GROUP_BYTES", 1 << 20)
    works = [lambda: verify(folder.path), lambda: diff(folder.path, folder.path)]
    works += [lambda to=to: export(folder.path, to) for to in ("netcdf", "parquet")]
    for number, work in enumerate(works):
        tracemalloc.start()
        assert work() or number < 2
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 6e6, (number, peak)
