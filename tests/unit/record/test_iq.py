"""Recorded samples: whole after any end, read by anybody's tools, heard again as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sigmf
from hypothesis import given
from hypothesis import strategies as st
from sigmf.validate import validate

from testbed.errors import RadioError, RecordError
from testbed.radio.base import Capture, RadioSettings
from testbed.radio.recording import RecordingRadio
from testbed.radio.replay import ReplayRadio
from testbed.radio.sim import SimRadio
from testbed.radio.tape import Occasion
from testbed.record import space
from testbed.record.iq_read import IqTape, read_recordings
from testbed.record.iq_write import IqRecorder, finish_iq
from testbed.record.sigmf import SampleFormat, decode_samples, encode_samples
from tests.unit.radio.test_air import TUNED, tuned

RATE_HZ = 1e6
SETTINGS = RadioSettings(RATE_HZ, 2.45e9, -10.0, 40.0)


def occasion(frame: int) -> Occasion:
    return Occasion("forward", 1, frame, 3, 2, 1, f"{frame:016x}")


def capture(rng: np.random.Generator, count: int, overflow: bool = False) -> Capture:
    codes = rng.integers(-2048, 2048, (count, 2)).astype(np.float32) / 2048
    return Capture(codes.view(np.complex64)[:, 0], RATE_HZ, 2.45e9, 40.0, 0.1 * count, overflow)


def record(folder: Path, captures: list[Capture], sample_format: SampleFormat = "ci16", node: int = 0) -> None:
    with IqRecorder(folder, node, sample_format, "sim:0") as recorder:
        for frame, one in enumerate(captures):
            recorder.heard(occasion(frame), one)
            recorder.sent(occasion(frame), one.samples[:10], SETTINGS)


def test_twelve_bit_samples_pass_through_ci16_and_any_through_cf32() -> None:
    codes = np.arange(-2048, 2048, dtype=np.float32) / 2048
    samples = codes.astype(np.complex64) + 1j * codes[::-1]
    assert decode_samples(encode_samples(samples, "ci16"), "ci16").tobytes() == samples.tobytes()
    fine = np.random.default_rng(1).standard_normal(999).astype(np.float32).view(np.float32)[:998].view(np.complex64)
    assert decode_samples(encode_samples(fine, "cf32"), "cf32").tobytes() == fine.tobytes()


@given(st.floats(-2, 2, width=32))
def test_ci16_rounds_to_its_steps_and_clips(value: float) -> None:
    found = float(decode_samples(encode_samples(np.array([value], np.complex64), "ci16"), "ci16")[0].real)
    assert found == pytest.approx(min(max(value, -1.0), 32767 / 32768), abs=0.5 / 32768)


@pytest.mark.parametrize("sample_format", ["ci16", "cf32"])
def test_recordings_are_valid_sigmf_and_others_read_the_same(
    tmp_path: Path, rng: np.random.Generator, sample_format: SampleFormat
) -> None:
    captures = [capture(rng, 50 + k, overflow=k == 2) for k in range(5)]
    record(tmp_path, captures, sample_format)
    for direction, expected in (
        ("rx", [one.samples for one in captures]),
        ("tx", [one.samples[:10] for one in captures]),
    ):
        found = sigmf.fromfile(tmp_path / f"node-0-{direction}.sigmf-meta")
        validate(found._metadata, found.get_schema())
        np.testing.assert_array_equal(found[:], np.concatenate(expected))
        assert [one["dmoe:frame"] for one in found.get_annotations()] == [0, 1, 2, 3, 4]
        for k, about in enumerate(found.get_annotations()):
            place = slice(about["core:sample_start"], about["core:sample_start"] + about["core:sample_count"])
            np.testing.assert_array_equal(found[place], expected[k])
            assert (about["dmoe:round"], about["dmoe:source"], about["dmoe:node"]) == (3, 1, 0)
            assert about["dmoe:slot"] == occasion(k).slot
    assert [one["dmoe:overflow"] for one in sigmf.fromfile(tmp_path / "node-0-rx.sigmf-meta").get_captures()] == [
        k == 2 for k in range(5)
    ]


def test_a_tape_returns_what_was_heard_in_whatever_order_it_is_asked(tmp_path: Path, rng: np.random.Generator) -> None:
    captures = [capture(rng, 20 + k, overflow=k == 1) for k in range(6)]
    record(tmp_path, captures)
    tape = IqTape(read_recordings(tmp_path, 0, "rx"))
    assert tape.tunings() == {(RATE_HZ, 2.45e9)}
    for k in rng.permutation(6):
        heard, before = tape.hear(occasion(k), 20 + int(k)), captures[k]
        np.testing.assert_array_equal(heard.samples, before.samples)
        assert (heard.gain_db, heard.time_s, heard.overflow) == (before.gain_db, before.time_s, before.overflow)
    with pytest.raises(RecordError, match="another one when it was recorded"):
        tape.hear(occasion(3), 23)


def test_a_tape_says_why_it_has_nothing(tmp_path: Path, rng: np.random.Generator) -> None:
    record(tmp_path, [capture(rng, 20)])
    tape = IqTape(read_recordings(tmp_path, 0, "rx"))
    with pytest.raises(RecordError, match=r"frame 7 of round 3 \(forward by node 1, attempt 2\) was not recorded"):
        tape.hear(occasion(7), 20)
    with pytest.raises(RecordError, match="another schedule"):
        tape.hear(Occasion("forward", 1, 0, 3, 2, 1, "another"), 20)
    with pytest.raises(RecordError, match="no further capture"):
        tape.hear(None, 20)
    with pytest.raises(RecordError, match="30 samples are asked for where 20 were recorded"):
        tape.hear(occasion(0), 30)


@pytest.mark.parametrize("torn", ["data", "journal"])
def test_a_writer_killed_anywhere_leaves_all_whole_captures(
    tmp_path: Path, rng: np.random.Generator, torn: str
) -> None:
    captures = [capture(rng, 12) for _ in range(3)]
    recorder = IqRecorder(tmp_path, 0, "ci16", "sim:0")
    for frame, one in enumerate(captures):
        recorder.heard(occasion(frame), one)
        if frame == 1:
            before = (tmp_path / "node-0-rx.journal").stat().st_size
    data, journal = tmp_path / "node-0-rx.sigmf-data", tmp_path / "node-0-rx.journal"
    whole, lines = data.read_bytes(), journal.read_bytes()
    recorder.close()
    (tmp_path / "node-0-rx.sigmf-meta").unlink()
    steps = range(48) if torn == "data" else range(len(lines) - before)
    for cut in steps:
        data.write_bytes(whole[: len(whole) - cut] if torn == "data" else whole)
        journal.write_bytes(lines[:before] if torn == "data" else lines[: len(lines) - cut])
        safe = 3 if torn == "journal" and cut == 0 else 2
        for finished in (False, True):
            if finished:
                finish_iq(tmp_path)
                assert data.stat().st_size == safe * 48
            tape = IqTape(read_recordings(tmp_path, 0, "rx"))
            for frame in range(safe):
                np.testing.assert_array_equal(tape.hear(occasion(frame), 12).samples, captures[frame].samples)
            with pytest.raises(RecordError, match="not recorded"):
                tape.hear(occasion(safe), 12)
        (tmp_path / "node-0-rx.sigmf-meta").unlink()


def test_a_node_that_comes_back_goes_on_in_files_of_its_own(tmp_path: Path, rng: np.random.Generator) -> None:
    captures = [capture(rng, 8) for _ in range(24)]
    for begin in range(0, 24, 2):
        with IqRecorder(tmp_path, 0, "cf32", "sim:0") as recorder:
            for one in captures[begin : begin + 2]:
                recorder.heard(None, one)
    tape = IqTape(read_recordings(tmp_path, 0, "rx"))
    for one in captures:
        np.testing.assert_array_equal(tape.hear(None, 8).samples, one.samples)


def test_damage_is_found_and_named(tmp_path: Path, rng: np.random.Generator) -> None:
    record(tmp_path, [capture(rng, 30)])
    data, meta = tmp_path / "node-0-rx.sigmf-data", tmp_path / "node-0-rx.sigmf-meta"
    sound, words = data.read_bytes(), meta.read_bytes()
    for bit in rng.integers(0, 8 * len(sound), 50):
        flipped = bytearray(sound)
        flipped[bit // 8] ^= 1 << bit % 8
        data.write_bytes(flipped)
        with pytest.raises(RecordError, match=r"node-0-rx\.sigmf-data: differs from its checksum"):
            read_recordings(tmp_path)
    data.write_bytes(sound)
    for harm in (words[:100], words.replace(b"dmoe:node", b"somebodys"), words.replace(b"ci16_le", b"ri8")):
        meta.write_bytes(harm)
        with pytest.raises(RecordError, match="not a recording of this program, or damaged"):
            read_recordings(tmp_path)
    meta.write_bytes(words)
    data.unlink()
    with pytest.raises(RecordError, match="cannot be read"):
        read_recordings(tmp_path)


def test_one_recording_holds_one_rate(tmp_path: Path, rng: np.random.Generator) -> None:
    with IqRecorder(tmp_path, 0, "ci16", "sim:0") as recorder:
        recorder.heard(None, capture(rng, 8))
        faster = Capture(np.zeros(8, np.complex64), 2e6, 2.45e9, 0.0, 0.0)
        with pytest.raises(RecordError, match=r"2000000.0 Hz after 1000000.0 Hz"):
            recorder.heard(None, faster)


def test_a_full_disk_is_said_and_nothing_torn(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = IqRecorder(tmp_path, 0, "ci16", "sim:0")
    recorder.heard(None, capture(rng, 8))
    with monkeypatch.context() as full:
        full.setattr(space, "free_bytes", lambda folder: 1000)
        with pytest.raises(RecordError, match="disk nearly full"):
            recorder.heard(None, capture(rng, 8))
    recorder.close()
    assert IqTape(read_recordings(tmp_path)).hear(None, 8).samples.size == 8


class Broken:
    """A recorder whose disk is gone."""

    def heard(self, *anything: object) -> None:
        raise RecordError("the disk is gone")

    sent = heard


def test_what_cannot_be_recorded_does_not_stay_on_the_air() -> None:
    air = tuned()
    with RecordingRadio(SimRadio(air, 0), Broken()) as radio:
        radio.configure(TUNED)
        with pytest.raises(RecordError, match="disk"):
            radio.transmit(np.full(64, 0.1, np.complex64))
        assert air.on_air() == ()
        with pytest.raises(RecordError, match="disk"):
            radio.receive(10)


def test_a_replayed_radio_must_be_tuned_as_the_recorded_one(tmp_path: Path, rng: np.random.Generator) -> None:
    record(tmp_path, [capture(rng, 20)])
    radio = ReplayRadio("replay:here", IqTape(read_recordings(tmp_path, 0, "rx")))
    for settings, words in ((RadioSettings(2e6, 2.45e9), "2 MS/s"), (RadioSettings(RATE_HZ, 2.4e9), "2400 MHz")):
        with pytest.raises(RadioError, match=f"recorded at 1 MS/s around 2450 MHz, not at .*{words}"):
            radio.configure(settings)
        with pytest.raises(RadioError, match="never tuned"):
            radio.receive(20)
