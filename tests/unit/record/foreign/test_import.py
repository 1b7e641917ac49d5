"""What an import refuses, counts, writes and prints, the same for every format."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray
from typer.testing import CliRunner

from testbed.cli.app import app
from testbed.errors import RecordError
from testbed.record.foreign.importer import import_files
from tests.unit.record.foreign import build
from tests.unit.record.foreign.build import integers, intel_record
from tests.unit.record.foreign.reading import CONTAINERS, SAMPLES, ends, read, write, write_container

KEYS = ["format", "packets", "links", "subcarriers", "skipped", "duration_s", "absolute_scale", "transmitters"]
NAMES = {
    "intel5300.dat": "intel5300", "atheros.dat": "atheros", "nexmon.pcap": "nexmon", "feitcsi_vht80.csi": "feitcsi",
    "esp32.csv": "esp32", "picoscenes.csi": "picoscenes",
}  # fmt: skip
MAC = bytes.fromhex("deadbeef4711")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_cut_off_anywhere_gives_its_whole_packets(tmp_path: Path, rng: np.random.Generator, name: str) -> None:
    content = (SAMPLES / name).read_bytes()
    borders = ends(name, content)[:8]
    near = [b + d for b in borders[2:] for d in (0, 1, 3, 30)]
    for size in [*near, *(int(v) for v in rng.integers(borders[1], borders[-1], 20))]:
        (found,) = import_files([write(tmp_path, content[:size])], None)
        whole = sum(b <= size for b in borders)
        tail = size - max(b for b in borders if b <= size)
        if name == "esp32.csv":
            tail = 0 if tail < len("CSI_DATA,") else tail  # a shorter beginning of a line could be anything
            whole -= size in borders and content[size - 1 : size] != b"\n"
        assert (found.format, found.packets, found.skipped) == (NAMES[name], whole, int(tail > 0)), size


@pytest.mark.parametrize("name", NAMES)
def test_strict_refuses_a_damaged_file_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    content = (SAMPLES / name).read_bytes()
    borders = ends(name, content)
    whole = write(tmp_path, content[: borders[9]])
    out = tmp_path / "out.nc"
    (found,) = import_files([whole], out, strict=True)
    assert (found.packets, found.skipped) == (10, 0)
    out.unlink()
    middle = (borders[3] + borders[4]) // 2
    for damaged in (content[: borders[9] - 5], content[:middle] + content[middle + 7 : borders[9]]):
        path = write(tmp_path, damaged, "damaged")
        with pytest.raises(RecordError, match="refused by --strict"):
            import_files([path], out, strict=True)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["damaged", "recording"]
        (found,) = import_files([path], None)
        assert (found.packets, found.skipped) == (9, 1)


@pytest.mark.parametrize("name", NAMES)
def test_json_has_the_stated_keys(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out.nc"
    done = CliRunner().invoke(app, ["import", str(SAMPLES / name), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert list(told) == KEYS
    assert told["format"] == NAMES[name]
    assert isinstance(told["absolute_scale"], bool)
    assert told == asdict(import_files([SAMPLES / name], None)[0])


def test_json_is_one_line_an_input() -> None:
    done = CliRunner().invoke(app, ["import", str(SAMPLES / "intel5300.dat"), str(SAMPLES / "esp32.csv"), "--json"])
    assert [json.loads(line)["format"] for line in done.stdout.splitlines()] == ["intel5300", "esp32"]


def test_no_address_gets_into_the_output(tmp_path: Path, rng: np.random.Generator) -> None:
    """Addresses become letters: neither their bytes, in either order, nor their text are in the file."""
    capture, values = build.Pcap(), build.int16_values(integers(rng, (256,), -999, 999))
    basic = build.rxs_basic(3, 0x2000, 0, (-50, -53, -128), -90)
    csi = build.PicoCsi(0x2000, 1, 20, 56, 1, 2, build.mvm_payload(integers(rng, (2, 1, 56), -999, 999))).bytes()
    line = build.Esp32(build.esp32_values(integers(rng, (64,), -99, 99)), mac=MAC.hex(":")).line()
    contents = [
        build.atheros_record(integers(rng, (2, 1, 56), -99, 99), frame=build.mac_frame(MAC)),
        capture.head() + capture.record(10**18, build.nexmon_payload(values, source=MAC)),
        build.feitcsi_frame(integers(rng, (2, 1, 56), -99, 99), "ht", 20, source=MAC),
        build.pico_frame([basic, csi], build.mac_frame(MAC)),
        f"{build.ESP32_FIELDS}\n{line}".encode(),
    ]
    for content in contents:
        out = tmp_path / "out.nc"
        assert MAC in content or MAC.hex(":").encode() in content
        import_files([write(tmp_path, content)], out)
        written = out.read_bytes().lower()
        for trace in (MAC, MAC[::-1], MAC.hex(":").encode(), MAC.hex().encode()):
            assert trace not in written


def test_what_was_written_opens_in_xarray_with_names_and_units(tmp_path: Path) -> None:
    out = tmp_path / "out.nc"
    import_files([SAMPLES / "intel5300.dat"], out)
    ours = read(SAMPLES / "intel5300.dat")
    with xarray.open_dataset(out, engine="h5netcdf") as data:
        assert data.h.dims == ("time", "link", "subcarrier")
        assert data.h.dtype == np.complex64
        assert (data.time.attrs["units"], data.subcarrier.attrs["units"]) == ("s", "Hz")
        np.testing.assert_array_equal(data.h, ours.packets.h)
        np.testing.assert_array_equal(data.rssi_dbm, ours.packets.rssi_dbm)
        assert data.attrs["source_sha256"] == ours.source.sha256


def test_an_import_can_be_imported_again(tmp_path: Path) -> None:
    once, twice = tmp_path / "once.nc", tmp_path / "twice.nc"
    (first,) = import_files([SAMPLES / "esp32.csv"], once)
    (second,) = import_files([once], twice)
    assert asdict(second) == {**asdict(first), "format": "netcdf"}
    with h5py.File(once) as a, h5py.File(twice) as b:
        for name in ("h", "time", "rssi_dbm", "noise", "valid", "transmitter", "used"):
            np.testing.assert_array_equal(a[name][()], b[name][()])


@pytest.mark.parametrize("kind", CONTAINERS)
def test_named_arrays_hold_the_same_in_every_container(tmp_path: Path, rng: np.random.Generator, kind: str) -> None:
    h = (rng.standard_normal((7, 2, 13)) + 1j * rng.standard_normal((7, 2, 13))).astype(np.complex64)
    time, frequency = np.sort(rng.uniform(5, 9, 7)), np.arange(-6, 7) * 15e3
    mixed, rssi = rng.permutation(13), -40 - rng.random((7, 2))
    path = write_container(
        tmp_path / "arrays",
        kind,
        {"h": h[:, :, mixed], "time": time, "frequency_hz": frequency[mixed], "rssi_dbm": rssi},
    )
    ours = read(path)
    np.testing.assert_array_equal(ours.packets.h, h)
    np.testing.assert_allclose(ours.packets.time_s, time - time[0])
    np.testing.assert_array_equal(ours.source.frequency_hz, frequency)
    np.testing.assert_allclose(ours.packets.rssi_dbm, rssi, rtol=1e-6)


@pytest.mark.parametrize("content", [b"", b"hello, world\n" * 50, bytes(range(256)) * 16, bytes(5000), b"PK\x03\x04"])
def test_what_is_not_recognised_lists_what_is(tmp_path: Path, content: bytes) -> None:
    done = CliRunner().invoke(app, ["import", str(write(tmp_path, content))])
    assert done.exit_code != 0
    for words in ("Intel 5300", "Atheros", "nexmon", "FeitCSI", "ESP32", "PicoScenes", "NetCDF", "NumPy", "MATLAB"):
        assert words in done.output


@pytest.mark.parametrize(
    ("names", "comparable"),
    [
        (("esp32.csv", "esp32.csv"), True),
        (("intel5300.dat", "esp32.csv"), False),
        (("atheros.dat", "atheros.dat"), False),
    ],
)
def test_a_network_of_files_whose_amplitudes_cannot_be_compared_says_so(
    tmp_path: Path, names: tuple[str, str], comparable: bool
) -> None:
    out = tmp_path / "out.nc"
    import_files([SAMPLES / name for name in names], out, as_links="0>1=rx0tx0,1>0=2/rx0tx0")
    with h5py.File(out) as file:
        assert ("amplitudes of different files cannot be compared" in file.attrs["warning"]) != comparable


@pytest.mark.parametrize("links", [None, "auto:2"])
def test_no_import_takes_the_place_of_its_source(tmp_path: Path, links: str | None) -> None:
    source, other = tmp_path / "a.csv", tmp_path / "b.csv"
    content = (SAMPLES / "esp32.csv").read_bytes()
    source.write_bytes(content)
    other.symlink_to(source)
    for path, out in ((source, source), (other, source), (source, other)):
        with pytest.raises(RecordError, match="would be overwritten by the import"):
            import_files([path], out, as_links=links)
    assert source.read_bytes() == content


def test_what_can_be_read_only_once_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, reason in ((tmp_path / "pipe", "is a pipe or a device"), (tmp_path, "Is a directory")):
        with pytest.raises(RecordError, match=reason):
            import_files([path], None)


def test_random_bytes_are_never_taken_for_a_recording(tmp_path: Path, rng: np.random.Generator) -> None:
    for _ in range(30):
        path = write(tmp_path, rng.integers(0, 256, int(rng.integers(100, 200_000)), np.uint8).tobytes())
        with pytest.raises(RecordError, match="no known CSI format"):
            import_files([path], None)


def test_a_file_whose_beginning_is_damaged_is_still_recognised(tmp_path: Path, rng: np.random.Generator) -> None:
    records = b"".join(intel_record(integers(rng, (3, 1, 30), -128, 127), 1000 * n) for n in range(20))
    (found,) = import_files([write(tmp_path, rng.integers(0, 256, 100, np.uint8).tobytes() + records)], None)
    assert (found.format, found.packets, found.skipped) == ("intel5300", 20, 1)
