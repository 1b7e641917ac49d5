import json

import numpy as np
import pytest
from safetensors.numpy import save

from testbed.errors import ModelError
from testbed.experts.model import SHAPES, load_model, part_for, save_model, shipped_models
from tests.reference.experts_tiny import tiny_model

MODEL = tiny_model()
HEADER = {
    "name": "tiny",
    "domains": json.dumps(MODEL.domains),
    "heads": "2",
    "context": "64",
    "temperature": "1.5",
}


def write(path, header=None, **changed):
    tensors = {name: getattr(MODEL, name) for name in SHAPES} | changed
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    path.write_bytes(save(kept, HEADER if header is None else header))
    return path


def test_weights_come_back_as_they_were_saved(tmp_path):
    save_model(MODEL, tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors")
    for name in SHAPES:
        assert (getattr(again, name) == getattr(MODEL, name)).all()
        assert getattr(again, name).dtype == np.float32
    for field in ("name", "domains", "heads", "context", "temperature", "held"):
        assert getattr(again, field) == getattr(MODEL, field)
    assert (again.layers, again.experts, again.width) == (2, 3, 16)
    assert again.parameters == sum(getattr(MODEL, name).size for name in SHAPES)


def test_a_part_holds_one_expert_and_all_the_rest():
    part = part_for(MODEL, 1)
    assert part.held == (1,)
    assert part.experts == 3
    assert (part.expert_up[:, 0] == MODEL.expert_up[:, 1]).all()
    assert (part.gate_weight == MODEL.gate_weight).all()
    assert MODEL.parameters - part.parameters == 2 * 2 * 2 * 16 * 24
    assert not np.shares_memory(part.expert_up, MODEL.expert_up)  # or the others could not be dropped
    with pytest.raises(ModelError, match="expert: 0 is not held"):
        part_for(part, 0)


@pytest.mark.parametrize("expert", [-1, 3])
def test_there_is_no_such_expert(expert):
    with pytest.raises(ModelError, match="is not held"):
        part_for(MODEL, expert)


def test_a_part_is_not_saved_as_a_model(tmp_path):
    with pytest.raises(ModelError, match="save the whole model"):
        save_model(part_for(MODEL, 0), tmp_path / "part.safetensors")


def test_an_unknown_name_lists_the_shipped_models():
    with pytest.raises(ModelError, match="no 'nobody'; give one of") as caught:
        load_model("nobody")
    for name in shipped_models():
        assert name in str(caught.value)


def test_a_file_that_is_no_model(tmp_path):
    path = tmp_path / "noise.safetensors"
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(path)


def test_a_truncated_file(tmp_path):
    path = write(tmp_path / "short.safetensors")
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"head": None}, r"no tensors \['head'\]"),
        ({"head": np.zeros((16, 255), np.float32)}, "head has shape"),
        ({"head": np.zeros((16, 256), np.int8)}, "head has type int8"),
        ({"head": np.full((16, 256), np.nan, np.float32)}, "head holds values that are not finite"),
        ({"attention_in": np.zeros((2, 16, 47), np.float32)}, "attention_in has shape"),
        ({"gate_bias": np.zeros((2, 4), np.float32)}, "gate_bias has shape"),
        ({"expert_down": np.zeros((2, 3, 24), np.float32)}, "expert_down has shape"),
    ],
)
def test_tensors_that_make_no_model(tmp_path, changed, message):
    with pytest.raises(ModelError, match=message):
        load_model(write(tmp_path / "bad.safetensors", **changed))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"heads": None}, "no header entry 'heads'"),
        ({"heads": "three"}, "malformed header entry"),
        ({"heads": "3"}, "heads 3 must divide"),
        ({"heads": "0"}, "heads 0 must divide"),
        ({"context": "0"}, "context 0"),
        ({"temperature": "nan"}, "temperature nan"),
        ({"temperature": "-1"}, "temperature -1"),
        ({"domains": '["a", "b"]'}, "must be 3 different names"),
        ({"domains": '["a", "b", "b"]'}, "must be 3 different names"),
        ({"domains": "7"}, "malformed header entry"),
    ],
)
def test_headers_that_make_no_model(tmp_path, changed, message):
    header = {key: value for key, value in (HEADER | changed).items() if value is not None}
    with pytest.raises(ModelError, match=message):
        load_model(write(tmp_path / "bad.safetensors", header))
