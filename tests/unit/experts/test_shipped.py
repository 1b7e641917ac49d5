"""What the shipped weights can do, on a sample of the held-out text that no training saw."""

import numpy as np
import pytest

from testbed.experts import evaluate, layers
from testbed.experts.central import best_experts, run_centrally
from testbed.experts.model import DATA, load_model, shipped_models
from testbed.experts.payload import KINDS, dequantise, quantise
from testbed.experts.text import domains


@pytest.fixture(scope="module", params=shipped_models())
def model(request):
    return load_model(request.param)


@pytest.fixture(scope="module")
def passages(model):
    return evaluate.held_out_windows(model, 10)


def test_a_shipped_model_is_described_and_small(model):
    assert model.name in (DATA / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert (DATA / f"{model.name}.safetensors").stat().st_size <= 16 * 2**20
    assert set(model.domains) <= set(domains())


def test_it_predicts_text_that_it_never_saw(model, passages):
    result = evaluate.outcome(model, passages, evaluate.top(2))
    assert result.accuracy.mean() > 0.5
    assert result.accuracy.min() > 0.4  # the most frequent byte, a blank, is right for less than a fifth


def test_its_experts_are_worth_choosing(model, passages):
    best, own_gone, lowest = (
        evaluate.outcome(model, passages, choose).accuracy
        for choose in (evaluate.top(2), evaluate.without_own(2), evaluate.lowest(2))
    )
    assert (own_gone < best).all()
    assert max(own_gone.mean(), lowest.mean()) < best.mean() - 0.03


def test_the_expert_of_a_domain_is_its_texts_best(model, passages):
    counts = evaluate.outcome(model, passages, evaluate.top(2)).counts
    for layer in range(1, model.layers):
        assert (counts[layer].argmax(axis=1) == np.arange(model.experts)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_payload_costs_almost_nothing(model, passages, kind):
    """All states and results quantised on their way, as if every expert were elsewhere."""
    tokens = passages[:, :4].reshape(-1, model.context)
    x = layers.embed(model, tokens)
    for layer in range(model.layers):
        h, _ = layers.attend(model, layer, x)
        u = layers.expert_input(model, layer, h).reshape(-1, model.width)
        scores = layers.gate_scores(model, layer, u)
        heard = sent(u, model.width, kind)
        results = [layers.apply_expert(model, layer, k, heard) for k in range(model.experts)]
        outputs = np.stack([sent(result, model.width, kind) for result in results], axis=1)
        flat = layers.aggregate(h.reshape(u.shape), outputs, scores, best_experts(scores, 2))
        x = flat.reshape(h.shape)
    made, whole = (
        (guess.argmax(axis=-1)[:, :-1] == tokens[:, 1:]).mean()
        for guess in (layers.predict(model, x), run_centrally(model, tokens))
    )
    assert abs(made - whole) < 0.01


def sent(states, width, kind):
    return dequantise(quantise(states, kind), width, kind)
