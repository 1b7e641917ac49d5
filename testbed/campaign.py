"""Campaign TOML → frozen values; the only reader of configuration.

Every table and key has a default, so an empty file is the demo campaign. Unknown keys are errors, and so are
combinations that cannot work; both are found before anything starts. `DESCRIPTION` of each key is its
docstring below and what `testbed config schema` prints.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self

import tomli_w
from pydantic import Field, ValidationError, model_validator

from testbed.errors import CampaignError, GridError
from testbed.experts.text import CHOICES
from testbed.ofdm.grid import PRESETS, Grid
from testbed.radio.open import check_address
from testbed.tables import Table, sentence

VIRTUAL = "virtual-pluto"
"""Radio address that starts virtual Plutos for the run and drives them as real ones."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
Decibel = Annotated[float, Field(ge=-200, le=200, allow_inf_nan=False)]


class ModelTable(Table):
    """The mixture of experts."""

    name: str = Field("demo", description="a shipped model, or the path of a safetensors file")
    temperature: Positive | None = Field(None, description="gate temperature; unset = the model card's")
    quantisation: Literal["float16", "int8"] = Field("int8", description="hidden states on the air")


class NodesTable(Table):
    """The edge nodes and what they are asked."""

    count: int = Field(4, ge=2, le=64, description="K: nodes, one expert each")
    tokens: int = Field(16, ge=1, le=4096, description="tokens a node")
    domain_shift: int = Field(0, ge=0, description="node k reads text of domain k + this; 0 = its own expert's")
    question: int = Field(
        0, ge=0, description="n > 0: passes come in fours, a passage with its last n bytes right and three times wrong"
    )
    context: int = Field(48, ge=0, le=4096, description="bytes before the tokens, read by the own expert")
    patience_s: Positive | None = Field(
        None, le=3600, description="a node that takes longer for a request is left out; unset = from earlier answers"
    )
    compute_energy_j: list[NonNegative] | NonNegative = Field(
        default_factory=lambda: [0.1e-9, 0.2e-9, 0.3e-9, 0.4e-9],
        description="energy of one token at each node; one number serves all",
    )


class GridTable(Table):
    """The OFDM grid: a preset, or fields that replace the preset's."""

    preset: str = Field("demo", description=f"one of {', '.join(PRESETS)}")
    fft_size: int | None = None
    cyclic_prefix: int | None = None
    occupied: int | tuple[int, int] | None = None
    pilot_count: int | None = None
    sample_rate_hz: Positive | None = None
    training_period: int | None = None


class PermitTable(Table):
    """What real radios may transmit; by default nothing. The law stays the question of who fills this in."""

    bands_hz: list[tuple[Positive, Positive]] = Field([], description="lowest and highest edge of each allowed band")
    cabled: bool = Field(False, description="cables and attenuators instead of antennas")
    licence: str = Field("", description="the words under which the signal may be radiated; recorded")
    highest_gain_db: float = Field(-10.0, ge=-89.75, le=0)
    longest_airtime_s: float = Field(60.0, gt=0, le=3600)
    antenna_gain_dbi: float = Field(0.0, ge=-50, le=50)
    highest_eirp_dbm: Decibel | None = None


class RadioTable(Table):
    """The radios."""

    address: str = Field("sim:", description="sim:, virtual-pluto, replay:RUN, or the address of a radio")
    addresses: list[str] | None = Field(None, description="one radio a node, instead of `address`")
    permit: PermitTable = PermitTable()
    centre_hz: Positive = 2.45e9
    transmit_gain_db: float = Field(-20.0, ge=-89.75, le=0)
    receive_gain_db: float = Field(45.0, ge=-3, le=71)
    full_scale_dbm: Decibel = Field(7.0, description="transmit power of a full-scale sample at gain 0")
    calibration: str = Field("measurements/calibration", description="folder of the Plutos' dated calibrations")
    record_iq: Literal["no", "ci16", "cf32"] = Field("no", description="record samples heard and sent, as SigMF")


class ChannelTable(Table):
    """The simulated air; real radios ignore it."""

    profile: Literal["TDL-A", "TDL-B", "TDL-C", "TDL-D", "TDL-E"] = "TDL-A"
    delay_spread_s: NonNegative = Field(100e-9, le=10e-6, description="rms delay spread")
    doppler_hz: NonNegative = Field(0.3, le=1000, description="largest Doppler shift")
    snr_db: Decibel = Field(25.0, description="mean SNR per subcarrier of an average link")
    shadowing_db: NonNegative = Field(3.0, le=30, description="standard deviation of link gains")
    clock_ppm: NonNegative = Field(10.0, le=100, description="each unit's clock error is within ±this")
    noise_figure_db: NonNegative = Field(8.0, le=60)
    reciprocal: bool = Field(False, description="i→j and j→i fade alike")
    correlation: float = Field(0.0, ge=0, le=1, description="share of fading power that all links have in common")


class ScheduleTable(Table):
    """How experts and subcarriers are chosen."""

    scheduler: str = Field("jesa", description="see `testbed schedulers`")
    qos: float = Field(1.0, gt=0, le=1, description="z: demanded sum of gate scores in layer 0")
    importance: list[Share] | Share = Field(
        0.8, description="γ0: layer l (from 1) demands z·γ0^l; a list gives γ of each layer instead"
    )
    max_experts: int = Field(2, ge=1, description="D: most experts a token may use")
    deadline_s: Positive | None = Field(
        None,
        le=3600,
        description="a scheduler that takes longer is replaced by a plain rule; unset = 30 s, the first time 300 s",
    )
    hops: Literal[1, 2] = Field(2, description="price the way back too (2), or the way out alone (1)")
    rate: Literal["mcs", "shannon"] = Field("mcs", description="rate of a subcarrier for the scheduler")
    fill_energy_factor: float = Field(
        1.5, ge=1, le=100, description="idle subcarriers shorten frames within this factor in energy; 1 = only for free"
    )


class TransmissionTable(Table):
    """How payload crosses the air."""

    attempts: int = Field(4, ge=1, le=100, description="transmissions of a block before it is given up")
    margin_db: float = Field(2.0, ge=0, le=30, description="SNR kept in hand by link adaptation")
    repetitions: int = Field(4, ge=1, le=64, description="sounding symbols averaged")


class Campaign(Table):
    """A whole campaign."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "demo"
    seed: int = Field(1, ge=0, lt=2**63)
    passes: int = Field(1, ge=1, description="batches of tokens sent through all layers")
    model: ModelTable = ModelTable()
    nodes: NodesTable = NodesTable()
    grid: GridTable = GridTable()
    radio: RadioTable = RadioTable()
    channel: ChannelTable = ChannelTable()
    schedule: ScheduleTable = ScheduleTable()
    transmission: TransmissionTable = TransmissionTable()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        prices = self.nodes.compute_energy_j
        if isinstance(prices, list) and len(prices) != self.nodes.count:
            raise ValueError(
                f"nodes.compute_energy_j has {len(prices)} values for nodes.count = {self.nodes.count}: "
                "give one for each node, or a single number"
            )
        if self.schedule.max_experts > self.nodes.count:
            raise ValueError(
                f"schedule.max_experts = {self.schedule.max_experts} exceeds nodes.count = {self.nodes.count}"
            )
        if self.nodes.question and self.passes % CHOICES:
            raise ValueError(f"passes = {self.passes} must be a multiple of {CHOICES}: nodes.question asks in fours")
        if self.nodes.question > self.nodes.tokens:
            raise ValueError(f"nodes.question = {self.nodes.question} exceeds nodes.tokens = {self.nodes.tokens}")
        self._check_radios()
        return self

    def _check_radios(self) -> None:
        radio = self.radio
        if radio.addresses is None:
            if radio.address != VIRTUAL:
                check_address(radio.address)
            if radio.address.startswith("pluto:"):
                raise ValueError(f"radio.address = {radio.address!r} is one radio: name one a node in radio.addresses")
            return
        if twice := sorted({address for address in radio.addresses if radio.addresses.count(address) > 1}):
            raise ValueError(f"radio.addresses names {twice[0]} more than once: a radio serves one node")
        if len(radio.addresses) != self.nodes.count:
            raise ValueError(
                f"radio.addresses names {len(radio.addresses)} radios for nodes.count = {self.nodes.count}"
            )
        one_each = [check_address(address) for address in radio.addresses if address != VIRTUAL]
        for address in [*radio.addresses, *([] if radio.address.startswith("sim:") else [radio.address])]:
            if address not in one_each or not address.startswith("pluto:"):
                raise ValueError(f"{address} stands for all radios: name it as radio.address, and no addresses")

    def compute_energy_j(self) -> list[float]:
        """(K,) joule a token."""
        prices = self.nodes.compute_energy_j
        return list(prices) if isinstance(prices, list) else [prices] * self.nodes.count

    def importance_by_layer(self, layers: int) -> tuple[float, ...]:
        """(L,) γ of each layer; CampaignError when a list has another length."""
        given = self.schedule.importance
        if isinstance(given, list):
            if len(given) != layers:
                raise CampaignError(
                    f"schedule.importance has {len(given)} values for a model of {layers} layers: "
                    "give one for each layer, or a single number"
                )
            return tuple(given)
        return tuple(given ** (layer + 1) for layer in range(layers))

    def ofdm_grid(self) -> Grid:
        """The grid this campaign asks for.

        Raises:
            CampaignError: no such preset, or an impossible grid.
        """
        table = self.grid
        if table.preset not in PRESETS:
            raise CampaignError(f"grid.preset = {table.preset!r} is not one of: {', '.join(PRESETS)}")
        own = table.model_dump(exclude={"preset"}, exclude_none=True)
        try:
            return replace(PRESETS[table.preset], **own)
        except GridError as error:
            raise CampaignError(f"grid: {error}") from error

    def text(self) -> str:
        """The resolved campaign, defaults included, as TOML that `from_text` reads back and `testbed run` runs."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    def with_overrides(self, overrides: Mapping[str, object]) -> Campaign:
        """This campaign with other values by dotted key; CampaignError when that cannot be run."""
        return _validated(tomllib.loads(self.text()), overrides, "campaign")

    @classmethod
    def from_text(cls, text: str) -> Campaign:
        """Reads what `text` wrote."""
        return cls.model_validate(tomllib.loads(text))


def load_campaign(path: Path | None, overrides: Mapping[str, object] | None = None) -> Campaign:
    """The campaign in `path` (TOML; None = all defaults), with `overrides` by dotted key on top.

    Raises:
        CampaignError: naming file, key, value and what is allowed.
    """
    return _validated(_read_toml(path) if path else {}, overrides or {}, str(path or "campaign"))


def schema() -> str:
    """JSON schema of a campaign file."""
    return json.dumps(Campaign.model_json_schema(), indent=2)


def _validated(tree: dict[str, object], overrides: Mapping[str, object], where: str) -> Campaign:
    for dotted, value in overrides.items():
        _set(tree, dotted, value)
    try:
        campaign = Campaign.model_validate(tree)
        campaign.ofdm_grid()
    except (ValidationError, CampaignError) as error:
        raise CampaignError(f"{where}: {_sentence(error)}") from error
    return campaign


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CampaignError(f"{path}: no such campaign file") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CampaignError(f"{path}: cannot be read as TOML: {error}") from error


def _set(tree: dict[str, object], dotted: str, value: object) -> None:
    *tables, key = dotted.split(".")
    for table in tables:
        inner = tree.setdefault(table, {})
        if not isinstance(inner, dict):
            raise CampaignError(f"{table} is a value, not a table: cannot set {dotted}")
        tree = inner
    tree[key] = value


def _sentence(error: ValidationError | CampaignError) -> str:
    return str(error) if isinstance(error, CampaignError) else sentence(error, Campaign)
