"""Weights of a mixture of experts: what they are, reading and writing them, and one node's part of them.

A file of weights is a safetensors file in float16 with the tensors of `SHAPES`, and in its header, as
strings, `name`, `domains` (a JSON list), `heads`, `context` and `temperature`. In memory everything is
float32. Normalisation carries no gain: a gain would be folded into the matrix that follows it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from testbed.errors import ModelError

Floats = NDArray[np.float32]

VOCABULARY = 256
"""A token is a byte."""

DATA = Path(__file__).parent / "data"

SHAPES: dict[str, tuple[str | int, ...]] = {
    "embedding": (VOCABULARY, "d"),
    "attention_in": ("L", "d", "3d"),
    "attention_out": ("L", "d", "d"),
    "gate_weight": ("L", "d", "K"),
    "gate_bias": ("L", "K"),
    "expert_up": ("L", "K", "d", "f"),
    "expert_down": ("L", "K", "f", "d"),
    "head": ("d", VOCABULARY),
}
"""Shape of every tensor: d width, L layers, K experts, f hidden width of one expert."""


@dataclass(frozen=True, eq=False)
class Model:
    """A mixture of experts, or one node's part of it (`part_for`).

    `domains[k]` is the domain that expert k was tuned on. `temperature` divides the gate's logits and is the
    value chosen on validation text; `context` is the longest passage that the attention was trained on.
    `held` names the experts whose FFN weights are here, in the order of axis 1 of `expert_up` and
    `expert_down`; everything else is held whole. Arrays are float32, with the shapes of `SHAPES`.
    """

    name: str
    domains: tuple[str, ...]
    heads: int
    context: int
    temperature: float
    held: tuple[int, ...]
    embedding: Floats
    attention_in: Floats
    attention_out: Floats
    gate_weight: Floats
    gate_bias: Floats
    expert_up: Floats
    expert_down: Floats
    head: Floats

    @property
    def layers(self) -> int:
        """Number of layers L."""
        return len(self.gate_bias)

    @property
    def experts(self) -> int:
        """Number of experts K of the whole model, held here or not."""
        return len(self.domains)

    @property
    def width(self) -> int:
        """Width d of a hidden state."""
        return int(self.embedding.shape[1])

    @property
    def parameters(self) -> int:
        """Number of weights held."""
        return sum(int(getattr(self, name).size) for name in SHAPES)


def load_model(name_or_path: str | Path) -> Model:
    """The shipped model of that name ("demo"), or the model in that safetensors file.

    ModelError if there is none, or if its tensors or its header do not make a model.
    """
    path = _find(name_or_path)
    try:
        with safe_open(path, framework="numpy") as file:
            header = dict(file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(f"model: {path} cannot be read ({error}); give a safetensors file") from error
    return model_from(header, tensors, str(path))


def save_model(model: Model, path: Path) -> None:
    """Write a whole model as float16 safetensors. ModelError if it is only one node's part."""
    if model.held != tuple(range(model.experts)):
        raise ModelError(f"model: {model.name} holds experts {model.held} only; save the whole model instead")
    header = {
        "name": model.name,
        "domains": json.dumps(model.domains),
        "heads": str(model.heads),
        "context": str(model.context),
        "temperature": repr(model.temperature),
    }
    path.write_bytes(save({name: getattr(model, name).astype(np.float16) for name in SHAPES}, header))


def part_for(model: Model, expert: int) -> Model:
    """What the node of one expert holds: everything but the FFN weights of the other experts.

    ModelError if that expert is not held in `model`.
    """
    place = slot(model, expert)
    up, down = (array[:, place : place + 1].copy() for array in (model.expert_up, model.expert_down))
    return replace(model, held=(expert,), expert_up=up, expert_down=down)


def slot(model: Model, expert: int) -> int:
    """Where on axis 1 of `expert_up` an expert lies. ModelError if its weights are not held."""
    if expert not in model.held:
        raise ModelError(
            f"expert: {expert} is not held here (held: {list(model.held)} of {model.experts} experts); "
            "ask the node that holds it"
        )
    return model.held.index(expert)


def shipped_models() -> tuple[str, ...]:
    """Names of the models that come with the package."""
    return tuple(sorted(path.stem for path in DATA.glob("*.safetensors")))


def model_from(header: dict[str, str], tensors: dict[str, NDArray[np.generic]], source: str) -> Model:
    """A whole model from named tensors and the header of its file, checked.

    ModelError names `source`, what is missing or does not fit, and the remedy.
    """
    missing = sorted(set(SHAPES) - set(tensors))
    if missing:
        raise ModelError(f"model: {source} has no tensors {missing}; needed are {sorted(SHAPES)}")
    arrays = {name: _as_float32(tensors[name], f"{source}: {name}") for name in SHAPES}
    _check_shapes(arrays, source)
    try:
        model = Model(
            name=header["name"],
            domains=tuple(str(domain) for domain in json.loads(header["domains"])),
            heads=int(header["heads"]),
            context=int(header["context"]),
            temperature=float(header["temperature"]),
            held=tuple(range(arrays["gate_bias"].shape[1])),
            **arrays,
        )
    except KeyError as error:
        raise ModelError(f"model: {source} has no header entry {error}; write it with save_model") from error
    except (ValueError, TypeError) as error:
        raise ModelError(f"model: {source}: malformed header entry ({error}); write it with save_model") from error
    _check_header(model, source)
    return model


def _find(name_or_path: str | Path) -> Path:
    if str(name_or_path) in shipped_models():
        return DATA / f"{name_or_path}.safetensors"
    path = Path(name_or_path)
    if not path.is_file():
        known = list(shipped_models())
        raise ModelError(f"model: there is no {str(path)!r}; give one of {known} or a safetensors file")
    return path


def _as_float32(tensor: NDArray[np.generic], where: str) -> Floats:
    if tensor.dtype not in (np.float16, np.float32, np.float64):
        raise ModelError(f"model: {where} has type {tensor.dtype}; needed is a floating-point type")
    array = np.ascontiguousarray(tensor, dtype=np.float32)
    if not np.isfinite(array).all():
        raise ModelError(f"model: {where} holds values that are not finite; train it again")
    return array


def _check_shapes(arrays: dict[str, Floats], source: str) -> None:
    """Every letter of `SHAPES` stands for one and the same size."""
    sizes: dict[str, int] = {}
    for name, letters in SHAPES.items():
        shape = arrays[name].shape
        fits = len(shape) == len(letters)
        for letter, size in zip(letters, shape, strict=False):
            expected = letter if isinstance(letter, int) else sizes.setdefault(letter, size)
            fits = fits and size == expected
        if "d" in sizes:
            sizes["3d"] = 3 * sizes["d"]
        if not fits:
            raise ModelError(f"model: {source}: {name} has shape {shape}, needed is {letters} with {sizes}")


def _check_header(model: Model, source: str) -> None:
    experts = model.gate_bias.shape[1]
    if model.experts != experts or len(set(model.domains)) != experts:
        raise ModelError(f"model: {source}: domains {list(model.domains)} must be {experts} different names")
    if model.heads < 1 or model.width % (2 * model.heads):
        raise ModelError(f"model: {source}: heads {model.heads} must divide half the width {model.width}")
    if model.context < 1:
        raise ModelError(f"model: {source}: context {model.context} must be at least 1")
    if not (np.isfinite(model.temperature) and model.temperature > 0):
        raise ModelError(f"model: {source}: temperature {model.temperature} must be positive and finite")
