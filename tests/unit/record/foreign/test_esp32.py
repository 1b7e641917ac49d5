"""ESP32 CSI Tool: order of numbers and tones for every channel layout, held against csiread; damage."""

from __future__ import annotations

import warnings
from pathlib import Path

import csiread
import numpy as np
import pytest

from testbed.record.foreign.importer import import_files
from tests.unit.record.foreign.build import ESP32_FIELDS, Esp32, esp32_values, integers
from tests.unit.record.foreign.reading import SAMPLES, Whole, read, write

NONE, ABOVE, BELOW = 0, 1, 2
# bytes that a packet leaves, by the table in the ESP-IDF guide: LLTF, HT-LTF, STBC-HT-LTF
LENGTHS = {"20": 128, "20 ht": 256, "20 stbc": 384, "40 ht": 384, "40 stbc": 612}


def log(*lines: Esp32, head: bool = True) -> bytes:
    return ((ESP32_FIELDS + "\n" if head else "") + "".join(line.line() for line in lines)).encode()


def rising(first: np.ndarray, secondary: int) -> np.ndarray:
    """The legacy field in rising order: from tone 0 up, then from −32 up, where there is no second channel."""
    return np.concatenate([first[32:], first[:32]]) if secondary == NONE else first


@pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS.keys())
@pytest.mark.parametrize("secondary", [NONE, ABOVE, BELOW])
@pytest.mark.parametrize("head", [True, False])
def test_the_legacy_field_of_every_layout(
    tmp_path: Path, rng: np.random.Generator, length: int, secondary: int, head: bool
) -> None:
    drawn = integers(rng, (4, length // 2), -127, 127)
    lines = [Esp32(esp32_values(h), secondary=secondary, ticks=1500 * n, rssi=-50 - n) for n, h in enumerate(drawn)]
    ours = read(write(tmp_path, log(*lines, head=head)))
    assert ours.tones.tolist() == list(range(-32, 32))
    fit = ours.source.used
    assert {int(k) for k in ours.tones[~fit]} == {0, 1, *range(27, 32), *range(-32, -26)}
    for n, h in enumerate(drawn):
        np.testing.assert_array_equal(ours.raw[n, 0, fit], rising(h[:64], secondary)[fit])
    power = (np.abs(ours.packets.h[:, 0, fit].astype(complex)) ** 2).mean(axis=1)
    np.testing.assert_allclose(10 * np.log10(power), [-50, -51, -52, -53], atol=1e-3)
    np.testing.assert_allclose(ours.packets.time_s, np.arange(4) * 1.5e-3, atol=1e-12)
    assert ours.source.center_hz == 2.437e9
    np.testing.assert_allclose(ours.packets.noise, 10**-9.3, rtol=1e-5)


def test_values_are_those_of_csiread(tmp_path: Path) -> None:
    content = (SAMPLES / "esp32.csv").read_bytes()
    body = write(tmp_path, content.partition(b"\n")[2])
    found = csiread.ESP32(str(body), if_report=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found.read()
    ours: Whole = read(body)
    assert len(ours.raw) == found.count
    fit = ours.source.used
    for n in range(found.count):
        expected = rising(found.csi[n], int(found.secondary_channel[n]))
        np.testing.assert_array_equal(ours.raw[n, 0, fit], expected[fit])
    np.testing.assert_array_equal(ours.packets.rssi_dbm[:, 0], found.rssi)
    np.testing.assert_allclose(ours.packets.time_s, (found.local_timestamp - found.local_timestamp[0]) * 1e-6)
    letters = {mac: n for n, mac in enumerate(dict.fromkeys(found.mac))}
    assert list(ours.packets.transmitter) == [letters[mac] for mac in found.mac]


def test_columns_in_another_order_are_found_by_their_names(tmp_path: Path, rng: np.random.Generator) -> None:
    h = integers(rng, (64,), -127, 127)
    names, values = ESP32_FIELDS.split(","), Esp32(esp32_values(h)).line().strip().split(",")
    order = [0, 5, 2, 1, 3, 4, *range(6, 26)]
    text = ",".join(names[k] for k in order) + "\n" + ",".join(values[k] for k in order) + "\n"
    ours = read(write(tmp_path, text.encode()))
    fit = ours.source.used
    np.testing.assert_array_equal(ours.raw[0, 0, fit], rising(h, NONE)[fit])


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("quoted", [True, False])
def test_the_time_of_day_may_stand_behind_the_list(
    tmp_path: Path, rng: np.random.Generator, quoted: bool, head: bool
) -> None:
    """As the tool's own serial_append_time.py writes it; and a quoted list, as spreadsheets do."""
    drawn = integers(rng, (3, 64), -127, 127)
    lines = [Esp32(esp32_values(h), ticks=1000 * n).line().strip() for n, h in enumerate(drawn)]
    if quoted:
        lines = [line.replace("[", '"[').replace("]", ']"') for line in lines]
    timed = [f"{line},{1_742_212_800.25 + n / 7}" for n, line in enumerate(lines)]
    torn = timed[1][40:], timed[1][:-30] + ",17", timed[1] + ",17"
    ours = read(write(tmp_path, "\n".join([*([ESP32_FIELDS] * head), *timed, *torn]).encode()))
    fit = ours.source.used
    np.testing.assert_array_equal(ours.raw[:, 0, fit], [rising(h, NONE)[fit] for h in drawn])
    assert ours.packets.skipped == len(torn)


def test_the_clock_wraps_and_restarts(tmp_path: Path, rng: np.random.Generator) -> None:
    values = esp32_values(integers(rng, (64,), -127, 127))
    begin = (1 << 32) - 3000
    ticks = [(begin + 1000 * n) % (1 << 32) for n in range(6)]
    ours = read(write(tmp_path, log(*(Esp32(values, ticks=t) for t in ticks))))
    np.testing.assert_allclose(ours.packets.time_s, np.arange(6) * 1e-3)
    restarted = [5_000_000, 5_001_000, 5_002_000, 100, 1100, 2100]
    ours = read(write(tmp_path, log(*(Esp32(values, ticks=t) for t in restarted))))
    np.testing.assert_allclose(ours.packets.time_s, [0, 1e-3, 2e-3, 2e-3, 3e-3, 4e-3])


def test_damaged_lines_are_counted(tmp_path: Path, rng: np.random.Generator) -> None:
    def line(n: int) -> str:
        return Esp32(esp32_values(integers(rng, (64,), -127, 127)), ticks=1000 * n).line()

    odd = Esp32(esp32_values(integers(rng, (64,), -127, 127)), state=3).line()
    short = Esp32(esp32_values(integers(rng, (60,), -127, 127)), length=128).line()
    wild = line(5).replace("CSI_DATA,AP,02:00:00:00:00:01,-60", "CSI_DATA,AP,02:00:00:00:00:01,-6O0")
    text = ESP32_FIELDS + "\n" + line(0) + odd + short + line(1)[:200] + "\n" + wild + "E (123) wifi: noise\n" + line(2)
    (found,) = import_files([write(tmp_path, text.encode())], None)
    assert (found.packets, found.skipped) == (2, 4)
