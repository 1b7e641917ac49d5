"""Intel 5300: every shape and antenna order, held against csiread value for value, and what is refused."""

from __future__ import annotations

from pathlib import Path

import csiread
import numpy as np
import pytest

from testbed.record.foreign.importer import import_files
from tests.unit.record.foreign.build import integers, intel_record, other_record
from tests.unit.record.foreign.reading import SAMPLES, read, write

ORDERS = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]


def theirs(path: Path, nrx: int, ntx: int) -> csiread.Intel:
    found = csiread.Intel(str(path), nrxnum=nrx, ntxnum=ntx, if_report=False)
    found.read()
    return found


def same_links(csi: np.ndarray) -> np.ndarray:
    """csiread's (packets, 30, receive, transmit) as (packets, links, 30)."""
    moved = np.moveaxis(csi, 1, 3)
    return moved.reshape(len(moved), -1, 30)


@pytest.mark.parametrize("nrx", [1, 2, 3])
@pytest.mark.parametrize("ntx", [1, 2, 3])
def test_values_scaling_and_header_are_those_of_csiread(
    tmp_path: Path, nrx: int, ntx: int, rng: np.random.Generator
) -> None:
    records, rssi = [], []
    for n, order in enumerate(ORDERS):
        order = order if nrx == 3 else (0, 1, 2)
        rssi.append([int(v) for v in rng.integers(20, 60, 3)])
        noise, agc = int(rng.choice([-127, -95, -80])), int(rng.integers(20, 60))
        h = integers(rng, (nrx, ntx, 30), -128, 127)
        records.append(intel_record(h, 900 * n, rssi[-1], noise, agc, order))
    path = write(tmp_path, b"".join(records))
    ours, ref = read(path), theirs(path, nrx, ntx)
    np.testing.assert_array_equal(ours.raw, same_links(ref.csi))
    scaled = same_links(ref.get_scaled_csi())
    np.testing.assert_allclose(ours.packets.h, scaled, rtol=1e-5, atol=1e-5 * np.abs(scaled).max())
    told = np.stack([ref.rssi_a, ref.rssi_b, ref.rssi_c], axis=1)[:, :nrx] - 44 - ref.agc[:, None]
    np.testing.assert_array_equal(ours.packets.rssi_dbm[:, ::ntx], told)
    np.testing.assert_array_equal(ours.packets.agc_db, ref.agc)
    np.testing.assert_allclose(ours.packets.time_s, (ref.timestamp_low - ref.timestamp_low[0]) * 1e-6)
    assert ours.source.links == tuple((r, t) for r in range(nrx) for t in range(ntx))


def test_a_real_recording_is_the_same_in_csiread() -> None:
    ours, ref = read(SAMPLES / "intel5300.dat"), theirs(SAMPLES / "intel5300.dat", 3, 2)
    np.testing.assert_array_equal(ours.raw, same_links(ref.csi))
    scaled = same_links(ref.get_scaled_csi())
    np.testing.assert_allclose(ours.packets.h, scaled, rtol=1e-5, atol=1e-5 * np.abs(scaled).max())


def test_shapes_mixed_in_one_file_share_its_links(tmp_path: Path, rng: np.random.Generator) -> None:
    shapes = [(3, 1), (1, 1), (2, 3), (3, 2)]
    drawn = [integers(rng, (*shape, 30), -128, 127) for shape in shapes]
    ours = read(write(tmp_path, b"".join(intel_record(h, 1000 * n) for n, h in enumerate(drawn))))
    assert len(ours.source.links) == 8
    for n, h in enumerate(drawn):
        for r in range(h.shape[0]):
            for t in range(h.shape[1]):
                np.testing.assert_array_equal(ours.raw[n, ours.link(r, t)], h[r, t])
        assert ours.packets.valid[n].sum() == h.shape[0] * h.shape[1]


def test_tones_of_20_and_40_mhz(tmp_path: Path, rng: np.random.Generator) -> None:
    h = integers(rng, (1, 1, 30), -128, 127)
    narrow = read(write(tmp_path, intel_record(h, rate=0x4101), "narrow"))
    wide = read(write(tmp_path, intel_record(h, rate=0x4901), "wide"))
    assert list(narrow.tones) == [*range(-28, -1, 2), -1, *range(1, 28, 2), 28]
    assert list(wide.tones) == list(range(-58, 59, 4))
    np.testing.assert_array_equal(wide.source.frequency_hz[[0, -1]], [-18.125e6, 18.125e6])


def test_the_clock_goes_on_when_its_counter_wraps(tmp_path: Path, rng: np.random.Generator) -> None:
    h = integers(rng, (1, 1, 30), -128, 127)
    begin = (1 << 32) - 2500
    ours = read(write(tmp_path, b"".join(intel_record(h, begin + 1000 * n) for n in range(6))))
    np.testing.assert_allclose(ours.packets.time_s, np.arange(6) * 1e-3)


def test_other_records_are_passed_over_and_damage_is_counted(tmp_path: Path, rng: np.random.Generator) -> None:
    one = [intel_record(integers(rng, (2, 2, 30), -128, 127), 1000 * n) for n in range(5)]
    mpdu = other_record(0xC1, rng.integers(0, 256, 200, np.uint8).tobytes())
    assert read(write(tmp_path, mpdu + one[0] + mpdu + one[1])).packets.skipped == 0
    short = one[2][:-7]
    (found,) = import_files([write(tmp_path, one[0] + one[1] + short + one[3] + one[4][:50])], None)
    assert (found.packets, found.skipped) == (3, 2)


def test_a_report_whose_lengths_disagree_is_not_a_packet(tmp_path: Path, rng: np.random.Generator) -> None:
    one = [bytearray(intel_record(integers(rng, (3, 1, 30), -128, 127), 1000 * n)) for n in range(3)]
    one[1][3 + 8] = 2  # says two receive antennas where the payload holds three
    (found,) = import_files([write(tmp_path, b"".join(one))], None)
    assert (found.packets, found.skipped) == (2, 1)


def test_the_last_bytes_of_a_file_must_be_the_beginning_of_a_record(tmp_path: Path, rng: np.random.Generator) -> None:
    """Else bytes are missing in the last report, or too many; another kind of record must have come before."""
    one = [intel_record(integers(rng, (2, 2, 30), -128, 127), 1000 * n) for n in range(3)]
    mpdu = other_record(0xC1, rng.integers(0, 256, 200, np.uint8).tobytes())

    def found(*parts: bytes) -> tuple[int, int]:
        (summary,) = import_files([write(tmp_path, b"".join(parts))], None)
        return summary.packets, summary.skipped

    for size in (1, 2, 3, 10, 15, 50):
        assert found(*one[:2], one[2][:size]) == (2, 1)
        wrong = bytes([0, 99]) + one[2][2:size]  # no report is 99 bytes long
        assert found(*one[:2], wrong[:size]) == (2 if size < 3 else 1, 1)
    assert found(one[0], mpdu, one[1], mpdu[:50]) == (2, 1)
    assert found(one[0], mpdu, one[1], other_record(0xD0, bytes(200))[:50]) == (1, 1)
