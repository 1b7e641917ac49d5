import numpy as np
import pytest

from testbed.errors import ModelError
from testbed.experts import layers
from testbed.experts.central import best_experts, run_centrally, run_choosing
from tests.reference import experts_slow
from tests.reference.experts_tiny import tiny_model

MODEL = tiny_model(experts=4)


@pytest.fixture
def passages(rng):
    return rng.integers(0, 256, (3, 12), dtype=np.uint8)


@pytest.mark.parametrize("top_k", [1, 2, 4])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_logits_are_the_textbooks(passages, top_k, temperature):
    made = run_centrally(MODEL, passages[0], top_k=top_k, temperature=temperature)
    expected = experts_slow.logits(MODEL, passages[0], top_k, temperature)
    assert made == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_a_round_in_pieces_is_the_whole(passages):
    """Layer by layer with the parts that nodes hold, every expert applied to every token."""
    x = layers.embed(MODEL, passages[0])
    for layer in range(MODEL.layers):
        h, _ = layers.attend(MODEL, layer, x)
        u = layers.expert_input(MODEL, layer, h)
        scores = layers.gate_scores(MODEL, layer, u)
        outputs = np.stack([layers.apply_expert(MODEL, layer, k, u) for k in range(4)], axis=1)
        x = layers.aggregate(h, outputs, scores, best_experts(scores, 2))
    assert layers.predict(MODEL, x) == pytest.approx(run_centrally(MODEL, passages[0]), abs=1e-4)


def test_all_experts_is_top_k_of_all(passages):
    assert (run_centrally(MODEL, passages, top_k=None) == run_centrally(MODEL, passages, top_k=4)).all()


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_row_does_not_depend_on_its_batch(passages, batch):
    alone = np.stack([run_centrally(MODEL, one) for one in passages])
    assert run_centrally(MODEL, passages, batch=batch) == pytest.approx(alone, abs=1e-4)


def test_twice_the_same_is_bit_equal(passages):
    assert run_centrally(MODEL, passages).tobytes() == run_centrally(MODEL, passages).tobytes()


def test_no_expert_at_all_leaves_attention_alone(passages):
    made = run_choosing(MODEL, passages[0], lambda _, scores: np.zeros(scores.shape, bool))
    x = layers.embed(MODEL, passages[0])
    for layer in range(MODEL.layers):
        x, _ = layers.attend(MODEL, layer, x)
    assert made == pytest.approx(layers.predict(MODEL, x), abs=1e-5)


def test_the_chooser_sees_every_layer_and_every_token(passages):
    seen = []

    def choose(layer, scores):
        seen.append((layer, scores.shape))
        return best_experts(scores, 1)

    run_choosing(MODEL, passages, choose)
    assert seen == [(0, (36, 4)), (1, (36, 4))]


def test_best_experts_by_sorting(rng):
    scores = rng.integers(0, 4, (200, 5)) / 4.0  # with many ties
    for count in (1, 2, 5):
        for row, chosen in zip(scores, best_experts(scores, count), strict=True):
            expected = sorted(range(5), key=lambda k: (-row[k], k))[:count]
            assert sorted(np.flatnonzero(chosen)) == sorted(expected)


@pytest.mark.parametrize("top_k", [0, 5, -1])
def test_more_experts_than_there_are_is_refused(passages, top_k):
    with pytest.raises(ModelError, match=r"top_k: .* is not in 1…4"):
        run_centrally(MODEL, passages, top_k=top_k)
