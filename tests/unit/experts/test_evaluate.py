import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from testbed.errors import ModelError
from testbed.experts import evaluate
from testbed.experts.central import run_centrally
from tests.reference.experts_tiny import tiny_model

MODEL = tiny_model()
SCORES = arrays.arrays(np.float64, (6, 4), elements=st.floats(0.01, 1)).map(
    lambda raw: raw / raw.sum(axis=1, keepdims=True)
)


@pytest.fixture
def passages(rng):
    return rng.integers(0, 256, (3, 4, 10), dtype=np.uint8)


def test_accuracy_is_the_share_of_right_bytes(passages):
    result = evaluate.outcome(MODEL, passages, evaluate.top(2))
    guess = run_centrally(MODEL, passages.reshape(12, 10), top_k=2).argmax(axis=-1)
    right = (guess[:, :-1] == passages.reshape(12, 10)[:, 1:]).reshape(3, -1)
    assert result.accuracy == pytest.approx(right.mean(axis=1))
    assert result.experts == 2
    assert result.counts.shape == (2, 3, 3)
    assert (result.counts.sum(axis=2) == 40).all()


def test_a_state_kept_at_home_is_not_sent(passages):
    own = evaluate.outcome(MODEL, passages, lambda _, s: np.arange(s.shape[1]) == np.zeros((len(s), 1)))
    assert (own.experts, own.sent) == (1, 0)
    gone = evaluate.outcome(MODEL, passages, evaluate.without_own(2))
    assert (gone.experts, gone.sent) == (2, 2)


def test_text_away_from_home_meets_another_expert_first(passages):
    first = evaluate.outcome(MODEL, passages, lambda _, s: np.eye(1, s.shape[1], dtype=bool).repeat(len(s), 0), away=1)
    moved = np.roll(passages, 1, axis=0)  # the same texts, each under the next domain
    home = evaluate.outcome(MODEL, moved, lambda _, s: np.eye(1, s.shape[1], dtype=bool).repeat(len(s), 0))
    assert np.roll(first.accuracy, 1) == pytest.approx(home.accuracy)
    assert (first.experts, first.sent) == (1, 0)


@given(scores=SCORES, level=st.floats(0.1, 1), most=st.integers(1, 3))
def test_fewest_sent_by_trying_every_set(scores, level, most):
    chosen = evaluate.fewest_sent(level, most)(0, scores)
    sets = [s for size in range(1, most + 1) for s in itertools.combinations(range(4), size)]
    for row, picked in zip(scores, chosen, strict=True):
        fit = [s for s in sets if row[list(s)].sum() >= level]
        if fit:
            assert row[picked].sum() >= level - 1e-12
            assert picked[1:].sum() == min(sum(k > 0 for k in s) for s in fit)
        else:
            assert row[picked].sum() == pytest.approx(np.sort(row)[-most:].sum())


def test_schemes_choose_what_they_say(rng):
    scores = rng.dirichlet(np.ones(4), 50)
    order = np.argsort(scores, axis=1)
    assert (np.take_along_axis(evaluate.lowest(2)(0, scores), order, 1)[:, :2]).all()
    rest = evaluate.without_own(1)(0, scores)
    assert (rest.argmax(axis=1) == 1 + scores[:, 1:].argmax(axis=1)).all()
    random = evaluate.at_random(2, rng)(0, np.repeat(scores, 40, axis=0))
    assert (random.sum(axis=1) == 2).all()
    assert random.mean(axis=0) == pytest.approx(0.5, abs=0.06)


def test_information_of_the_known_cases():
    tied, free = np.eye(4, dtype=int) * 7, np.ones((4, 4), dtype=int)
    halves = np.kron(np.eye(2, dtype=int), np.ones((2, 2), dtype=int))
    assert evaluate.information(np.stack((tied, free, halves))) == pytest.approx([2, 0, 1])


def test_windows_are_spread_over_all_slices():
    slices = [bytes([n]) * 45 for n in range(8)]
    made = evaluate.windows(slices, 10, 16)
    assert made.shape == (16, 10)
    assert sorted(set(made[:, 0])) == list(range(8))
    assert (made == made[:, :1]).all()  # none crosses from one slice to the next
    with pytest.raises(ModelError, match="holds 32 windows of 10 bytes, 33 asked for"):
        evaluate.windows(slices, 10, 33)


def test_the_temperature_kept_costs_no_accuracy(passages):
    chosen = evaluate.with_temperature(MODEL, passages)
    means = {
        value: evaluate.outcome(MODEL, passages, evaluate.top(2), value).accuracy.mean()
        for value in evaluate.TEMPERATURES
    }
    assert means[chosen.temperature] >= max(means.values()) - evaluate.TOLERANCE
    assert all(
        value <= chosen.temperature or mean < max(means.values()) - evaluate.TOLERANCE for value, mean in means.items()
    )


def test_a_report_names_every_domain_and_level(passages):
    text = evaluate.report(MODEL, passages)
    for word in (*MODEL.domains, "top-2", "random two", "level 0.95", "temperature 3", "bits"):
        assert word in text
