"""Other people's CSI through the scheduler: recordings become the links of K nodes, and a campaign runs on them.

No public recording holds several links at one time. Which packets stand for which link is a rule (`--as-links`); it
is written into the new record, with a warning. Only |H|² of each tone counts: phases of different packets have nothing
in common. Subcarriers of the grid that were not measured (guard, null and pilot tones, and those between groups) get
the power between their measured neighbours.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from testbed.agents.assemble import check
from testbed.agents.replay import Replay, conduct_replay
from testbed.agents.timeline import Rule, blend, recorded_moment
from testbed.campaign import Campaign, load_campaign
from testbed.errors import RecordError
from testbed.ofdm.grid import Grid
from testbed.outcome import Measured
from testbed.record.folder import create_run
from testbed.record.foreign.importer import import_files
from testbed.record.foreign.links import Composition, is_composition
from testbed.units import from_db

DEFAULT_STEP_S = 0.1
KEPT = (
    "source_format", "source_sha256", "hardware", "composition", "warning", "remarks", "clock", "licence", "origin",
)  # fmt: skip
LEAST_TONES, PILOT_SHARE, PREFIX_SHARE = 24, 16, 4


class RecordedLinks:
    """Links of a composition on the grid of a campaign; implements `testbed.agents.replay.Channels`.

    Args:
        links: the composition, open.
        grid: whose subcarriers are asked for.
        rule: with a step.
        noise: noise variance of a tone where the recording does not tell it; None = it does.
    """

    def __init__(self, links: Composition, grid: Grid, rule: Rule, noise: float | None) -> None:
        self._links, self._rule, self._noise = links, rule, noise
        self._tones = links.frequency_hz[links.used]
        self._wanted = grid.frequency_hz
        self._near = np.abs(self._tones[:, None] - self._wanted).argmin(axis=0)

    def round(self, number: int) -> Measured | None:
        """Every link's packet at the round's moment, or between two."""
        moment = recorded_moment(self._links.time_s, number, self._rule)
        if moment is None:
            return None
        K, U = self._links.nodes, self._wanted.size
        h, noise = np.zeros((K, K, U), np.complex64), np.zeros((K, K, U), np.float32)
        valid = np.zeros((K, K), np.bool_)
        for at, series in self._links.links.items():
            if series.rows.size:
                found = blend(series.time_s, moment, self._rule.between)
                rows = series.rows[found.earlier], series.rows[found.later]
                h[at], noise[at] = self._between(series.column, rows, found.share)
                valid[at] = True
        power = h.real**2 + h.imag**2
        snr = np.divide(power, noise, out=np.zeros_like(power), where=noise > 0)
        nothing = np.zeros((K, K))
        return Measured(h, noise, snr, valid, nothing, nothing, np.zeros((K, K), np.bool_))

    def _between(
        self, column: int, rows: tuple[np.int64, np.int64], share: float
    ) -> tuple[NDArray[np.complex64], float]:
        """(U,) channel with the power between two packets and the phase of the earlier; noise variance."""
        one, noise = self._on_grid(column, int(rows[0]))
        if share == 0.0:
            return one, noise
        other, later = self._on_grid(column, int(rows[1]))
        power = (1 - share) * np.abs(one) ** 2 + share * np.abs(other) ** 2
        h = np.sqrt(power) * np.exp(1j * np.angle(one))
        return h.astype(np.complex64), (1 - share) * noise + share * later

    def _on_grid(self, column: int, row: int) -> tuple[NDArray[np.complex64], float]:
        h, told = self._links.packet(column, row)
        h = h[self._links.used]
        power = np.interp(self._wanted, self._tones, np.abs(h.astype(complex)) ** 2)
        phase = np.exp(1j * np.angle(h[self._near]))
        return (np.sqrt(power) * phase).astype(np.complex64), told if self._noise is None else self._noise


def replay_csi(
    paths: Sequence[Path],
    out: Path,
    argv: Sequence[str],
    overrides: Mapping[str, object],
    *,
    as_links: str | None = None,
    campaign_file: Path | None = None,
    rule: Rule | None = None,
) -> Replay:
    """Runs a campaign on recordings of other tools and records it as a new run in `out`.

    Args:
        paths: recordings, or one composition that `testbed import --as-links` wrote.
        out: folder for the run.
        argv: command line, for the record.
        overrides: settings by dotted key.
        as_links: see `testbed.record.foreign.mapping`; None = `auto:K` with the campaign's K, for recordings.
        campaign_file: whose grid and centre must fit; None = the built-in one on the recording's own grid.
        rule: how moments between packets are filled; its step is 0.1 s unless stated.

    Raises:
        RecordError: unknown format, an impossible rule, or a recording whose grid, rate or centre does not fit.
        CampaignError: settings that cannot be run.
    """
    rule = rule or Rule()
    rule = Rule(rule.between, rule.at_end, rule.step_s or DEFAULT_STEP_S)
    campaign = load_campaign(campaign_file, overrides)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".replay-", dir=out) as scratch:
        composed = _composed(paths, as_links, campaign.nodes.count, Path(scratch, "channels.nc"))
        with Composition(composed) as links:
            campaign = _fitted(campaign, links, own_grid=campaign_file is None, chosen=overrides)
            model = check(campaign)
            noise = None if links.noise_known() else links.mean_power() / float(from_db(campaign.channel.snr_db))
            about = _about(links, paths, rule, campaign, noise)
            channels = RecordedLinks(links, campaign.ofdm_grid(), rule, noise)
            folder = create_run(out, campaign.name, campaign.seed, campaign.text(), argv, datetime.now(UTC))
            return conduct_replay(campaign, model, channels, folder, about, notes=_notes(about))


def _composed(paths: Sequence[Path], as_links: str | None, nodes: int, scratch: Path) -> Path:
    """The composition: the file itself if it is one, else made by the rule."""
    if len(paths) == 1 and is_composition(paths[0]):
        if as_links:
            raise RecordError(f"{paths[0]}: its links are stated in the file already; leave --as-links out")
        return paths[0]
    import_files(paths, scratch, as_links=as_links or f"auto:{nodes}")
    return scratch


def recorded_grid(links: Composition) -> dict[str, Any]:
    """The grid of a recording, as fields of a campaign: its spacing and band, a power of two of subcarriers.

    Raises:
        RecordError: its tones are no OFDM grid, or too few, or too many.
    """
    spacing = float(links.attributes.get("spacing_hz", 0.0))
    tones = links.frequency_hz[links.used]
    number = tones / spacing if spacing > 0 else np.full(tones.size, np.nan)
    if not tones.size or not np.allclose(number, np.round(number), atol=1e-3):
        raise RecordError(
            f"the recording's tones do not lie on a grid of {spacing:g} Hz, so no OFDM frame fits on them; "
            "replay channels of different carriers one by one"
        )
    low, high = int(np.round(number.min())), int(np.round(number.max()))
    size = 64
    while size // 2 - 1 < max(-low, high):
        size *= 2
    count = high - low + (0 if low <= 0 <= high else 1)
    if count < LEAST_TONES or size > 4096:
        raise RecordError(
            f"the recording's band of {count} subcarriers ({low} … {high}) does not make a grid; 24 … 4094 are needed"
        )
    return {
        "preset": "small", "fft_size": size, "cyclic_prefix": size // PREFIX_SHARE, "occupied": [low, high],
        "pilot_count": max(4, count // PILOT_SHARE), "sample_rate_hz": size * spacing,
    }  # fmt: skip


def _fitted(campaign: Campaign, links: Composition, own_grid: bool, chosen: Mapping[str, object]) -> Campaign:
    """The campaign on the recording's grid, or as it is when the recording fits it."""
    nodes = _nodes(campaign, links.nodes, own_grid)
    center = float(links.attributes.get("center_hz", np.nan))
    if own_grid:
        table: dict[str, object] = {f"grid.{name}": value for name, value in recorded_grid(links).items()}
        table |= {"radio.centre_hz": center} if np.isfinite(center) else {}
        return campaign.with_overrides({**nodes, **table, **chosen})
    _check_fit(campaign, links, center)
    return campaign.with_overrides(nodes)


def _nodes(campaign: Campaign, count: int, own: bool) -> dict[str, object]:
    if campaign.nodes.count == count:
        return {}
    if not own:
        raise RecordError(f"the links are of {count} nodes, the campaign has nodes.count = {campaign.nodes.count}")
    prices = campaign.compute_energy_j()
    return {
        "nodes.count": count,
        "nodes.compute_energy_j": [prices[n % len(prices)] for n in range(count)],
        "schedule.max_experts": min(campaign.schedule.max_experts, count),
    }


def _check_fit(campaign: Campaign, links: Composition, center: float) -> None:
    """Raises RecordError: the recording's spacing, band or centre is not the campaign's."""
    grid, spacing = campaign.ofdm_grid(), float(links.attributes.get("spacing_hz", 0.0))
    if abs(grid.spacing_hz - spacing) > 1e-6 * spacing:
        raise RecordError(
            f"grid: subcarriers {grid.spacing_hz:g} Hz apart ({grid.sample_rate_hz:g} samples/s), in the recording "
            f"{spacing:g} Hz; take sample_rate_hz = {spacing * grid.fft_size:g}, or leave --campaign out"
        )
    tones = links.frequency_hz[links.used]
    low, high = float(grid.frequency_hz[0]), float(grid.frequency_hz[-1])
    if low < tones[0] - spacing / 2 or high > tones[-1] + spacing / 2:
        raise RecordError(
            f"grid.occupied: {low:g} … {high:g} Hz from the centre, the recording holds "
            f"{tones[0]:g} … {tones[-1]:g} Hz; take a narrower band"
        )
    if np.isfinite(center) and abs(center - campaign.radio.centre_hz) > spacing / 2:
        raise RecordError(
            f"radio.centre_hz = {campaign.radio.centre_hz:g}, the recording was made at {center:g}; "
            "set the campaign to it, or leave --campaign out"
        )


def _about(
    links: Composition, paths: Sequence[Path], rule: Rule, campaign: Campaign, noise: float | None
) -> dict[str, str | int | float]:
    """Attributes of the new recording: what its channels are made of."""
    told = links.attributes
    grid = campaign.ofdm_grid()
    measured = np.isin(np.round(grid.frequency_hz), np.round(links.frequency_hz[links.used]))
    mean = f"mean set to channel.snr_db = {campaign.channel.snr_db:g}, for the recording does not tell the noise"
    snr = "as recorded" if noise is None else mean
    named = {f"source_{name.removeprefix('source_')}": told[name] for name in KEPT if name in told}
    return {
        "radio": f"replay:{' '.join(str(path) for path in paths)}",
        "amplitude_reference": str(told.get("amplitude_reference", "unknown")),
        "source_snr": snr,
        "source_subcarriers_between_measured_ones": int((~measured).sum()),
        **named,
        **rule.described(),
    }


def _notes(about: Mapping[str, str | int | float]) -> tuple[str, ...]:
    """What a person should know before trusting the figures."""
    told = [f"warning: {about['source_warning']}"] if about.get("source_warning") else []
    told += [f"link {line}" for line in str(about.get("source_composition", "")).split("\n") if line]
    filled = about["source_subcarriers_between_measured_ones"]
    return (*told, f"SNR: {about['source_snr']}; {filled} subcarriers between measured ones")
