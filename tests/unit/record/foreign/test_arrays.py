"""Named arrays as other programs write them: axes in any order, bare dimensions, dates, text, parts of numbers.

All axes have the same length, so that nothing but their names can tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import xarray
from numpy.typing import NDArray

from testbed.errors import RecordError
from testbed.record.foreign.hdf5_session import SESSION
from tests.unit.record.foreign.build import integers
from tests.unit.record.foreign.reading import read

N = 4
TIME, FREQUENCY = np.array([5.0, 5.25, 6.0, 8.5]), np.arange(-2, 2) * 312_500.0
AXES = ("time", "link", "subcarrier")
TURNED = ("subcarrier", "time", "link")
ROWS_OF_TEXT = np.array(TURNED)


@pytest.fixture(scope="module", autouse=True)
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All HDF5 files are read by the same child, which the first one starts."""
    with SESSION.used():
        path = tmp_path_factory.mktemp("first") / "h.mat"
        mat_73(path, {"h": np.ones((1, 2)), "time": TIME[:1], "frequency_hz": FREQUENCY[:2]}, {})
        read(path)
        yield


@pytest.fixture
def h(rng: np.random.Generator) -> NDArray[np.complex64]:
    return integers(rng, (N, N, N), -99, 99).astype(np.complex64)


def turned(h: NDArray[Any]) -> NDArray[Any]:
    return h.transpose([AXES.index(name) for name in TURNED])


def data_set(variables: dict[str, tuple[tuple[str, ...], NDArray[Any]]], time: NDArray[Any] = TIME) -> xarray.Dataset:
    """Coordinates of time and frequency; other dimensions are bare."""
    attributes = {"units": "s"} if time.dtype.kind == "f" else {}
    found = xarray.Dataset(variables, {"time": ("time", time, attributes)})
    return found.assign_coords(subcarrier=("subcarrier", FREQUENCY, {"units": "Hz"}))


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
@pytest.mark.parametrize("dims", [AXES, TURNED])
def test_dimensions_without_coordinates_have_their_names(
    tmp_path: Path, h: NDArray[np.complex64], engine: str, dims: tuple[str, ...]
) -> None:
    path, more = tmp_path / "h.nc", {"auto_complex": True} if engine == "netcdf4" else {}
    data_set({"h": (dims, turned(h) if dims == TURNED else h)}).to_netcdf(path, engine=engine, **more)
    ours = read(path)
    np.testing.assert_array_equal(ours.packets.h, h)
    np.testing.assert_array_equal(ours.packets.time_s, TIME - TIME[0])
    np.testing.assert_array_equal(ours.source.frequency_hz, FREQUENCY)


def test_a_variable_may_have_the_name_of_a_dimension_and_other_axes(tmp_path: Path, h: NDArray[np.complex64]) -> None:
    import netCDF4

    with netCDF4.Dataset(tmp_path / "h.nc", "w", auto_complex=True) as file:
        for name in (*AXES, "letter"):
            file.createDimension(name, N)
        file.createVariable("link", "S1", ("link", "letter"))
        file.createVariable("h", "c8", AXES)[:] = h
        for name, values, units in (("time", TIME, "s"), ("frequency_hz", FREQUENCY, "Hz")):
            file.createVariable(name, "f8", ("time" if name == "time" else "subcarrier",))[:] = values
            file[name].units = units
    np.testing.assert_array_equal(read(tmp_path / "h.nc").packets.h, h)


@pytest.mark.parametrize("since", ["1970-01-01", "2025-03-17"])
@pytest.mark.parametrize("unit", ["nanoseconds", "milliseconds", "minutes"])
def test_dates_are_times(tmp_path: Path, h: NDArray[np.complex64], unit: str, since: str) -> None:
    dates = np.datetime64("2025-03-18", "ns") + (TIME * 3.6e12).astype("m8[ns]")
    found = data_set({"h": (AXES, h)}, dates)
    found.time.encoding["units"] = f"{unit} since {since}"
    found.to_netcdf(tmp_path / "h.nc", engine="h5netcdf")
    np.testing.assert_allclose(read(tmp_path / "h.nc").packets.time_s, 3600 * (TIME - TIME[0]), rtol=1e-12)


def test_numbers_of_tones_may_stand_beside_their_frequencies(tmp_path: Path, h: NDArray[np.complex64]) -> None:
    found = data_set({"h": (AXES, h), "frequency_hz": (("subcarrier",), FREQUENCY)})
    found.assign_coords(subcarrier=np.arange(N)).to_netcdf(tmp_path / "h.nc", engine="h5netcdf")
    np.testing.assert_array_equal(read(tmp_path / "h.nc").source.frequency_hz, FREQUENCY)


@pytest.mark.parametrize("ends", [("_real", "_imag"), ("_re", "_im")])
def test_real_and_imaginary_part_are_one_array(tmp_path: Path, h: NDArray[np.complex64], ends: tuple[str, str]) -> None:
    parts = dict(zip((f"csi{end}" for end in ends), (h.real, h.imag), strict=True))
    data_set({name: (TURNED, turned(part)) for name, part in parts.items()}).to_netcdf(
        tmp_path / "h.nc", engine="h5netcdf"
    )
    np.savez(tmp_path / "h.npz", time=TIME, frequency_hz=FREQUENCY, dims=AXES, **parts)
    for name in ("h.nc", "h.npz"):
        np.testing.assert_array_equal(read(tmp_path / name).packets.h, h)


def test_numbers_beside_the_csi_count_for_all_links_that_they_are_of(tmp_path: Path, h: NDArray[np.complex64]) -> None:
    level, of_packet, per_tone = -40.0 - np.arange(N), np.arange(N) * 1e-3, np.ones((N, N, 2, 2))
    found = data_set(
        {
            "h": (("time", "subcarrier", "tx", "rx"), h.transpose(0, 2, 1).reshape(N, N, 2, 2)),
            "rssi_dbm": (("rx", "time"), np.stack([level, level - 7])),
            "noise": (("time", "subcarrier", "tx", "rx"), per_tone),
            "agc_db": (("time",), of_packet),
        }
    )
    found.to_netcdf(tmp_path / "h.nc", engine="h5netcdf")
    ours = read(tmp_path / "h.nc")
    assert ours.source.links == ((0, 0), (0, 1), (1, 0), (1, 1))
    for receive, transmit in ours.source.links:
        np.testing.assert_array_equal(ours.packets.h[:, ours.link(receive, transmit)], h[:, 2 * transmit + receive])
        np.testing.assert_array_equal(ours.packets.rssi_dbm[:, ours.link(receive, transmit)], level - 7 * receive)
    np.testing.assert_allclose(ours.packets.agc_db, of_packet)
    assert np.isnan(ours.packets.noise).all()
    assert [remark.split()[0] for remark in ours.source.remarks] == ["noise"]


def mat_5(path: Path, arrays: dict[str, NDArray[Any]], text: dict[str, Any]) -> None:
    scipy.io.savemat(path, arrays | text)


def mat_73(path: Path, arrays: dict[str, NDArray[Any]], text: dict[str, Any]) -> None:
    """As MATLAB writes version 7.3: axes reversed, complex numbers as pairs, text as UTF-16."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            whole = np.atleast_2d(values).T
            stored = np.empty(whole.shape, [("real", "f8"), ("imag", "f8")]) if np.iscomplexobj(whole) else whole
            if stored is not whole:
                stored["real"], stored["imag"] = whole.real, whole.imag
            file[name] = stored
            file[name].attrs["MATLAB_class"] = np.bytes_("double")
        for name, words in text.items():
            rows = np.atleast_1d(words)
            width = max(len(row) for row in rows)
            file[name] = np.array([[ord(sign) for sign in row.ljust(width)] for row in rows], "u2").T
            file[name].attrs["MATLAB_class"] = np.bytes_("char")
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


MatWriter = Callable[[Path, dict[str, NDArray[Any]], dict[str, Any]], None]


@pytest.mark.parametrize("write", [mat_5, mat_73])
@pytest.mark.parametrize("dims", [", ".join(TURNED), ROWS_OF_TEXT], ids=["one row", "a row each"])
def test_matlab_tells_axes_and_reference_by_text(
    tmp_path: Path, h: NDArray[np.complex64], write: MatWriter, dims: Any
) -> None:
    arrays = {"h": turned(h), "time": TIME, "frequency_hz": FREQUENCY}
    write(tmp_path / "h.mat", arrays, {"dims": dims, "amplitude_reference": "sqrt(SNR)"})
    ours = read(tmp_path / "h.mat")
    np.testing.assert_array_equal(ours.packets.h, h)
    assert (ours.source.format, ours.source.absolute) == ("matlab", True)


@pytest.mark.parametrize("write", [mat_5, mat_73])
def test_matlab_drops_axes_of_one_at_the_end(tmp_path: Path, h: NDArray[np.complex64], write: MatWriter) -> None:
    arrays = {"h": h[:, 0].T, "time": TIME, "frequency_hz": FREQUENCY, "transmitter": np.array([[0, 1, 0, 1]])}
    write(tmp_path / "h.mat", arrays, {"dims": "subcarrier,time,rx,tx"})
    ours = read(tmp_path / "h.mat")
    np.testing.assert_array_equal(ours.packets.h, h[:, :1])
    assert list(ours.packets.transmitter) == [0, 1, 0, 1]


def test_what_no_name_tells_is_refused(tmp_path: Path, h: NDArray[np.complex64]) -> None:
    np.savez(tmp_path / "h.npz", h=h, time=TIME, frequency_hz=FREQUENCY)
    with pytest.raises(RecordError, match="does not tell which axis is which"):
        read(tmp_path / "h.npz")
    np.savez(tmp_path / "h.npz", h=h, time=TIME, subcarrier=np.arange(N), dims=AXES)
    with pytest.raises(RecordError, match="give Hz as frequency_hz"):
        read(tmp_path / "h.npz")
