"""Other people's CSI in the scheduler: what was received is what is scheduled on, and what does not fit is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from testbed.agents.replay import replay
from testbed.agents.replay_csi import RecordedLinks, recorded_grid, replay_csi
from testbed.agents.timeline import Rule
from testbed.campaign import Campaign
from testbed.cli.app import app
from testbed.errors import RecordError
from testbed.outcome import Measured
from testbed.record.foreign.importer import import_files
from testbed.record.foreign.links import Composition
from testbed.record.read import Run, read_run, verify
from tests.unit.record.foreign.reading import SAMPLES, read

INTEL, ATHEROS, ESP32, NEXMON = (SAMPLES / n for n in ("intel5300.dat", "atheros.dat", "esp32.csv", "nexmon.pcap"))
SMALL = {"nodes.tokens": 4, "nodes.context": 8, "model.quantisation": "float16"}
PAIRS = "pairs:3"


def run_on(paths: list[Path], out: Path, rule: Rule | None = None, links: str | None = PAIRS) -> Run:
    done = replay_csi(paths, out, ["test"], SMALL, as_links=links, rule=rule)
    return read_run(Path(done.replayed.run_dir))


def rounds(path: Path, folder: Path, rule: Rule, links: str, count: int) -> list[Measured | None]:
    """What the first rounds would measure, on the recording's own grid."""
    composed = folder / "links.nc"
    import_files([path], composed, as_links=links)
    with Composition(composed) as opened:
        grid = Campaign().with_overrides({f"grid.{k}": v for k, v in recorded_grid(opened).items()}).ofdm_grid()
        channels = RecordedLinks(opened, grid, rule, None if opened.noise_known() else 1.0)
        return [channels.round(n) for n in range(count)]


@pytest.mark.parametrize("between", ["hold", "linear", "nearest"])
def test_each_round_measures_what_was_received_then(tmp_path: Path, between: str) -> None:
    step = 0.137
    found = rounds(INTEL, tmp_path, Rule(between, "stop", step), PAIRS, 20)  # type: ignore[arg-type]
    whole = read(INTEL)
    power, times = np.abs(whole.packets.h.astype(complex)) ** 2, whole.packets.time_s
    tones = [[*range(-28, 0), *range(1, 29)].index(k) for k in whole.tones]
    ways = [(i, j) for i in range(3) for j in range(3) if i != j]
    for n, measured in enumerate(found):
        assert measured is not None
        one = int(np.searchsorted(times, n * step, side="right") - 1)
        share = (n * step - times[one]) / (times[one + 1] - times[one])
        share = {"hold": 0.0, "nearest": float(share > 0.5), "linear": share}[between]
        expected = (1 - share) * power[one] + share * power[one + 1]  # relative to the noise, by the format
        for link, way in enumerate(ways):
            np.testing.assert_allclose(measured.snr[way][tones], expected[link], rtol=1e-3)


def test_links_taken_later_in_time_show_what_was_received_then(tmp_path: Path) -> None:
    rule = Rule("hold", "stop", 0.2)
    (both,) = (rounds(INTEL, tmp_path, rule, "0>1=rx0tx0,1>0=rx0tx0@2", 15),)
    for n in range(5):
        early, late = both[n + 10], both[n]
        assert early is not None
        assert late is not None
        np.testing.assert_allclose(early.snr[0, 1], late.snr[1, 0], rtol=1e-6)


def test_a_short_recording_stops_or_begins_anew(tmp_path: Path) -> None:
    step = float(read(ATHEROS).packets.time_s[-1]) / 2.5
    stopped = rounds(ATHEROS, tmp_path, Rule("hold", "stop", step), PAIRS, 8)
    looped = rounds(ATHEROS, tmp_path, Rule("hold", "loop", step), PAIRS, 8)
    assert [m is not None for m in stopped] == [True] * 3 + [False] * 5
    assert all(m is not None for m in looped)


@pytest.mark.parametrize("name", ["atheros.dat", "esp32.csv", "nexmon.pcap", "feitcsi_vht80.csi", "picoscenes.csi"])
def test_every_format_makes_a_network_by_itself(tmp_path: Path, name: str) -> None:
    found = rounds(SAMPLES / name, tmp_path, Rule("nearest", "loop", 0.05), "auto:4", 4)
    for measured in found:
        assert measured is not None
        assert measured.valid.sum() == 12
        assert np.isfinite(measured.snr).all()
        assert (measured.snr[measured.valid] > 0).any(axis=-1).all()


def test_a_run_on_recorded_links_says_what_they_are_made_of(tmp_path: Path) -> None:
    run = run_on([INTEL], tmp_path / "a", Rule("linear", "loop", 0.5), "0>1=rx0tx0,1>0=rx1tx1@5,1>2=rx2tx0,2>0=rx2tx1")
    told = run.shape.attributes
    assert "receive antenna 1, transmit antenna 1, any transmitter, 5 s later" in str(told["source_composition"])
    assert "not measured at the same time" in str(told["source_warning"])
    assert told["source_sha256"] == read(INTEL).source.sha256
    assert (told["replay_between"], told["replay_at_end"], told["replay_step_s"]) == ("linear", "loop", 0.5)
    assert (len(run.rounds), run.rounds[0].measured.valid.sum()) == (4, 4)
    assert verify(run.folder.path) == ()
    again = read_run(Path(replay(run.folder.path, tmp_path / "b", ["test"], {}).replayed.run_dir))
    for left, right in zip(run.rounds, again.rounds, strict=True):
        np.testing.assert_array_equal(left.selected, right.selected)
        np.testing.assert_array_equal(left.measured.h, right.measured.h)
        np.testing.assert_array_equal(left.forward.subcarrier_link, right.forward.subcarrier_link)
    assert again.shape.attributes["source_sha256"] == told["source_sha256"]


def test_a_replay_of_unknown_noise_is_deterministic_and_says_its_snr(tmp_path: Path) -> None:
    composed = tmp_path / "links.nc"
    import_files([ATHEROS], composed, as_links=PAIRS)
    direct = run_on([ATHEROS], tmp_path / "a", Rule(step_s=0.01))
    by_file = run_on([composed], tmp_path / "b", Rule(step_s=0.01), links=None)
    for left, right in zip(direct.rounds, by_file.rounds, strict=True):
        np.testing.assert_array_equal(left.measured.snr, right.measured.snr)
        np.testing.assert_array_equal(left.selected, right.selected)
    snr = np.mean([r.measured.snr[r.measured.valid].mean() for r in direct.rounds])
    assert 10 * np.log10(snr) == pytest.approx(25.0, abs=2.0)
    assert "channel.snr_db = 25" in str(direct.shape.attributes["source_snr"])
    with pytest.raises(RecordError, match="stated in the file already"):
        run_on([composed], tmp_path / "c")


@pytest.mark.parametrize(
    ("grid", "centre", "count", "reason"),
    [
        ('preset = "demo"', 5.24e9, 3, r"15000 Hz apart .* in the recording 312500"),
        (
            'preset = "small"\nsample_rate_hz = 20e6\noccupied = 60',
            5.24e9,
            3,
            r"grid\.occupied: .* take a narrower band",
        ),
        ('preset = "small"\nsample_rate_hz = 20e6', 2.4e9, 3, r"radio\.centre_hz = 2\.4e\+09"),
        (
            'preset = "small"\nsample_rate_hz = 20e6',
            5.24e9,
            5,
            r"links are of 3 nodes, the campaign has nodes\.count = 5",
        ),
    ],
)
def test_a_campaign_that_does_not_fit_is_refused_with_the_reason(
    tmp_path: Path, grid: str, centre: float, count: int, reason: str
) -> None:
    campaign, out = tmp_path / "c.toml", tmp_path / "runs"
    campaign.write_text(
        f"[grid]\n{grid}\n[radio]\ncentre_hz = {centre}\n[nodes]\ncount = {count}\ncompute_energy_j = 1e-10\n"
    )
    with pytest.raises(RecordError, match=reason):
        replay_csi([ATHEROS], out, ["test"], {}, as_links=PAIRS, campaign_file=campaign)
    assert not list(out.iterdir())


def test_a_campaign_that_fits_keeps_its_grid(tmp_path: Path) -> None:
    center = read(ATHEROS).source.center_hz
    campaign = tmp_path / "c.toml"
    campaign.write_text(
        f"[nodes]\ncount = 3\ncompute_energy_j = 1e-10\ntokens = 4\ncontext = 8\n[radio]\ncentre_hz = {center}\n"
        '[grid]\npreset = "small"\nsample_rate_hz = 20e6\noccupied = 40\n'
    )
    done = replay_csi([ATHEROS], tmp_path / "runs", ["test"], {}, as_links=PAIRS, campaign_file=campaign)
    run = read_run(Path(done.replayed.run_dir))
    assert (run.shape.frequency_hz.size, run.shape.center_hz) == (40, center)


def test_the_command_tells_the_warning_and_the_figures(tmp_path: Path) -> None:
    words = ["replay", str(INTEL), "--as-links", PAIRS, "--between", "nearest", "--at-end", "loop", "--step", "0.2"]
    done = CliRunner().invoke(app, [*words, "--scheduler", "top-2", "--out", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["recorded"] is None
    assert told["replayed"] == asdict(read_run(Path(told["replayed"]["run_dir"])).summary)  # type: ignore[call-overload]
    assert "warning: antenna pairs of one receiver" in done.stderr
    wrong = CliRunner().invoke(app, ["replay", str(INTEL), "--between", "cubic", "--out", str(tmp_path)])
    assert wrong.exit_code == 1
    assert "choose one of hold, linear, nearest" in wrong.stderr


def test_the_composed_campaign_is_what_its_script_makes_and_runs(tmp_path: Path) -> None:
    folder = SAMPLES.parent / "composed"
    done = subprocess.run(
        [sys.executable, folder / "make.py", tmp_path / "channels.nc"], check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    with h5py.File(folder / "channels.nc", locking=False) as kept, h5py.File(tmp_path / "channels.nc") as made:
        assert dict(kept.attrs.items()).keys() == dict(made.attrs.items()).keys()
        assert (kept.attrs["composition"], kept.attrs["licence"]) == (made.attrs["composition"], made.attrs["licence"])
        for name in ("time", "h", "noise", "age_s", "valid", "link_from", "link_to", "subcarrier"):
            np.testing.assert_array_equal(kept[name][()], made[name][()])
    rule = Rule("linear", "loop")
    done_run = replay_csi(
        [folder / "channels.nc"], tmp_path, ["test"], {"passes": 1}, campaign_file=folder / "campaign.toml", rule=rule
    )
    run = read_run(Path(done_run.replayed.run_dir))
    assert len(run.rounds) == 4
    assert run.rounds[0].measured.valid.sum() == 12
    assert "MIT" in str(run.shape.attributes["source_licence"])
