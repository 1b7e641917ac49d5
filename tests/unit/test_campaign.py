"""Campaign files: defaults, and refusals that name file, key, value and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.agents.assemble import check, node_permit, radio_settings, transmit_permit
from testbed.agents.controller import execute, plan_run
from testbed.campaign import Campaign, load_campaign
from testbed.errors import AddressError, CampaignError, ModelError, TransmitRefused
from testbed.radio.guard import check_transmit

DEMO = Path(__file__).parents[2] / "measurements" / "demo" / "campaign.toml"


def write(folder: Path, text: str) -> Path:
    path = folder / "c.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_demo_file_is_the_built_in_demo() -> None:
    assert load_campaign(DEMO) == load_campaign(None)


def test_a_resolved_campaign_reads_back_the_same() -> None:
    campaign = load_campaign(DEMO, {"seed": 9, "schedule.scheduler": "top-2"})
    assert Campaign.from_text(campaign.text()) == campaign
    assert (campaign.seed, campaign.schedule.scheduler) == (9, "top-2")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sed = 1", ["sed: unknown key", "seed"]),
        ("[schedule]\nqoss = 1.0", ["schedule.qoss: unknown key", "qos", "importance"]),
        ("[schedule]\nqos = 1.5", ["schedule.qos = 1.5", "less than or equal to 1"]),
        ("[schedule]\nqos = nan", ["schedule.qos = nan"]),
        ("[schedule]\nhops = 3", ["schedule.hops = 3", "1 or 2"]),
        ("[nodes]\ncount = 1", ["nodes.count = 1", "greater than or equal to 2"]),
        ("[nodes]\ncount = 3", ["nodes.compute_energy_j has 4 values", "nodes.count = 3"]),
        ("[nodes]\ntokens = 'many'", ["nodes.tokens = 'many'", "integer"]),
        ("[schedule]\nmax_experts = 5", ["max_experts = 5", "nodes.count = 4"]),
        ("[grid]\npreset = 'huge'", ["grid.preset = 'huge'", "demo"]),
        ("[grid]\noccupied = 300", ["grid: occupied=300", "254"]),
        ("[grid]\nfft_size = 100", ["grid: fft_size=100", "multiple of 16"]),
        ("[channel]\nprofile = 'TDL-Z'", ["channel.profile = 'TDL-Z'", "TDL-A"]),
        ("[model]\nquantisation = 'int4'", ["model.quantisation = 'int4'", "float16"]),
        ("name = '../evil'", ["name = '../evil'"]),
        ("name = \n", ["TOML"]),
    ],
)
def test_refusals_name_file_key_value_and_what_is_allowed(tmp_path: Path, text: str, words: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(CampaignError) as refused:
        load_campaign(path)
    for word in [str(path), *words]:
        assert word in str(refused.value)


def test_an_unknown_radio_lists_the_forms(tmp_path: Path) -> None:
    with pytest.raises((CampaignError, AddressError), match="sim:"):
        load_campaign(write(tmp_path, "[radio]\naddress = 'bladerf:'"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CampaignError, match=r"nowhere\.toml: no such"):
        load_campaign(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"nodes.count": 9, "nodes.compute_energy_j": 1e-10}, "exceeds the 4 experts"),
        ({"nodes.context": 4000}, "positions of model"),
        ({"schedule.scheduler": "magic"}, "is unknown; choose one of: jesa"),
        ({"schedule.scheduler": "lb"}, "cannot be run on the air"),
        ({"schedule.scheduler": "top-2", "schedule.max_experts": 1}, "max_experts = 1 is too few"),
    ],
)
def test_combinations_that_cannot_work_are_refused(overrides: dict[str, object], words: str) -> None:
    with pytest.raises(CampaignError, match=words):
        check(load_campaign(None, overrides))


def test_a_missing_model_is_named() -> None:
    with pytest.raises(ModelError, match="nobody"):
        check(load_campaign(None, {"model.name": "nobody.safetensors"}))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"nodes.question": 8, "passes": 6}, "passes = 6 must be a multiple of 4"),
        ({"nodes.question": 17, "passes": 4}, "nodes.question = 17 exceeds nodes.tokens = 16"),
    ],
)
def test_questions_come_in_fours_and_fit(overrides: dict[str, object], words: str) -> None:
    with pytest.raises(CampaignError, match=words):
        load_campaign(None, overrides)


PLUTOS = [f"pluto:ip:10.0.0.{k}" for k in range(4)]
PERMITTED: dict[str, object] = {"radio.permit": {"bands_hz": [[2.4e9, 2.5e9]], "cabled": True}}


@pytest.mark.parametrize(
    "radio",
    [
        {"address": "replay:x", "addresses": PLUTOS},
        {"address": "virtual-pluto", "addresses": PLUTOS},
        {"addresses": [f"replay:{k}" for k in range(4)]},
        {"addresses": [*PLUTOS[:3], "virtual-pluto"]},
        {"addresses": [*PLUTOS[:3], "sim:"]},
    ],
)
def test_what_is_simulated_stands_for_all_radios(radio: dict[str, object]) -> None:
    with pytest.raises(CampaignError, match=r"stands for all radios: name it as radio\.address"):
        load_campaign(None, {f"radio.{key}": value for key, value in radio.items()})


@pytest.mark.parametrize(
    ("addresses", "words"),
    [
        (PLUTOS[:3], "names 3 radios for nodes.count = 4"),
        ([*PLUTOS, PLUTOS[1]], r"names pluto:ip:10\.0\.0\.1 more than once: a radio serves one node"),
        ([*PLUTOS[:3], PLUTOS[0]], r"names pluto:ip:10\.0\.0\.0 more than once"),
    ],
)
def test_each_node_has_a_radio_of_its_own(addresses: list[str], words: str) -> None:
    with pytest.raises(CampaignError, match=words):
        load_campaign(None, {"radio.addresses": addresses})


def test_only_units_that_a_run_starts_itself_need_no_permit() -> None:
    virtual = load_campaign(None, {"radio.address": "virtual-pluto"})
    check_transmit(node_permit(virtual), radio_settings(virtual))
    with pytest.raises(TransmitRefused):  # what `doctor` and `calibrate` are pointed at may be real
        check_transmit(transmit_permit(virtual), radio_settings(virtual))
    real = load_campaign(None, PERMITTED | {"radio.addresses": PLUTOS})
    assert node_permit(real) == transmit_permit(real)


def test_a_run_on_real_radios_is_refused_before_it_starts_unless_they_may_transmit(tmp_path: Path) -> None:
    silent = load_campaign(None, {"radio.addresses": PLUTOS})
    plan = plan_run(silent, tmp_path, in_process=False)
    assert any("will not transmit" in note for note in plan.notes)
    with pytest.raises(CampaignError, match=r"radio\.permit: no transmit band is named"):
        execute(plan, ["test"], lambda record: None)
    assert not any(tmp_path.iterdir())
    permitted = plan_run(load_campaign(None, PERMITTED | {"radio.addresses": PLUTOS}), tmp_path, in_process=False)
    assert not any("will not transmit" in note for note in permitted.notes)


@pytest.mark.parametrize("radio", [{"radio.addresses": PLUTOS}, {"radio.address": "virtual-pluto"}])
def test_real_radios_are_not_simulated_in_one_process_instead(radio: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(CampaignError, match="in one process radios are sim: or replay:"):
        plan_run(load_campaign(None, PERMITTED | radio), tmp_path, in_process=True)
