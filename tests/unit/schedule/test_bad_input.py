"""What is no problem is refused, and the message names the field, the place and the value."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from testbed.errors import ProblemError
from testbed.schedule.assign import assign_subcarriers
from testbed.schedule.candidates import candidate_lists
from testbed.schedule.jesa import jesa
from testbed.schedule.problem import Problem
from testbed.schedule.select import select_experts

NAN, INF = np.nan, np.inf
COST = np.array([[1.0, 2.0, 3.0], [2.0, 1.0, 3.0]])
SCORE = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": "abc"}, "score = 'abc' holds no real numbers"),
        ({"score": None}, "score = None holds no real numbers"),
        ({"score": SCORE + 0j}, "holds no real numbers"),
        ({"score": [[1, 2], [3]]}, "rows of different lengths"),
        ({"score": SCORE[0]}, r"score has shape \(3,\)"),
        ({"score": np.zeros((2, 0)), "energy_j": []}, r"score has shape \(2, 0\)"),
        ({"score": [[0.5, INF, 0.2]] * 2}, r"score\[0, 1\] = inf"),
        ({"energy_j": [1, NAN, 2]}, r"energy_j\[1\] = nan"),
        ({"energy_j": [1, 2]}, r"energy_j has shape \(2,\)"),
        ({"energy_j": 1.0}, r"energy_j has shape \(\)"),
        ({"energy_j": np.ones((2, 3)), "row": [0, 2]}, r"row\[1\] = 2"),
        ({"energy_j": np.ones((2, 3)), "row": [0, 0.5]}, r"row\[1\] = 0.5"),
        ({"energy_j": np.ones((2, 3)), "row": [0]}, r"row has shape \(1,\)"),
        ({"qos": -0.1}, "qos = -0.1"),
        ({"qos": [0.1, NAN]}, r"qos\[1\] = nan"),
        ({"max_experts": 2.0}, "max_experts = 2.0"),
        ({"max_experts": True}, "max_experts = True"),
        ({"node_limit": 0}, "node_limit = 0"),
        ({"gap": "small"}, "gap = 'small'"),
        ({"gap": NAN}, "gap = nan"),
        ({"method": ["table"]}, r"method = \['table'\]"),
        ({"bound": "tight"}, "bound = 'tight': choose one of both, lp"),
        (
            {"score": np.full((1, 13), 1 / 13), "energy_j": np.ones(13), "method": "table"},
            "method = 'table' with K = 13",
        ),
    ],
)
def test_selection(change, message):
    with pytest.raises(ProblemError, match=message):
        select_experts(**{"score": SCORE, "energy_j": [1.0, 2.0, 3.0], "qos": 0.6, "max_experts": 2, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cost": None}, "cost = None"),
        ({"cost": COST[0]}, r"cost has shape \(3,\)"),
        ({"weight": 1.0}, r"weight has shape \(\)"),
        ({"weight": "ab"}, "weight = 'ab'"),
        ({"candidates": 5}, "candidates = 5"),
        ({"candidates": candidate_lists(COST + 1)}, "cost is not the one"),
        ({"candidates": candidate_lists(COST[:, :2])}, "cost is not the one"),
    ],
)
def test_assignment(change, message):
    with pytest.raises(ProblemError, match=message):
        assign_subcarriers(**{"cost": COST, "weight": [1.0, 1.0], **change})


def given(**change):
    rates = np.random.default_rng(5).random((3, 3, 4)) * 1e6
    fields = {
        "score": SCORE,
        "source": [0, 2],
        "rate_bps": rates,
        "payload_bits": 1e4,
        "tx_power_w": 0.01,
        "compute_energy_j": [1e-4, 2e-4, 1e-4],
        "qos": 0.6,
        "max_experts": 2,
    }
    return Problem(**{**fields, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": np.ones((2, 3))}, r"score\[0\] sums to 3"),
        ({"score": [[1.5, -0.5, 0.0]] * 2}, r"score\[0, 1\] = -0.5"),
        ({"score": np.ones((2, 2)) / 2}, r"score has shape \(2, 2\); it must be \(N, 3\)"),
        ({"source": [0, 3]}, r"source\[1\] = 3"),
        ({"source": [0.0, 1.0]}, "type float64"),
        ({"source": [[0], [0, 1]]}, "source = "),
        ({"rate_bps": np.ones((3, 3))}, r"rate_bps has shape \(3, 3\)"),
        ({"rate_bps": np.ones((3, 3, 0))}, "at least one subcarrier"),
        ({"rate_bps": -np.ones((3, 3, 2))}, r"rate_bps\[0, 1, 0\] = -1.0"),
        ({"return_rate_bps": np.ones((2, 2, 4))}, r"return_rate_bps has shape \(2, 2, 4\); it must be \(3, 3, M\)"),
        ({"compute_energy_j": [0.0, NAN, 0.0]}, r"compute_energy_j\[1\] = nan"),
        ({"compute_energy_j": 1.0}, r"compute_energy_j has shape \(\)"),
        ({"payload_bits": 0}, "payload_bits = 0"),
        ({"payload_bits": True}, "payload_bits = True"),
        ({"tx_power_w": 1j}, "tx_power_w = 1j"),
        ({"qos": [0.1]}, r"qos has shape \(1,\)"),
        ({"max_experts": 1.5}, "max_experts = 1.5"),
    ],
)
def test_problem(change, message):
    with pytest.raises(ProblemError, match=message):
        given(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problem": 3}, "problem = 3"),
        ({"method": None}, "method = None"),
        ({"gap": 1}, "gap = 1"),
        ({"effort": NAN}, "effort = nan"),
        ({"previous": 3}, "previous = 3"),
    ],
)
def test_joint(change, message):
    with pytest.raises(ProblemError, match=message):
        jesa(**{"problem": given(), **change})


@pytest.mark.parametrize("kind", [np.float32, int, np.asfortranarray, lambda a: np.repeat(a, 2, -1)[..., ::2]])
def test_other_layouts_and_types_change_nothing(kind):
    make = kind if callable(kind) and not isinstance(kind, type) else lambda a: np.asarray(a).astype(kind)
    cost, score = make(COST), make(np.eye(3)[[0, 2]])
    assert assign_subcarriers(cost, make(np.ones(2))).total == 2.0
    assert assign_subcarriers(cost, make(np.ones(2)), candidates=candidate_lists(cost)).total == 2.0
    assert select_experts(score, make(np.array([1.0, 2.0, 3.0])), 1.0, 1).energy_j.tolist() == [1.0, 3.0]
    rates = make(np.round(np.random.default_rng(5).random((3, 3, 4)) * 1e6))
    exact = np.asarray(rates, dtype=float).copy()
    one, other = jesa(given(score=score, rate_bps=rates)), jesa(given(score=np.eye(3)[[0, 2]], rate_bps=exact))
    assert one.total_energy_j == pytest.approx(other.total_energy_j, rel=1e-6)


def test_an_allocation_of_another_width_or_of_nonsense_is_only_a_start():
    problem = given()
    decision = jesa(problem)
    for held in (np.full((3, 3), -7), np.zeros((3, 3), np.int32)):
        for method in ("full", "alternate"):
            again = jesa(problem, method=method, previous=replace(decision, subcarrier=held))
            assert again.total_energy_j == pytest.approx(decision.total_energy_j, rel=1e-9)
