"""FeitCSI: every packet format and width, against what was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from testbed.record.foreign.importer import import_files
from tests.unit.record.foreign.build import MAC_A, MAC_B, feitcsi_frame, integers
from tests.unit.record.foreign.reading import SAMPLES, read, write

# first and last tone of each half, pilots of the upper half (IEEE 802.11-2020 and 802.11ax-2021)
LAYOUTS: dict[tuple[str, int], tuple[list[tuple[int, int]], list[int]]] = {
    ("legacy", 20): ([(1, 26)], [7, 21]),
    ("ht", 20): ([(1, 28)], [7, 21]),
    ("ht", 40): ([(2, 58)], [11, 25, 53]),
    ("vht", 20): ([(1, 28)], [7, 21]),
    ("vht", 40): ([(2, 58)], [11, 25, 53]),
    ("vht", 80): ([(2, 122)], [11, 39, 75, 103]),
    ("vht", 160): ([(6, 126), (130, 250)], [25, 53, 89, 117, 139, 167, 203, 231]),
    ("he", 20): ([(2, 122)], [22, 48, 90, 116]),
    ("he", 40): ([(3, 244)], [10, 36, 78, 104, 144, 170, 212, 238]),
    ("he", 80): ([(3, 500)], [24, 92, 158, 226, 266, 334, 400, 468]),
    ("he", 160): (
        [(12, 509), (515, 1012)],
        [44, 112, 178, 246, 286, 354, 420, 488, 536, 604, 670, 738, 778, 846, 912, 980],
    ),
}


def tones_of(family: str, mhz: int) -> list[int]:
    upper = [k for first, last in LAYOUTS[family, mhz][0] for k in range(first, last + 1)]
    return [-k for k in reversed(upper)] + upper


@pytest.mark.parametrize(("family", "mhz"), LAYOUTS)
@pytest.mark.parametrize(("receivers", "streams"), [(1, 1), (2, 2)])
def test_every_format_and_width(
    tmp_path: Path, rng: np.random.Generator, family: str, mhz: int, receivers: int, streams: int
) -> None:
    tones = tones_of(family, mhz)
    drawn = integers(rng, (3, receivers, streams, len(tones)), -2000, 2000)
    ours = read(write(tmp_path, b"".join(feitcsi_frame(h, family, mhz, 800 * n) for n, h in enumerate(drawn))))
    np.testing.assert_array_equal(ours.raw.reshape(drawn.shape), drawn)
    np.testing.assert_array_equal(ours.tones, tones)
    pilots = {abs(int(k)) for k in ours.tones[~ours.source.used]}
    assert pilots == set(LAYOUTS[family, mhz][1])
    np.testing.assert_allclose(ours.packets.time_s, [0, 800e-6, 1600e-6], atol=1e-12)
    power = (np.abs(ours.packets.h.astype(complex)) ** 2)[..., ours.source.used].mean(axis=-1)
    told = 10 * np.log10(power.reshape(3, receivers, streams).sum(axis=2))
    np.testing.assert_allclose(told, np.tile([-45.0, -47.0][:receivers], (3, 1)), atol=1e-3)


@pytest.mark.parametrize(("family", "junk"), [("vht", 14), ("he", 28)])
def test_junk_between_the_halves_of_160_mhz_is_left_out(
    tmp_path: Path, rng: np.random.Generator, family: str, junk: int
) -> None:
    h = integers(rng, (2, 1, len(tones_of(family, 160))), -900, 900)
    ours = read(write(tmp_path, feitcsi_frame(h, family, 160, junk=junk)))
    np.testing.assert_array_equal(ours.raw[0], h[:, 0])


def test_a_real_recording_is_as_its_bytes_say() -> None:
    ours, content = read(SAMPLES / "feitcsi_vht80.csi"), (SAMPLES / "feitcsi_vht80.csi").read_bytes()
    size = 272 + 2 * 242 * 4
    for n in range(40):
        body = content[n * size + 272 : (n + 1) * size]
        np.testing.assert_array_equal(ours.raw[n], np.frombuffer(body, "<i2").reshape(2, 242, 2) @ [1, 1j])


def test_transmitters_and_damage(tmp_path: Path, rng: np.random.Generator) -> None:
    frames = [
        feitcsi_frame(integers(rng, (2, 1, 56), -900, 900), "ht", 20, 1000 * n, source=(MAC_A, MAC_B)[n % 2])
        for n in range(6)
    ]
    ours = read(write(tmp_path, b"".join(frames)))
    assert list(ours.packets.transmitter) == [0, 1, 0, 1, 0, 1]
    (found,) = import_files(
        [write(tmp_path, frames[0] + frames[1][:-9] + frames[2] + frames[3] + frames[4][:-1])], None
    )
    assert (found.packets, found.skipped) == (3, 2)
    wrong = bytearray(frames[1])
    wrong[52] = 57  # tones that no format has
    (found,) = import_files([write(tmp_path, frames[0] + bytes(wrong) + frames[2])], None)
    assert (found.packets, found.skipped) == (2, 1)


def test_amplitudes_without_any_rssi_are_relative(tmp_path: Path, rng: np.random.Generator) -> None:
    h = integers(rng, (2, 1, 56), -999, 999)
    ours = read(write(tmp_path, b"".join(feitcsi_frame(h, "ht", 20, 1000 * n, rssi=(0, 0)) for n in range(3))))
    assert (ours.source.absolute, ours.packets.skipped) == (False, 0)
    np.testing.assert_array_equal(ours.packets.h[:, :, ours.source.used], h[None, :, 0, ours.source.used].repeat(3, 0))
    mixed = b"".join(feitcsi_frame(h, "ht", 20, 1000 * n, rssi=(45, 45 * n)) for n in range(3))
    ours = read(write(tmp_path, mixed))
    assert (ours.source.absolute, len(ours.packets.h), ours.packets.skipped) == (True, 2, 1)
