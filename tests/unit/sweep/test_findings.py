"""Statistics and verdicts on cells whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from testbed.errors import CampaignError
from testbed.sweep import findings
from testbed.sweep.along import air_finding, curve_finding, importance_finding, outage_finding
from testbed.sweep.cell import Figures
from testbed.sweep.stats import ALL_PARTS, Mean, accuracy, energy, energy_by_layer, mean, selection


def cell(hits: int, joule: float, *, overhead: float = 0.0, deeper: float = 1.0) -> Figures:
    """Two nodes, two layers, 100 tokens at each node; `joule` in the first layer, `deeper` times it in the second."""
    spread = [joule / 4 * 200, joule * deeper / 4 * 200]
    return {
        "domains": ["a", "b"],
        "hits": [hits, hits],
        "scored": [100, 100],
        "energy_j": {
            "computation": [2 * e for e in spread],
            "forward": spread,
            "return": spread,
            "overhead": [overhead * 200] * 2,
        },
        "bound_j": 0.0,
        "selected": [[[100, 0], [50, 50]], [[0, 100], [0, 100]]],
        "tokens": 400,
        "relaxed": 0,
        "lost": 0,
        "sent": 10,
        "failed": 1,
        "endings": {"OPTIMAL": 3, "WITHIN_GAP": 1},
    }


def scheme(hits: list[int], joule: float, **more: float) -> list[Figures]:
    return [cell(one, joule, **more) for one in hits]


BASE = [60, 55, 62, 58, 61, 57, 63, 59]


def test_intervals_are_student_s(rng: np.random.Generator) -> None:
    x = rng.normal(3, 2, 9)
    low, high = scipy_stats.t.interval(0.95, 8, x.mean(), scipy_stats.sem(x))
    got = mean(x)
    assert (got.value, got.low, got.high) == pytest.approx((x.mean(), low, high))
    with pytest.raises(CampaignError, match="no seed"):
        mean([])


def test_intervals_cover_as_often_as_they_say(rng: np.random.Generator) -> None:
    covered = [(m := mean(rng.normal(1, 5, 6))).low < 1 < m.high for _ in range(2000)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


def test_figures_a_token_and_layer() -> None:
    cells = scheme([60], 2e-9, overhead=1e-9, deeper=0.5)
    assert accuracy(cells) == pytest.approx([0.6])
    assert energy_by_layer(cells)[0] == pytest.approx([2e-9, 1e-9])
    assert energy(cells) == pytest.approx([1.5e-9])
    assert energy(cells, ALL_PARTS) == pytest.approx([2.5e-9])
    assert selection(cells)[0] == pytest.approx(np.array([[1, 0], [0.5, 0.5]]))


def groups(jesa_hits: list[int], jesa_joule: float) -> findings.Groups:
    return {
        ("Top-2", None): scheme(BASE, 2e-9),
        ("Top-1", None): scheme([h - 5 for h in BASE], 1e-9),
        ("H(0.5, 2)", None): scheme([h - 3 for h in BASE], 0.7e-9),
        ("H(0.7, 2)", None): scheme(BASE, 1.6e-9),
        ("JESA(0.7, 2)", None): scheme(jesa_hits, jesa_joule),
        ("JESA(0.9, 2)", None): scheme(BASE, 1.9e-9),
    }


@pytest.mark.parametrize(
    ("hits", "joule", "verdict"),
    [
        (BASE, 0.9e-9, "supported"),
        (BASE, 1.2e-9, "not supported"),
        ([h - 4 for h in BASE], 0.9e-9, "not supported"),
    ],
)
def test_the_headline_needs_both_energy_and_accuracy(hits: list[int], joule: float, verdict: str) -> None:
    found = findings.tradeoff_finding(groups(hits, joule))
    assert found.verdict.startswith(f"{verdict}:")
    assert len(found.table) == 6


def test_a_setting_that_only_got_lucky_on_the_odd_seeds_is_found_out() -> None:
    lucky = [h if k % 2 == 0 else h - 6 for k, h in enumerate(BASE)]
    found = findings.tradeoff_finding(groups(lucky, 0.9e-9))
    assert found.verdict.startswith("not supported")
    assert found.sentences[0].startswith("JESA(0.7, 2)")


def test_same_energy_is_interpolated() -> None:
    """Half-way in energy between 0.7 and 1.6 nJ, H reaches half-way between −3 and 0 points."""
    text = findings.beside_homogeneous(groups(BASE, 1.15e-9))
    assert "JESA(0.7, 2) 1.50 [1.50, 1.50]" in text


def test_a_verdict_between_the_claims_depends() -> None:
    equal = Mean(0.0, -0.001, 0.001)
    assert findings.headline_verdict(Mean(0.5, 0.4, 0.6), equal).startswith("depends")
    assert findings.headline_verdict(Mean(0.6, 0.55, 0.65), equal) == "supported"
    assert findings.headline_verdict(Mean(0.6, 0.55, 0.65), Mean(0, -0.006, 0.006)) == "not supported"


@pytest.mark.parametrize(("less", "verdict"), [((0, 0), "supported"), ((0, 3), "depends"), ((2, 3), "not supported")])
def test_equal_accuracy_needs_the_whole_interval(less: tuple[int, int], verdict: str) -> None:
    along: findings.Groups = {("Top-2", None): scheme(BASE, 2e-9)}
    for gamma, points in zip((0.7, 0.8), less, strict=True):
        along[f"JESA({gamma}, 2)", None] = scheme([h - points for h in BASE], 1e-9)
    assert findings.accuracy_finding(along).verdict.startswith(verdict)


def test_deeper_layers_cheaper_or_not() -> None:
    fading = {("Top-2", None): scheme(BASE, 2e-9), ("JESA(0.7, 2)", None): scheme(BASE, 1e-9, deeper=0.5)}
    assert findings.layers_finding(fading).verdict.startswith("supported")
    steady = {("Top-2", None): scheme(BASE, 2e-9), ("JESA(0.7, 2)", None): scheme(BASE, 1e-9, deeper=1.1)}
    assert findings.layers_finding(steady).verdict.startswith("not supported")


def test_along_an_axis() -> None:
    along: findings.Groups = {}
    for snr, joule in ((10, 1e-9), (20, 3e-9)):
        along["Top-2", snr] = scheme(BASE, 2e-9)
        along["JESA(0.7, 2)", snr] = scheme(BASE, joule)
    assert curve_finding(along).verdict.startswith("depends")


def test_importance_compares_first_and_last_layer() -> None:
    harmed: findings.Groups = {("Top-2", None): scheme(BASE, 2e-9)}
    for layer, points in enumerate((6, 3, 2, 1), start=1):
        noise = [points + (k % 2) for k in range(len(BASE))]
        harmed[f"layer {layer}", None] = scheme([h - n for h, n in zip(BASE, noise, strict=True)], 1.5e-9)
    harmed["falling QoS", None] = scheme([h - 1 for h in BASE], 1.1e-9)
    harmed["rising QoS", None] = scheme(BASE, 1e-9)
    found = importance_finding(harmed)
    assert found.verdict.startswith("supported")
    assert "layer 1: costs 6.50" in found.sentences[0]
    assert "-1.00 [-1.00, -1.00] points at 10.0 [10.0, 10.0] % more energy" in found.sentences[-1]
    turned = {(f"layer {5 - int(v[-1])}" if v.startswith("layer") else v, at): c for (v, at), c in harmed.items()}
    assert importance_finding(dict(sorted(turned.items()))).verdict.startswith("not supported")


@pytest.mark.parametrize(("spent", "verdict"), [(1.03, "supported"), (1.2, "not supported")])
def test_predictions_are_judged_on_waveforms_alone(spent: float, verdict: str) -> None:
    foreseen = {"predicted_j": [200e-9, 200e-9], "rounds": 2, "air_s": 1.0}
    real = [{**one, **foreseen} for one in scheme(BASE, spent * 1e-9)]
    drawn = [{**one, **foreseen} for one in scheme(BASE, 5e-9)]
    found = air_finding({("Top-2", "channel"): drawn, ("Top-2", "waveform"): real})
    assert found.verdict.startswith(f"{verdict}:")
    assert f"{100 * (spent - 1):.2f}" in found.sentences[0]
    assert found.table[0]["payload air time ms a round"].startswith("500 ")


@pytest.mark.parametrize(
    ("less", "verdict"), [([0] * 8, "supported"), ([2] * 8, "not supported"), ([8, -8] * 4, "not shown")]
)
def test_survivors(less: list[int], verdict: str) -> None:
    broken = [h - n for h, n in zip(BASE, less, strict=True)]
    four = [{**c, "hits": [*c["hits"], 0, 0], "scored": [100] * 4} for c in scheme(BASE, 1e-9)]  # type: ignore[misc]
    fewer = [{**c, "hits": [*c["hits"], 0, 0], "scored": [100] * 4} for c in scheme(broken, 1e-9)]  # type: ignore[misc]
    found = outage_finding({("Top-2, all nodes", None): four, ("Top-2, node 3 lost", None): fewer})
    assert found.verdict.startswith(verdict)


def test_optimality_is_said_of_searches_alone() -> None:
    assert findings.proven_optimal(scheme(BASE, 1e-9)) == "75.0"
    ruled = [{**one, "endings": {"RULE": 4}} for one in scheme(BASE, 1e-9)]
    assert findings.proven_optimal(ruled) == "–"
