"""Published mixtures of experts against `transformers`, on tiny configurations with random weights."""

import json
import os

import numpy as np
import pytest

torch = pytest.importorskip("torch")
os.environ["TRANSFORMERS_OFFLINE"] = "1"
transformers = pytest.importorskip("transformers")

from testbed.errors import ModelError  # noqa: E402
from testbed.experts.checkpoint import load_checkpoint  # noqa: E402
from testbed.experts.protocol import run_through  # noqa: E402

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

COMMON = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "initializer_range": 0.3,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
QWEN = {"num_experts": 4, "moe_intermediate_size": 24}
CLASSES = {
    "mixtral": ("Mixtral", {"num_local_experts": 4}),
    "olmoe": ("Olmoe", {"num_experts": 4}),
    "qwen2_moe": ("Qwen2Moe", QWEN | {"shared_expert_intermediate_size": 16}),
    "qwen3_moe": ("Qwen3Moe", QWEN | {"head_dim": 16, "norm_topk_prob": True}),
    "qwen3_moe tied": ("Qwen3Moe", QWEN | {"head_dim": 8, "tie_word_embeddings": True}),
}


def made(kind, folder, dtype=torch.float32):
    """A model of `transformers` with random weights, saved as it would be published."""
    name, settings = CLASSES[kind]
    config = getattr(transformers, f"{name}Config")(**COMMON, **settings)
    torch.manual_seed(3)
    model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # gains that are all 1 would hide their use
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.to(dtype).save_pretrained(folder)
    return model


@pytest.fixture(params=CLASSES)
def pair(request, tmp_path):
    return made(request.param, tmp_path), load_checkpoint(tmp_path)


TOKENS = np.random.default_rng(0).integers(0, 64, 40)


def expected(model):
    with torch.no_grad():
        return model(torch.from_numpy(TOKENS)[None]).logits[0].numpy()


def test_logits_are_those_of_transformers(pair):
    model, checkpoint = pair
    assert (checkpoint.layers, checkpoint.experts, checkpoint.width) == (2, 4, 32)
    assert run_through(checkpoint, TOKENS, checkpoint.top_k) == pytest.approx(expected(model), rel=1e-3, abs=1e-3)


def test_a_passage_piece_by_piece(pair):
    _, checkpoint = pair
    x = checkpoint.embed(TOKENS)
    whole, _ = checkpoint.attend(0, x)
    first, cache = checkpoint.attend(0, x[:11])
    rest, _ = checkpoint.attend(0, x[11:], cache)
    assert np.concatenate((first, rest)) == pytest.approx(whole, abs=1e-4)


def test_brain_floats_are_read(tmp_path):
    made("mixtral", tmp_path, torch.bfloat16)
    model = transformers.MixtralForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert run_through(load_checkpoint(tmp_path), TOKENS, 2) == pytest.approx(expected(model), rel=1e-3, abs=1e-3)


def test_a_node_reads_its_own_expert_alone(tmp_path):
    made("olmoe", tmp_path)
    whole = load_checkpoint(tmp_path)
    part = whole.part_for(2)
    u = part.expert_input(1, part.embed(TOKENS))
    part.gate_scores(1, u)
    assert (part.apply_expert(1, 2, u) == whole.apply_expert(1, 2, u)).all()
    assert {name.split("experts.")[1][0] for name in part.loaded if ".experts." in name} == {"2"}
    with pytest.raises(ModelError, match="expert: 0 is not held here"):
        part.apply_expert(1, 0, u)
    with pytest.raises(ModelError, match="expert: 0 is not held here"):
        part.part_for(0)


def test_a_folder_that_is_no_checkpoint(tmp_path):
    with pytest.raises(ModelError, match="no checkpoint"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "llama"),
        ("hidden_act", "gelu"),
        ("clip_qkv", 8.0),
        ("sliding_window", 4096),
        ("decoder_sparse_step", 2),
        ("mlp_only_layers", [0]),
        ("rope_parameters", {"rope_type": "yarn", "rope_theta": 1e4}),
    ],
)
def test_what_would_be_computed_wrongly_is_refused(tmp_path, key, value):
    made("mixtral", tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(ModelError, match=f"{key} = .* is not supported"):
        load_checkpoint(tmp_path)


def test_a_missing_file_names_the_tensor(tmp_path):
    made("mixtral", tmp_path)
    checkpoint = load_checkpoint(tmp_path)
    del checkpoint.entries["model.norm.weight"]
    with pytest.raises(ModelError, match=r"no tensor model.norm.weight; fetch all"):
        run_through(checkpoint, TOKENS, 2)


def test_a_token_outside_the_vocabulary(tmp_path):
    made("mixtral", tmp_path)
    with pytest.raises(ModelError, match="vocabulary 0…63"):
        load_checkpoint(tmp_path).embed(np.array([64]))
