"""Atheros: both byte orders, both widths, all antenna counts, held against csiread."""

from __future__ import annotations

from pathlib import Path

import csiread
import numpy as np
import pytest

from testbed.record.foreign.importer import import_files
from tests.unit.record.foreign.build import MAC_A, MAC_B, atheros_record, integers, mac_frame
from tests.unit.record.foreign.reading import SAMPLES, Whole, read, write


def theirs(path: Path, nr: int, nc: int, tones: int, endian: str = "little") -> csiread.Atheros:
    # room for 1000 packets: left to itself, it makes too little for small ones
    found = csiread.Atheros(str(path), nrxnum=nr, ntxnum=nc, tones=tones, if_report=False, bufsize=1000)
    found.read(endian)
    return found


def in_file_order(csi: np.ndarray) -> np.ndarray:
    """(packets, tones, pairs) as the pairs follow each other in the file.

    csiread 1.4 names them transmit antenna fastest. The tool's own `csi_fun.c` names them receive antenna fastest, as
    PicoScenes does: loops over tones, then transmit, then receive antennas.
    """
    return csi.reshape(*csi.shape[:2], -1)


def ours_in_file_order(ours: Whole, nr: int, nc: int) -> np.ndarray:
    """The same, with pairs named as `csi_fun.c` does."""
    pairs = [ours.link(r, c) for c in range(nc) for r in range(nr)]
    return np.moveaxis(ours.raw[:, pairs], 1, 2)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("tones", [56, 114])
@pytest.mark.parametrize(("nr", "nc"), [(1, 1), (2, 1), (3, 1), (2, 2), (3, 2), (3, 3)])
def test_values_and_header_are_those_of_csiread(
    tmp_path: Path, rng: np.random.Generator, big: bool, tones: int, nr: int, nc: int
) -> None:
    drawn = integers(rng, (4, nr, nc, tones), -512, 511)
    records = [
        atheros_record(h, 900 * n, big, [int(v) for v in rng.integers(10, 60, 3)], frame=mac_frame(MAC_A, 40 + n))
        for n, h in enumerate(drawn)
    ]
    path = write(tmp_path, b"".join(records))
    ours, ref = read(path), theirs(path, nr, nc, tones, "big" if big else "little")
    np.testing.assert_array_equal(ours.raw.reshape(drawn.shape), drawn)
    np.testing.assert_array_equal(ours_in_file_order(ours, nr, nc), in_file_order(ref.csi))
    rssi = np.stack([ref.rssi_1, ref.rssi_2, ref.rssi_3], axis=1)[:, :nr] - 95
    np.testing.assert_array_equal(ours.packets.rssi_dbm[:, ::nc], rssi)
    np.testing.assert_allclose(ours.packets.time_s, (ref.timestamp - ref.timestamp[0]) * 1e-6)
    assert ours.source.center_hz == 5.24e9
    half = 28 if tones == 56 else 58
    assert (ours.tones[0], ours.tones[-1], ours.tones.size) == (-half, half, tones)
    assert not ours.source.absolute


def test_a_real_recording_is_the_same_in_csiread() -> None:
    ours, ref = read(SAMPLES / "atheros.dat"), theirs(SAMPLES / "atheros.dat", 3, 2, 56)
    np.testing.assert_array_equal(ours_in_file_order(ours, 3, 2), in_file_order(ref.csi))


@pytest.mark.parametrize("mark", [b"\xff", b"\x00"])
def test_a_first_byte_may_tell_the_byte_order(tmp_path: Path, rng: np.random.Generator, mark: bytes) -> None:
    drawn = integers(rng, (3, 2, 1, 56), -512, 511)
    records = b"".join(atheros_record(h, 1000 * n, mark == b"\xff") for n, h in enumerate(drawn))
    path = write(tmp_path, mark + records)
    ref = csiread.AtherosPull10(str(path), nrxnum=2, ntxnum=1, if_report=False, bufsize=1000)
    ref.read()
    ours = read(path)
    np.testing.assert_array_equal(ours_in_file_order(ours, 2, 1), in_file_order(ref.csi))
    np.testing.assert_array_equal(ours.raw.reshape(drawn.shape), drawn)


def test_records_without_csi_are_no_packets_and_those_with_errors_are_skipped(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    h = integers(rng, (3, 2, 56), -512, 511)
    empty = atheros_record(None, 500, frame=mac_frame(MAC_A))
    records = [atheros_record(h, 0), empty, atheros_record(h, 1000, error=1), atheros_record(h, 2000, slack=bytes(4))]
    records.append(atheros_record(h, 3000))
    (found,) = import_files([write(tmp_path, b"".join(records))], None)
    assert (found.packets, found.skipped) == (3, 1)


def test_transmitters_become_letters_and_invalid_rssi_unknown(tmp_path: Path, rng: np.random.Generator) -> None:
    h = integers(rng, (2, 1, 56), -512, 511)
    macs = [MAC_B, MAC_A, MAC_B]
    records = [atheros_record(h, 1000 * n, frame=mac_frame(m), rssi=(40, 128, 128)) for n, m in enumerate(macs)]
    ours = read(write(tmp_path, b"".join(records)))
    assert list(ours.packets.transmitter) == [0, 1, 0]
    assert np.isnan(ours.packets.rssi_dbm[:, 1]).all()
    assert (ours.packets.rssi_dbm[:, 0] == -55).all()


def test_the_clock_wraps_at_32_bits_or_goes_on_in_64(tmp_path: Path, rng: np.random.Generator) -> None:
    h = integers(rng, (1, 1, 56), -100, 100)
    begin = (1 << 32) - 2500

    def times(ticks: list[int]) -> list[float]:
        found = read(write(tmp_path, b"".join(atheros_record(h, t) for t in ticks))).packets
        assert found.skipped == 0
        return found.time_s.tolist()

    short = [begin + 1000 * n for n in range(6)]
    assert times([t % (1 << 32) for t in short]) == times(short) == pytest.approx([n * 1e-3 for n in range(6)])
    assert times([begin + 3_000_000_000 * n for n in range(5)]) == [3000 * n for n in range(5)]
