import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import softmax

from testbed.errors import ModelError
from testbed.experts import layers
from testbed.experts.model import part_for
from tests.reference import experts_slow
from tests.reference.experts_tiny import tiny_model

MODEL = tiny_model()


@pytest.fixture
def states(rng):
    return rng.standard_normal((9, MODEL.width)).astype(np.float32)


def test_attention_is_the_textbooks(states):
    h, cache = layers.attend(MODEL, 1, states)
    assert h == pytest.approx(np.array(experts_slow.attend(MODEL, 1, list(states))), abs=1e-5)
    assert h.dtype == np.float32
    assert cache.length == len(states)


def test_a_long_passage_is_the_textbooks_too(rng):
    x = rng.standard_normal((layers._BLOCK + 9, MODEL.width)).astype(np.float32)
    h, cache = layers.attend(MODEL, 0, x[:7])
    rest, _ = layers.attend(MODEL, 0, x[7:], cache)
    expected = np.array(experts_slow.attend(MODEL, 0, list(x)))
    assert np.concatenate((h, rest)) == pytest.approx(expected, abs=1e-5)
    assert layers.attend(MODEL, 0, x)[0] == pytest.approx(expected, abs=1e-5)


@given(cut=st.integers(1, 8), step=st.integers(1, 4))
def test_a_passage_piece_by_piece_is_the_passage(cut, step):
    x = np.random.default_rng(cut).standard_normal((9, MODEL.width)).astype(np.float32)
    whole, _ = layers.attend(MODEL, 0, x)
    first, cache = layers.attend(MODEL, 0, x[:cut])
    pieces = [first]
    for start in range(cut, len(x), step):
        piece, cache = layers.attend(MODEL, 0, x[start : start + step], cache)
        pieces.append(piece)
    assert np.concatenate(pieces) == pytest.approx(whole, abs=1e-5)
    assert cache.length == len(x)


def test_no_token_sees_its_future(states):
    changed = states.copy()
    changed[5:] += 1
    before, after = (layers.attend(MODEL, 0, x)[0] for x in (states, changed))
    assert after[:5] == pytest.approx(before[:5], abs=1e-6)
    assert (np.abs(after[5:] - before[5:]).max(axis=1) > 1e-3).all()


def test_a_batch_of_passages_is_each_passage(rng):
    x = rng.standard_normal((3, 6, MODEL.width)).astype(np.float32)
    together, _ = layers.attend(MODEL, 0, x)
    assert together == pytest.approx(np.stack([layers.attend(MODEL, 0, one)[0] for one in x]), abs=1e-5)


def test_what_crosses_the_air_has_unit_mean_square(states):
    u = layers.expert_input(MODEL, 0, 37 * states)
    assert np.mean(u**2, axis=1) == pytest.approx(1, abs=1e-4)
    assert u == pytest.approx(np.array([experts_slow.unit(37 * row) for row in states]), abs=1e-5)


@given(temperature=st.floats(0.05, 50))
def test_scores_are_a_softmax(temperature):
    u = np.random.default_rng(3).standard_normal((7, MODEL.width)).astype(np.float32)
    scores = layers.gate_scores(MODEL, 1, u, temperature)
    logits = u.astype(float) @ MODEL.gate_weight[1].astype(float) + MODEL.gate_bias[1]
    assert scores.dtype == np.float64
    assert (scores >= 0).all()
    assert np.abs(scores.sum(axis=1) - 1).max() <= 1e-9
    # log-odds of any two experts are their logits' difference over the temperature
    odds = np.log(scores[:, 0] / scores[:, 1])
    assert odds == pytest.approx((logits[:, 0] - logits[:, 1]) / temperature, rel=1e-3, abs=1e-3)


def test_extreme_logits_stay_finite():
    u = np.full((1, MODEL.width), 1e4, dtype=np.float32)
    scores = layers.gate_scores(MODEL, 0, u, 0.01)
    assert np.isfinite(scores).all()
    assert scores.sum() == pytest.approx(1)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_an_impossible_temperature_is_refused(states, temperature):
    with pytest.raises(ModelError, match="temperature"):
        layers.gate_scores(MODEL, 0, states, temperature)


@pytest.mark.parametrize("expert", range(MODEL.experts))
def test_an_expert_is_the_textbooks_wherever_it_is_held(states, expert):
    expected = np.array([experts_slow.expert(MODEL, 1, expert, row) for row in states])
    for holder in (MODEL, part_for(MODEL, expert)):
        assert layers.apply_expert(holder, 1, expert, states) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_an_expert_of_another_node_cannot_be_applied(states):
    with pytest.raises(ModelError, match="expert: 0 is not held here"):
        layers.apply_expert(part_for(MODEL, 2), 0, 0, states)


def test_an_expert_works_on_no_states_at_all():
    assert layers.apply_expert(MODEL, 0, 0, np.zeros((0, MODEL.width), np.float32)).shape == (0, MODEL.width)


@given(
    delivered=arrays.arrays(bool, (5, 3)),
    renormalise=st.booleans(),
    scores=arrays.arrays(np.float64, (5, 3), elements=st.floats(0.01, 1)),
)
def test_aggregation_token_by_token(delivered, renormalise, scores):
    rng = np.random.default_rng(0)
    h = rng.standard_normal((5, 8)).astype(np.float32)
    outputs = rng.standard_normal((5, 3, 8)).astype(np.float32)
    outputs[~delivered] = np.nan  # what did not arrive must not count
    x = layers.aggregate(h, outputs, scores, delivered, renormalise)
    for n in range(5):
        arrived = [k for k in range(3) if delivered[n, k]]
        total = sum(scores[n, k] for k in arrived) if renormalise else 1.0
        mixed = sum((scores[n, k] / total * outputs[n, k].astype(float) for k in arrived), np.zeros(8))
        assert x[n] == pytest.approx(h[n] + mixed, abs=1e-5)
    assert x.dtype == np.float32


def test_scores_of_nothing_leave_the_residual():
    h = np.ones((1, 4), np.float32)
    outputs = np.ones((1, 2, 4), np.float32)
    assert (layers.aggregate(h, outputs, np.zeros((1, 2)), np.ones((1, 2), bool)) == h).all()


def test_embedding_is_the_row_of_the_byte():
    tokens = np.array([[0, 255], [65, 65]], dtype=np.uint8)
    assert (layers.embed(MODEL, tokens)[1, 0] == MODEL.embedding[65]).all()
    assert layers.embed(MODEL, tokens).shape == (2, 2, MODEL.width)


@pytest.mark.parametrize(("first", "count"), [(0, 65), (60, 5), (-1, 3)])
def test_a_passage_longer_than_the_context_is_refused(first, count):
    with pytest.raises(ModelError, match="context"):
        layers.embed(MODEL, np.zeros(count, np.uint8), first)


def test_only_bytes_are_tokens():
    with pytest.raises(ModelError, match="int64 is not uint8"):
        layers.embed(MODEL, np.zeros(3, np.int64))


def test_prediction_is_the_textbooks(states):
    expected = np.array([experts_slow.unit(row) @ MODEL.head.astype(float) for row in states])
    assert layers.predict(MODEL, states) == pytest.approx(expected, abs=1e-4)


def test_surprise_is_the_logarithm_of_the_softmax():
    rng = np.random.default_rng(2)
    logits = (30 * rng.standard_normal((2, 5, 256))).astype(np.float32)
    target = rng.integers(0, 256, (2, 5), dtype=np.uint8)
    expected = -np.log(softmax(logits.astype(np.float64), axis=-1))
    got = layers.surprise(logits, target)
    assert got == pytest.approx(np.take_along_axis(expected, target[..., None].astype(int), -1)[..., 0], rel=1e-5)
