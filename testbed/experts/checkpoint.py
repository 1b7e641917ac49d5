"""Mixtral, OLMoE, Qwen2-MoE and Qwen3-MoE checkpoints as `Experts`, from their safetensors files.

A checkpoint is a folder with `config.json` and one or more `*.safetensors`, as these models are published.
Tensors are read when they are first used, so a node reads the weights of its own expert and no other's.
Everything is computed in float32. A shared expert (Qwen2-MoE) belongs to every node and is applied where
states are aggregated.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from testbed.errors import ModelError
from testbed.experts import layers
from testbed.experts.layers import Bools, Cache, Doubles
from testbed.experts.model import Floats
from testbed.experts.protocol import Tokens

KINDS = {
    "mixtral": ("block_sparse_moe", ("w1", "w3", "w2")),
    "olmoe": ("mlp", ("gate_proj", "up_proj", "down_proj")),
    "qwen2_moe": ("mlp", ("gate_proj", "up_proj", "down_proj")),
    "qwen3_moe": ("mlp", ("gate_proj", "up_proj", "down_proj")),
}
"""Model type → where its experts are, and its names for their gate, up and down projections."""

_TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies: its file, type, shape, and offset in bytes."""

    path: Path
    kind: str
    shape: tuple[int, ...]
    offset: int

    def read(self) -> Floats:
        """The tensor as float32. ModelError for a type that is not a plain floating-point one."""
        if self.kind not in _TYPES:
            raise ModelError(f"model: {self.path} holds {self.kind}; readable are {sorted(_TYPES)}, not quantised")
        count = int(np.prod(self.shape))
        raw = np.fromfile(self.path, _TYPES[self.kind], count, offset=self.offset).reshape(self.shape)
        if self.kind == "BF16":  # the upper half of a float32
            return (raw.astype(np.uint32) << 16).view(np.float32)
        return raw.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A published mixture of experts; one node's part of it if `held` names a single expert."""

    config: dict[str, Any]
    entries: dict[str, Entry]
    held: tuple[int, ...]
    loaded: dict[str, Floats] = field(default_factory=dict, repr=False)

    @property
    def layers(self) -> int:
        """Number of layers L."""
        return int(self.config["num_hidden_layers"])

    @property
    def experts(self) -> int:
        """Number of experts K."""
        return _experts(self.config)

    @property
    def width(self) -> int:
        """Width d of a hidden state."""
        return int(self.config["hidden_size"])

    @property
    def top_k(self) -> int:
        """Experts a token that the model was trained with."""
        return int(self.config["num_experts_per_tok"])

    def part_for(self, expert: int) -> Checkpoint:
        """What the node of one expert holds. ModelError if that expert is not held here."""
        self._check_held(expert)
        return replace(self, held=(expert,), loaded={})

    def embed(self, tokens: Tokens, first_position: int = 0) -> Floats:
        """Rows of the embedding. ModelError if a token is outside the vocabulary."""
        table = self._tensor("model.embed_tokens.weight")
        if tokens.size and not 0 <= tokens.min() <= tokens.max() < len(table):
            raise ModelError(f"tokens: {tokens.min()}…{tokens.max()} leave the vocabulary 0…{len(table) - 1}")
        return table[tokens]

    def attend(self, layer: int, x: Floats, cache: Cache | None = None) -> tuple[Floats, Cache]:
        """Causal grouped-query attention with its residual; x (N, d)."""
        seen = cache.length if cache else 0
        u = self._norm(f"model.layers.{layer}.input_layernorm", x)
        query, key, value = (self._heads(layer, part, u) for part in "qkv")
        turn = layers.rotary(seen, len(x), query.shape[-1], self._rope_base())
        query, key = layers.rotate(query, turn), layers.rotate(key, turn)
        if cache:
            key = np.concatenate((cache.keys, key), axis=-2)
            value = np.concatenate((cache.values, value), axis=-2)
        groups = len(query) // len(key)
        joined = layers.softmax_average(query, np.repeat(key, groups, 0), np.repeat(value, groups, 0), seen)
        return x + self._linear(f"model.layers.{layer}.self_attn.o_proj", joined), Cache(key, value)

    def expert_input(self, layer: int, h: Floats) -> Floats:
        """Normed state with its gain."""
        return self._norm(f"model.layers.{layer}.post_attention_layernorm", h)

    def gate_scores(self, layer: int, u: Floats, temperature: float | None = None) -> Doubles:
        """Softmax over all experts; at temperature 1 the model's own."""
        logits = self._linear(f"{self._block(layer)}.gate", u).astype(np.float64) / (temperature or 1.0)
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        scores: Doubles = powers / powers.sum(axis=-1, keepdims=True)
        return scores

    def apply_expert(self, layer: int, expert: int, u: Floats) -> Floats:
        """SwiGLU of one expert. ModelError if it is not held here."""
        self._check_held(expert)
        return self._swiglu(f"{self._block(layer)}.experts.{expert}", u)

    def aggregate(self, layer: int, h: Floats, outputs: Floats, scores: Doubles, delivered: Bools) -> Floats:
        """Residual, shared expert if there is one, and the sum over the experts that answered.

        Scores are renormalised if the model was trained so.
        """
        renormalise = bool(self.config.get("norm_topk_prob", self.config["model_type"] == "mixtral"))
        shared = f"{self._block(layer)}.shared_expert"
        if f"{shared}.up_proj.weight" in self.entries:
            u = self.expert_input(layer, h)
            open_ = self._linear(f"{shared}_gate", u)
            h = h + self._swiglu(shared, u) * _sigmoid(open_)
        return layers.aggregate(h, outputs, scores, delivered, renormalise)

    def predict(self, x: Floats) -> Floats:
        """Logits (N, V) of the next token."""
        tied = self.config.get("tie_word_embeddings", False)
        return self._linear("model.embed_tokens" if tied else "lm_head", self._norm("model.norm", x))

    def _check_held(self, expert: int) -> None:
        if expert not in self.held:
            raise ModelError(f"expert: {expert} is not held here (held: {list(self.held)}); ask the node that holds it")

    def _block(self, layer: int) -> str:
        return f"model.layers.{layer}.{KINDS[self.config['model_type']][0]}"

    def _tensor(self, name: str) -> Floats:
        if name not in self.loaded:
            if name not in self.entries:
                raise ModelError(f"model: the checkpoint has no tensor {name}; fetch all of its files")
            self.loaded[name] = self.entries[name].read()
        return self.loaded[name]

    def _linear(self, name: str, x: Floats) -> Floats:
        made: Floats = x @ self._tensor(f"{name}.weight").T
        return made + self._tensor(f"{name}.bias") if f"{name}.bias" in self.entries else made

    def _norm(self, name: str, x: Floats) -> Floats:
        power = np.mean(np.square(x), axis=-1, keepdims=True) + np.float32(self.config["rms_norm_eps"])
        return np.asarray(x / np.sqrt(power) * self._tensor(f"{name}.weight"), dtype=np.float32)

    def _heads(self, layer: int, part: str, u: Floats) -> Floats:
        """Query, key or value of each head, (heads, N, size); normed whole (OLMoE) or by head (Qwen3)."""
        name = f"model.layers.{layer}.self_attn.{part}"
        values, size = self._linear(f"{name}_proj", u), self._head_size()
        gain = self.entries.get(f"{name}_norm.weight")
        if gain and gain.shape[0] != size:
            values = self._norm(f"{name}_norm", values)
        heads = values.reshape(len(u), -1, size)
        if gain and gain.shape[0] == size:
            heads = self._norm(f"{name}_norm", heads)
        return heads.swapaxes(0, 1)

    def _head_size(self) -> int:
        return int(self.config.get("head_dim") or self.width // self.config["num_attention_heads"])

    def _rope_base(self) -> float:
        return float((self.config.get("rope_parameters") or self.config)["rope_theta"])

    def _swiglu(self, name: str, u: Floats) -> Floats:
        gate, up, down = KINDS[self.config["model_type"]][1]
        opened = self._linear(f"{name}.{gate}", u)
        return self._linear(f"{name}.{down}", opened * _sigmoid(opened) * self._linear(f"{name}.{up}", u))


def _sigmoid(x: Floats) -> Floats:
    with np.errstate(over="ignore"):  # exp(−x) = ∞ gives the 0 that is meant
        return np.asarray(1 / (1 + np.exp(-x)), dtype=np.float32)


def load_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in a folder. ModelError if it is not one, or is of a kind that is not computed here."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        entries = {
            name: entry for path in sorted(folder.glob("*.safetensors")) for name, entry in _entries(path).items()
        }
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise ModelError(f"model: {folder} is no checkpoint ({error}); give a folder as published") from error
    _check(config, folder)
    return Checkpoint(config, entries, tuple(range(_experts(config))))


def _entries(path: Path) -> dict[str, Entry]:
    """Header of a safetensors file: 8 bytes of length, then JSON; offsets count from its end."""
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    return {
        name: Entry(path, str(at["dtype"]), tuple(at["shape"]), 8 + size + int(at["data_offsets"][0]))
        for name, at in header.items()
    }


def _experts(config: dict[str, Any]) -> int:
    return int(config.get("num_local_experts") or config["num_experts"])


def _check(config: dict[str, Any], folder: Path) -> None:
    """Refuse what would be computed wrongly."""
    rope = config.get("rope_parameters") or {}
    refused = {
        "model_type": config.get("model_type") not in KINDS,
        "hidden_act": config.get("hidden_act") != "silu",
        "clip_qkv": config.get("clip_qkv") is not None,
        "rope_scaling": config.get("rope_scaling") is not None,
        "rope_parameters": rope.get("rope_type", "default") != "default",
        "sliding_window": bool(config.get("sliding_window")) and config.get("use_sliding_window", True),
        "decoder_sparse_step": config.get("decoder_sparse_step", 1) != 1,
        "mlp_only_layers": bool(config.get("mlp_only_layers")),
    }
    for key in (key for key, bad in refused.items() if bad):
        raise ModelError(
            f"model: {folder}: {key} = {config.get(key)!r} is not supported; model types are {sorted(KINDS)}, "
            "with silu, plain rotary positions, full attention and experts in every layer"
        )
