"""nexmon: every chip, width and kind of capture, held against csiread; cores and streams put together."""

from __future__ import annotations

from pathlib import Path

import csiread
import numpy as np
import pytest

from testbed.errors import RecordError
from testbed.record.foreign.importer import import_files
from tests.unit.record.foreign.build import MAC_A, MAC_B, Pcap, float_word, int16_values, integers, nexmon_payload
from tests.unit.record.foreign.reading import SAMPLES, read, write

CHIPS = {"4339": 0x0001, "43455c0": 0x0065, "4358": 0x0003, "4366c0": 0x006A}
FLOATS = {"4358": (9, 5), "4366c0": (12, 6)}
CHANNELS = {20: 0xD024, 40: 0xD826, 80: 0xE02A}  # channels 36, 38, 42 by bcmwifi_channels.h
BEGIN_NS = 1_700_000_000_123_456_000


def theirs(path: Path, chip: str, mhz: int) -> csiread.Nexmon:
    found = csiread.Nexmon(str(path), chip=chip, bw=mhz, if_report=False)
    found.read()
    return found


def drawn(rng: np.random.Generator, chip: str, tones: int) -> bytes:
    """Numbers of a packet, over the whole range of the chip's format."""
    if chip not in FLOATS:
        return int16_values(integers(rng, (tones,), -32768, 32767))
    man, exp = FLOATS[chip]
    limit, low = 1 << (man - 1), int(rng.integers(-8, 4))
    parts = rng.integers(-limit + 1, limit, (tones, 2))
    words = [float_word(int(a), int(b), low + int(rng.integers(0, 4)), man, exp) for a, b in parts]
    return np.array(words, "<u4").tobytes()


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("mhz", CHANNELS)
@pytest.mark.parametrize("capture", [Pcap(), Pcap(nano=True), Pcap(big=True), Pcap(big=True, nano=True)], ids=str)
def test_values_and_times_are_those_of_csiread(
    tmp_path: Path, rng: np.random.Generator, chip: str, mhz: int, capture: Pcap
) -> None:
    tones = 64 * mhz // 20
    records = [
        capture.record(
            BEGIN_NS + n * 1_000_000,
            nexmon_payload(drawn(rng, chip, tones), sequence=n, channel=CHANNELS[mhz], chip=CHIPS[chip], rssi=None),
        )
        for n in range(5)
    ]
    path = write(tmp_path, capture.head() + b"".join(records))
    ours, ref = read(path), theirs(path, chip, mhz)
    used = ours.source.used
    np.testing.assert_array_equal(ours.packets.h[:, 0, used], np.fft.fftshift(ref.csi, axes=1)[:, used])
    assert (ours.packets.h[:, 0, ~used] == 0).all()
    fraction = ref.usec * (1e-9 if capture.nano else 1e-6)
    np.testing.assert_allclose(ours.packets.time_s, ref.sec - ref.sec[0] + fraction - fraction[0], atol=1e-9)
    assert ours.tones.tolist() == list(range(-tones // 2, tones // 2))
    assert ours.source.center_hz == 5e9 + 5e6 * {20: 36, 40: 38, 80: 42}[mhz]
    assert not ours.source.absolute


@pytest.mark.parametrize(("chip", "early"), [("4358", 0xDEAD), ("4366c0", 0xE834)])
def test_chip_numbers_of_the_first_firmware(tmp_path: Path, rng: np.random.Generator, chip: str, early: int) -> None:
    values = drawn(rng, chip, 256)
    both = [nexmon_payload(values, chip=number, rssi=None) for number in (CHIPS[chip], early)]
    path = write(tmp_path, Pcap().head() + b"".join(Pcap().record(BEGIN_NS + n * 10**8, p) for n, p in enumerate(both)))
    h = read(path).packets.h
    np.testing.assert_array_equal(h[0], h[1])


def test_a_real_recording_is_the_same_in_csiread() -> None:
    ours = read(SAMPLES / "nexmon.pcap")
    ref = csiread.NexmonPull46(str(SAMPLES / "nexmon.pcap"), chip="43455c0", bw=80, if_report=False)
    ref.read()
    used = ours.source.used
    np.testing.assert_array_equal(ours.raw[:, 0, used], np.fft.fftshift(ref.csi, axes=1)[:, used])
    np.testing.assert_array_equal(ours.packets.rssi_dbm[:, 0], ref.rssi)


def test_amplitudes_have_the_power_of_the_rssi(tmp_path: Path, rng: np.random.Generator) -> None:
    told = [-40, -60, -71]
    records = [
        Pcap().record(
            BEGIN_NS + n * 10**7, nexmon_payload(drawn(rng, "43455c0", 64), sequence=n, channel=0x1006, rssi=r)
        )
        for n, r in enumerate(told)
    ]
    ours = read(write(tmp_path, Pcap().head() + b"".join(records)))
    assert ours.source.absolute
    power = (np.abs(ours.packets.h[:, 0, ours.source.used].astype(complex)) ** 2).mean(axis=1)
    np.testing.assert_allclose(10 * np.log10(power), told, atol=1e-3)
    assert ours.source.center_hz == 2.437e9


@pytest.mark.parametrize("capture", [Pcap(vlan=1), Pcap(vlan=2), Pcap(link=113), Pcap(link=101)], ids=str)
def test_other_ways_to_capture_hold_the_same(tmp_path: Path, rng: np.random.Generator, capture: Pcap) -> None:
    payloads = [nexmon_payload(drawn(rng, "43455c0", 256), sequence=n) for n in range(4)]
    plain = read(write(tmp_path, _captured(Pcap(), payloads), "plain"))
    other = read(write(tmp_path, _captured(capture, payloads), "other"))
    np.testing.assert_array_equal(plain.packets.h, other.packets.h)


def _captured(capture: Pcap, payloads: list[bytes]) -> bytes:
    return capture.head() + b"".join(capture.record(BEGIN_NS + n * 10**8, p) for n, p in enumerate(payloads))


@pytest.mark.parametrize("swapped", [False, True])
def test_cores_and_streams_of_a_frame_are_one_packet(tmp_path: Path, rng: np.random.Generator, swapped: bool) -> None:
    records, numbers = [], {}
    for frame in range(3):
        for turn, place in enumerate(rng.permutation(8)):
            core, stream = divmod(int(place), 2)
            h = integers(rng, (64,), -2000, 2000)
            numbers[frame, core, stream] = np.fft.fftshift(h)
            payload = nexmon_payload(
                int16_values(h),
                core,
                stream,
                frame,
                0xD024,
                rssi=None,
                source=(MAC_A, MAC_B)[frame % 2],
                swapped=swapped,
            )
            records.append(Pcap().record(BEGIN_NS + frame * 10**8 + turn * 1000, payload))
    records = [r for n, r in enumerate(records) if n != 10]  # one datagram of the second frame was lost
    ours = read(write(tmp_path, Pcap().head() + b"".join(records)))
    assert ours.packets.h.shape == (3, 8, 64)
    assert ours.source.links == tuple((c, s) for c in range(4) for s in range(2))
    assert list(ours.packets.valid.sum(axis=1)) == [8, 7, 8]
    assert list(ours.packets.transmitter) == [0, 1, 0]
    used = ours.source.used
    for (frame, core, stream), h in numbers.items():
        link = ours.link(core, stream)
        if ours.packets.valid[frame, link]:
            np.testing.assert_array_equal(ours.raw[frame, link, used], h[used])


def test_other_traffic_is_passed_over_and_damage_is_counted(tmp_path: Path, rng: np.random.Generator) -> None:
    good = [
        Pcap().record(BEGIN_NS + n * 10**8, nexmon_payload(drawn(rng, "43455c0", 256), sequence=n)) for n in range(3)
    ]
    noise = Pcap().record(BEGIN_NS, b"GET / HTTP/1.1 and so on", port=80)
    broken = bytearray(good[1])
    broken[16 + 14 + 20 + 8] = 0x12  # magic number
    cut = good[2][:-100]
    (found,) = import_files([write(tmp_path, Pcap().head() + noise + good[0] + noise + bytes(broken) + cut)], None)
    assert (found.packets, found.skipped) == (1, 2)


def test_an_unknown_chip_is_no_packet(tmp_path: Path, rng: np.random.Generator) -> None:
    payload = nexmon_payload(drawn(rng, "43455c0", 256), chip=0x4242)
    with pytest.raises(RecordError, match="nexmon"):
        import_files([write(tmp_path, _captured(Pcap(), [payload]))], None)
