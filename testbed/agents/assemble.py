"""From a campaign to the parts of a run: settings, air, nodes.

The same parts serve a run in one process and one in many; only who holds them differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from testbed.campaign import VIRTUAL, Campaign
from testbed.errors import CampaignError, TransmitRefused
from testbed.experts.model import Model, load_model, part_for
from testbed.experts.payload import payload_bytes
from testbed.experts.text import CHOICES, draw_passages, draw_questions
from testbed.node import LocalNode
from testbed.ofdm.grid import Grid
from testbed.plan import RoundSettings
from testbed.radio.air import AirSettings, thermal_noise_dbm
from testbed.radio.base import Radio, RadioSettings
from testbed.radio.guard import TransmitPermit, check_transmit
from testbed.radio.tape import Informed, nobody
from testbed.schedule.policy import LEAST_EXPERTS, NOT_RUNNABLE, POLICIES
from testbed.units import db, dbm_to_w
from testbed.worker import Shelf, Worker, WorkerSettings

CHECKSUM_BITS = 32
VIRTUAL_AIR = TransmitPermit(bands_hz=((0.0, 1e12),), cabled=True, highest_gain_db=0.0)
"""Nothing is radiated there."""


def check(campaign: Campaign) -> Model:
    """The model of a campaign that can be run.

    Raises:
        CampaignError: it cannot; the sentence names key, value and what is allowed.
        ModelError: no such model.
    """
    name = campaign.schedule.scheduler
    runnable = [other for other in POLICIES if other not in NOT_RUNNABLE]
    if name not in runnable:
        why = "cannot be run on the air" if name in NOT_RUNNABLE else "is unknown"
        raise CampaignError(f"schedule.scheduler = {name!r} {why}; choose one of: {', '.join(runnable)}")
    if campaign.schedule.max_experts < (least := LEAST_EXPERTS.get(name, 1)):
        raise CampaignError(
            f"schedule.max_experts = {campaign.schedule.max_experts} is too few for schedule.scheduler = {name!r}, "
            f"which takes {least} a token; raise it, or choose 'top-k'"
        )
    model = load_model(campaign.model.name)
    K, M = campaign.nodes.count, campaign.ofdm_grid().data.size
    if model.experts < K:
        raise CampaignError(f"nodes.count = {K} exceeds the {model.experts} experts of model {model.name!r}")
    positions = campaign.nodes.context + campaign.nodes.tokens
    if positions > model.context:
        raise CampaignError(
            f"nodes.context + nodes.tokens = {positions} exceeds the {model.context} positions of model {model.name!r}"
        )
    if M < 1:
        raise CampaignError("the grid leaves no data subcarrier")
    campaign.importance_by_layer(model.layers)
    return model


def forbidden(campaign: Campaign) -> str | None:
    """Why the real radios of a campaign will not transmit; None where they may, or where none is real."""
    if campaign.radio.addresses is None:
        return None
    try:
        check_transmit(transmit_permit(campaign), radio_settings(campaign))
    except TransmitRefused as error:
        return f"radio.permit: {error}"
    return None


def notes(campaign: Campaign, model: Model) -> list[str]:
    """What a person should know before the run, in sentences."""
    K, M = campaign.nodes.count, campaign.ofdm_grid().data.size
    links, found = K * (K - 1), []
    if links > M:
        found.append(f"{links} directed links share {M} data subcarriers: in a phase at most {M} links can be served")
    if model.experts > K:
        found.append(f"nodes hold {K} of the model's {model.experts} experts; the gate chooses among these alone")
    if words := forbidden(campaign):
        found.append(f"its radios will not transmit: {words}")
    return found


def worker(campaign: Campaign, model: Model, nodes: Sequence[int], shelf: Shelf | None = None) -> Worker:
    """The model's part of `nodes`."""
    settings = WorkerSettings(
        quantisation=campaign.model.quantisation,
        temperature=campaign.model.temperature or model.temperature,
        experts=campaign.nodes.count,
    )
    texts = np.stack([passages(campaign, model, k) for k in nodes])
    return Worker(nodes, [part_for(model, k) for k in nodes], settings, texts, campaign.nodes.context, shelf)


def round_settings(campaign: Campaign, model: Model) -> RoundSettings:
    """What every round of the run needs."""
    grid, schedule = campaign.ofdm_grid(), campaign.schedule
    payload_bits = 8 * payload_bytes(model.width, campaign.model.quantisation) + CHECKSUM_BITS
    return RoundSettings(
        grid=grid,
        scheduler=schedule.scheduler,
        z=schedule.qos,
        gamma=campaign.importance_by_layer(model.layers),
        max_experts=schedule.max_experts,
        hops=schedule.hops,
        rate=schedule.rate,
        payload_bits=payload_bits,
        tx_power_w=float(dbm_to_w(subcarrier_dbm(campaign, grid))),
        compute_energy_j=np.array(campaign.compute_energy_j()),
        attempts=campaign.transmission.attempts,
        margin_db=campaign.transmission.margin_db,
        fill_energy_factor=schedule.fill_energy_factor,
        seed=campaign.seed,
    )


def radio_settings(campaign: Campaign) -> RadioSettings:
    """How every radio is tuned."""
    return RadioSettings(
        sample_rate_hz=campaign.ofdm_grid().sample_rate_hz,
        centre_hz=campaign.radio.centre_hz,
        transmit_gain_db=campaign.radio.transmit_gain_db,
        receive_gain_db=campaign.radio.receive_gain_db,
    )


def subcarrier_dbm(campaign: Campaign, grid: Grid) -> float:
    """Transmit power of one subcarrier: the converter's full scale, the gain, and the grid's fixed level."""
    level = float(db(grid.amplitude**2))
    return campaign.radio.full_scale_dbm + campaign.radio.transmit_gain_db + level


def transmit_permit(campaign: Campaign) -> TransmitPermit:
    """What the campaign allows real radios to transmit, around the band that its grid occupies."""
    grid, radio = campaign.ofdm_grid(), campaign.radio
    permit = TransmitPermit(**radio.permit.model_dump(), full_scale_dbm=radio.full_scale_dbm)
    occupied_hz = float((np.abs(grid.offsets).max() * 2 + 1) * grid.spacing_hz)
    return replace(permit, bands_hz=tuple(permit.bands_hz), occupied_hz=occupied_hz)


def node_permit(campaign: Campaign) -> TransmitPermit:
    """What the nodes of a run may transmit: as the campaign says, and anything where the run starts virtual units."""
    return VIRTUAL_AIR if campaign.radio.address == VIRTUAL else transmit_permit(campaign)


def air_settings(campaign: Campaign) -> AirSettings:
    """The simulated air, with path gains that give the campaign's mean SNR per subcarrier."""
    grid, table, K = campaign.ofdm_grid(), campaign.channel, campaign.nodes.count
    rng = np.random.default_rng([campaign.seed, 7])
    noise_dbm = thermal_noise_dbm(grid.spacing_hz) + table.noise_figure_db
    mean_gain_db = table.snr_db + noise_dbm - subcarrier_dbm(campaign, grid)
    shadowing = rng.normal(0.0, table.shadowing_db, (K, K))
    if table.reciprocal:
        shadowing = np.triu(shadowing) + np.triu(shadowing, 1).T
    ppm = rng.uniform(-table.clock_ppm, table.clock_ppm, K)
    return AirSettings(
        profile=table.profile,
        delay_spread_s=table.delay_spread_s,
        doppler_hz=table.doppler_hz,
        path_gain_db=tuple(tuple(float(g) for g in row) for row in mean_gain_db + shadowing),
        clock_ppm=tuple(float(p) for p in ppm),
        noise_figure_db=table.noise_figure_db,
        full_scale_dbm=campaign.radio.full_scale_dbm,
        reciprocal=table.reciprocal,
        correlation=table.correlation,
        seed=campaign.seed,
    )


def passages(campaign: Campaign, model: Model, node: int) -> NDArray[np.uint8]:
    """(passes, context + tokens + 1) held-out bytes of the node's domain, its own expert's unless shifted."""
    length = campaign.nodes.context + campaign.nodes.tokens + 1
    rng = np.random.default_rng([campaign.seed, 11, node])
    domain = model.domains[(node + campaign.nodes.domain_shift) % len(model.domains)]
    if question := campaign.nodes.question:
        return draw_questions(domain, campaign.passes // CHOICES, length, question, rng)
    return draw_passages(domain, campaign.passes, length, rng)


def local_node(campaign: Campaign, model: Model, index: int, radio: Radio, shelf: Shelf | None = None) -> LocalNode:
    """Node `index` on an open radio, which is tuned here, and told what it is used for if it wants to know.

    `shelf` keeps its tokens between layers.
    """
    radio.configure(radio_settings(campaign))
    return LocalNode(
        worker(campaign, model, [index], shelf),
        radio,
        campaign.ofdm_grid(),
        campaign.transmission.repetitions,
        radio.about if isinstance(radio, Informed) else nobody,
    )
