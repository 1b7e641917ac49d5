"""PicoScenes: all devices, formats, widths and segment versions; held against csiread where it knows them."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import csiread
import numpy as np
import pytest

from testbed.record.foreign.importer import import_files
from tests.unit.record.foreign import build
from tests.unit.record.foreign.build import PicoCsi, integers, mac_frame, pico_frame, rxs_basic
from tests.unit.record.foreign.reading import SAMPLES, read, write

MVM, QCA, IWL = 0x2000, 0x9300, 0x5300
NON_HT, HT, VHT, HE_SU = 0, 1, 2, 3
FILLED = {
    (NON_HT, 20): 52, (HT, 20): 56, (HT, 40): 114, (VHT, 20): 56, (VHT, 40): 114, (VHT, 80): 242, (VHT, 160): 484,
    (HE_SU, 20): 242, (HE_SU, 40): 484, (HE_SU, 80): 996, (HE_SU, 160): 1992,
}  # fmt: skip


def theirs(path: Path, shape: tuple[int, int, int]) -> list[np.ndarray]:
    """csiread's CSI of each frame: (tones, receivers, streams)."""
    found = csiread.Picoscenes(str(path), {"CSI": shape}, if_report=False)
    with contextlib.redirect_stdout(io.StringIO()):
        found.read()
    return list(found.raw["CSI"]["CSI"])


def as_links(csi: np.ndarray) -> np.ndarray:
    """(tones, receivers, streams) as (links, tones), transmit antenna fastest."""
    return np.transpose(csi, (1, 2, 0)).reshape(-1, csi.shape[0])


def left_by_csiread(used: np.ndarray) -> list[int]:
    """Positions it keeps of the first link: it takes out one pilot after another, each at its place in the list as
    it was before, and of the first link alone.
    """
    left = list(range(used.size))
    for pilot in np.flatnonzero(~used):
        del left[pilot]
    return left


@pytest.mark.parametrize(("family", "mhz"), FILLED)
def test_ax200_frames_of_every_format(tmp_path: Path, rng: np.random.Generator, family: int, mhz: int) -> None:
    tones = FILLED[family, mhz]
    drawn = [integers(rng, (2, 2, tones), -3000, 3000) for _ in range(3)]
    frames = [
        pico_frame(
            [
                rxs_basic(3, MVM, 1000 * n, (-50, -53, -128), -90),
                PicoCsi(MVM, family, mhz, tones, 2, 2, build.mvm_payload(h)).bytes(),
            ],
            mac_frame(build.MAC_A),
        )
        for n, h in enumerate(drawn)
    ]
    path = write(tmp_path, b"".join(frames))
    ours, ref = read(path), theirs(path, (tones, 2, 2))
    for n, h in enumerate(drawn):
        np.testing.assert_array_equal(ours.raw[n], h.reshape(4, tones))
        if mhz < 160 and family != HE_SU:  # beyond, csiread leaves out what is there
            left = left_by_csiread(ours.source.used)
            np.testing.assert_array_equal(ours.raw[n][0, left], as_links(ref[n])[0, : len(left)])
    power = np.abs(ours.packets.h.astype(complex)) ** 2
    per_antenna = power.reshape(3, 2, 2, tones)[..., ours.source.used].mean(axis=-1).sum(axis=2)
    np.testing.assert_allclose(10 * np.log10(per_antenna), np.tile([-50.0, -53.0], (3, 1)), atol=1e-3)
    np.testing.assert_allclose(ours.packets.time_s, [0, 1e-3, 2e-3], atol=1e-12)
    assert ours.source.spacing_hz == (78_125 if family == HE_SU else 312_500)


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize(("mhz", "tones"), [(20, 56), (40, 114)])
@pytest.mark.parametrize(("receivers", "streams"), [(1, 1), (2, 1), (3, 2)])
def test_qca9300_frames(
    tmp_path: Path, rng: np.random.Generator, version: int, mhz: int, tones: int, receivers: int, streams: int
) -> None:
    h = integers(rng, (receivers, streams, tones), -512, 511)
    csi = PicoCsi(QCA, HT, mhz, tones, streams, receivers, build.atheros_payload(h), version)
    basic = rxs_basic(version, QCA, 0, (45, 46, 47) if version < 3 else (-50, -49, -48), -95)
    path = write(tmp_path, pico_frame([basic, csi.bytes()], mac_frame(build.MAC_A)))
    ours, (ref,) = read(path), theirs(path, (tones, receivers, streams))
    np.testing.assert_array_equal(ours.raw[0], h.reshape(-1, tones))
    np.testing.assert_array_equal(ours.raw[0], as_links(ref))
    told = np.array([-50, -49, -48])[:receivers]
    np.testing.assert_array_equal(ours.packets.rssi_dbm[0, ::streams], told)


@pytest.mark.parametrize("floor", [0, -128])
def test_powers_above_an_unknown_noise_floor_are_unknown(tmp_path: Path, rng: np.random.Generator, floor: int) -> None:
    csi = PicoCsi(QCA, HT, 20, 56, 1, 1, build.atheros_payload(integers(rng, (1, 1, 56), -512, 511)), 2).bytes()
    basics = [rxs_basic(2, QCA, 1000 * n, (45, 45, 45), noise) for n, noise in enumerate((-95, floor))]
    frames = [pico_frame([basic, csi]) for basic in basics]
    packets = read(write(tmp_path, b"".join(frames))).packets
    assert (packets.rssi_dbm.tolist(), packets.skipped) == ([[-50]], 1)


@pytest.mark.parametrize("mhz", [20, 40])
@pytest.mark.parametrize(
    ("receivers", "order"), [(1, (0, 0, 0)), (2, (0, 1, 0)), (3, (0, 1, 2)), (3, (2, 0, 1)), (3, (1, 2, 0))]
)
def test_intel_5300_frames(
    tmp_path: Path, rng: np.random.Generator, mhz: int, receivers: int, order: tuple[int, int, int]
) -> None:
    h = integers(rng, (receivers, 2, 30), -128, 127)
    antennas = order[0] | order[1] << 2 | order[2] << 4
    csi = PicoCsi(IWL, HT, mhz, 30, 2, receivers, build.intel_payload(h), 3, antennas=antennas)
    basic = rxs_basic(3, IWL, 0, (-50, -49, -48), -92)
    ours = read(write(tmp_path, pico_frame([basic, csi.bytes()], mac_frame(build.MAC_A))))
    expected = np.empty_like(h)
    expected[list(order[:receivers])] = h
    np.testing.assert_array_equal(ours.raw[0], expected.reshape(-1, 30))
    assert ours.tones[-1] == (28 if mhz == 20 else 58)


def test_a_real_recording_is_as_its_bytes_say() -> None:
    """csiread knows segments up to version 3, and the recording has version 4."""
    ours, content = read(SAMPLES / "picoscenes.csi"), (SAMPLES / "picoscenes.csi").read_bytes()
    at = 0
    for n in range(160):
        frame = content[at : at + 4 + int.from_bytes(content[at : at + 4], "little")]
        begin = frame.index(b"\x04CSI\0") + 7
        tones = int.from_bytes(frame[begin + 26 : begin + 28], "little")
        payload = frame[begin + 40 :][: 2 * tones * 4]
        place = np.abs(ours.tones) <= (26 if tones == 52 else 28)
        np.testing.assert_array_equal(
            ours.raw[n][:, place], np.frombuffer(payload, "<i2").reshape(2, tones, 2) @ [1, 1j]
        )
        at += len(frame)
    assert at == len(content)


def test_unknown_segments_are_passed_over_and_damaged_frames_counted(tmp_path: Path, rng: np.random.Generator) -> None:
    def frame(n: int, tones: int = 56) -> bytes:
        h = integers(rng, (2, 1, 56), -3000, 3000)
        csi = PicoCsi(MVM, HT, 20, tones, 1, 2, build.mvm_payload(h)).bytes()
        strange = build.segment("Whatever", 9, bytes(range(40)))
        return pico_frame([strange, rxs_basic(3, MVM, 1000 * n, (-50, -53, -128), -90), csi], mac_frame(build.MAC_A))

    content = frame(0) + frame(1)[:-20] + frame(2) + frame(3, tones=57) + frame(4) + frame(5)[:-1]
    (found,) = import_files([write(tmp_path, content)], None)
    assert (found.packets, found.skipped) == (3, 3)
