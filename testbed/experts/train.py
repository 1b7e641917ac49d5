"""Train a mixture of experts by branch-train-mix: a fixed number of steps, one seed, the same weights again.

    python -m testbed.experts.train TEXTS OUT.safetensors --plan demo

1. *Seed*: one dense model learns all domains. 2. *Branch*: K copies of its FFNs, copy k tuned on domain k
with everything else frozen. 3. *Mix*: a gate that starts at the centred means of the domains' hidden states;
then everything is tuned together, each token on its top experts, without a balance loss: an expert stays the
expert of its domain (Sukhbaatar et al. 2024, arXiv:2403.07816). 4. *Joint*, in longer plans: the same at a higher
rate, from weights rounded as they are stored and with a draw of its own, so that it may start from a file
(`--start`) and come out alike. Needs torch (extra `train`).
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from testbed.experts.corpus import RECIPES, Split, read_texts
from testbed.experts.evaluate import Tokens, outcome, top, windows, with_temperature
from testbed.experts.model import SHAPES, Model, load_model, model_from, save_model
from testbed.experts.network import (
    Attend,
    Ffn,
    Muon,
    Weights,
    attention,
    branch_ffn,
    initial_weights,
    logits,
    mixture_ffn,
    passages,
)

LOG = logging.getLogger(__name__)

Loss = Callable[[Weights, Tensor], Tensor]
"""(weights, batch of passages (B, N + 1)) → what is minimised, in nats."""


@dataclass(frozen=True)
class Plan:
    """Size of a model and length of its training: `batch` passages of `context` bytes a step, K | batch.

    `branch_rate` is the learning rate of the branches beside that of the seed. A short seed and long branches
    make experts that differ; a long seed makes a better model of experts that resemble each other.
    """

    name: str
    domains: tuple[str, ...]
    layers: int = 4
    width: int = 128
    hidden: int = 512
    heads: int = 4
    context: int = 128
    batch: int = 32
    seed_steps: int = 1800
    branch_steps: int = 700
    mix_steps: int = 400
    joint_steps: int = 0
    branch_rate: float = 0.5
    top_k: int = 2
    domain_weight: float = 0.02
    joint_rate: float = 0.7
    joint_domain_weight: float = 0.04
    seed: int = 1

    def longer(self, times: int) -> Plan:
        """The same plan with `times` the steps."""
        phases = ("seed_steps", "branch_steps", "mix_steps", "joint_steps")
        return replace(self, **{name: times * getattr(self, name) for name in phases})


PLANS = {
    "demo": Plan("demo", tuple(RECIPES)[:4]),
    "eight": Plan(
        "eight", tuple(RECIPES), seed_steps=800, branch_steps=1300, mix_steps=400, joint_steps=3100, branch_rate=1.0
    ),
}

MATRICES = ("attention_in", "attention_out", "expert_up", "expert_down")
"""Moved by Muon; everything else by Adam."""

VALIDATION = 96
"""Passages of every domain on which the gate's temperature is chosen."""


EVERY = 250
"""Steps between two looks at the model of the joint phase."""

Watch = Callable[[int, Weights], None]


def train(
    plan: Plan,
    texts: dict[str, Split],
    *,
    compiled: bool = False,
    start: Model | None = None,
    watch: Watch = lambda step, weights: None,
) -> Model:
    """Train a model as its plan says, from nothing, or its joint phase alone from `start`.

    `texts` as from `corpus.read_texts`; `watch` is called every `EVERY` steps of the joint phase.
    """
    source = [_joined(texts[domain].training) for domain in plan.domains]
    weights = _grown(plan, source, compiled) if start is None else weights_of(start)
    if plan.joint_steps:
        _joint(plan, weights, source, compiled, watch)
    return as_model(plan, weights)


def _grown(plan: Plan, source: list[Tensor], compiled: bool) -> Weights:
    """Seed, branch and mix."""
    generator = torch.Generator().manual_seed(plan.seed)
    batches = passages(source, plan.batch // len(source), plan.context, generator)
    weights = initial_weights(plan.layers, plan.width, plan.hidden, generator)
    wrap: Callable[[Loss], Loss] = torch.compile if compiled else lambda loss: loss
    mixed = mixture_loss(plan, plan.domain_weight, attention)

    def dense_loss(held: Weights, batch: Tensor) -> Tensor:
        return next_byte_loss(plan, held, batch, branch_ffn(held, torch.bfloat16))

    def phase(name: str, loss: Loss, moved: tuple[str, ...], steps: int, scale: float) -> None:
        optimise(name, weights, moved, lambda: loss(weights, next(batches)), steps, scale)

    phase("seed", wrap(dense_loss), ("embedding", "head", *MATRICES), plan.seed_steps, 1.0)
    branch(weights, len(source))
    phase("branch", wrap(dense_loss), ("expert_up", "expert_down"), plan.branch_steps, plan.branch_rate)
    start_gates(plan, weights, next(batches)[:, :-1])
    phase("mix", mixed, tuple(weights), plan.mix_steps, 0.3)
    return weights


@torch.no_grad()
def weights_of(model: Model) -> Weights:
    """The weights of a whole model, to go on from."""
    return {name: torch.tensor(getattr(model, name)) for name in SHAPES}


def _joint(plan: Plan, weights: Weights, source: list[Tensor], compiled: bool, watch: Watch) -> None:
    """Everything tuned together, in place, from weights rounded to float16."""
    for name, held in weights.items():
        weights[name] = held.detach().half().float()
    generator = torch.Generator().manual_seed(plan.seed + 1)
    batches = passages(source, plan.batch // len(source), plan.context, generator)
    loss = mixture_loss(plan, plan.joint_domain_weight, torch.compile(attention) if compiled else attention)
    steps = count(1)

    def value() -> Tensor:
        step = next(steps)
        if step % EVERY == 0:
            watch(step, weights)
        return loss(weights, next(batches))

    optimise("joint", weights, tuple(weights), value, plan.joint_steps, plan.joint_rate)


def mixture_loss(plan: Plan, domain_weight: float, attend: Attend) -> Loss:
    """Loss of the next byte with each token on its best experts, and the gate's pull to the domain."""

    def loss(held: Weights, batch: Tensor) -> Tensor:
        seen: list[Tensor] = []
        ffn = mixture_ffn(held, plan.top_k, torch.bfloat16, seen)
        return next_byte_loss(plan, held, batch, ffn, attend) + domain_weight * domain_loss(seen, len(plan.domains))

    return loss


def next_byte_loss(plan: Plan, weights: Weights, batch: Tensor, ffn: Ffn, attend: Attend = attention) -> Tensor:
    """Mean negative log-likelihood (nats) of the next byte over passages (B, N + 1)."""
    made = logits(weights, batch[:, :-1], plan.heads, ffn, torch.bfloat16, attend)
    return functional.cross_entropy(made.flatten(0, 1).float(), batch[:, 1:].flatten())


def domain_loss(seen: list[Tensor], domains: int) -> Tensor:
    """Mean cross-entropy of the gates' scores with the domain of each row; rows are sorted by domain."""
    labels = torch.arange(domains).repeat_interleave(len(seen[0]) // domains)
    return torch.stack([functional.cross_entropy(raw, labels) for raw in seen]).mean()


def optimise(
    name: str, weights: Weights, moved: tuple[str, ...], loss: Callable[[], Tensor], steps: int, scale: float
) -> None:
    """Minimise `loss` over the tensors named in `moved`, in place; rates fall to zero in the last half."""
    for key, tensor in weights.items():
        tensor.requires_grad_(key in moved)
    muon = Muon([weights[key] for key in moved if key in MATRICES], rate=0.02)
    rest = [weights[key] for key in moved if key not in MATRICES]
    adam = torch.optim.Adam(rest, betas=(0.9, 0.95)) if rest else None
    warm_up = max(1, min(50, steps // 8))
    start = time.monotonic()
    for step in range(steps):
        now = scale * min(1.0, (step + 1) / warm_up, 2 * (steps - step) / steps)
        value = loss()
        torch.autograd.backward(value)
        muon.step(now)
        if adam is not None:
            adam.param_groups[0]["lr"] = 4e-3 * now
            adam.step()
            adam.zero_grad()
        if step % 100 == 0 or step == steps - 1:
            LOG.info("%s %d/%d loss %.4f %.0f s", name, step, steps, value.item(), time.monotonic() - start)


@torch.no_grad()
def branch(weights: Weights, experts: int) -> None:
    """Make K copies of the seed's only FFN, in place."""
    for key in ("expert_up", "expert_down"):
        weights[key] = weights[key].detach().repeat(1, experts, 1, 1)


@torch.no_grad()
def start_gates(plan: Plan, weights: Weights, tokens: Tensor) -> None:
    """Gate of each layer from the mean state m_k of each domain: logit_k = (u − m̄)·(m_k − m̄) − |m_k − m̄|²/2.

    Rows of `tokens` are sorted by domain; each passes its own domain's expert.
    """
    means: list[Tensor] = []
    own = branch_ffn(weights, torch.float32)

    def noting(layer: int, u: Tensor) -> Tensor:
        means.append(u.view(len(plan.domains), -1, plan.width).mean(1))
        return own(layer, u)

    logits(weights, tokens, plan.heads, noting, torch.float32)
    mean = torch.stack(means)
    middle = mean.mean(1, keepdim=True)
    away = mean - middle
    weights["gate_weight"] = away.transpose(1, 2).contiguous()
    weights["gate_bias"] = -(away * middle).sum(-1) - away.square().sum(-1) / 2


def as_model(plan: Plan, weights: Weights) -> Model:
    """The weights as the model that numpy runs, at gate temperature 1."""
    header = {
        "name": plan.name,
        "domains": json.dumps(plan.domains),
        "heads": str(plan.heads),
        "context": str(plan.context),
        "temperature": "1.0",
    }
    return model_from(header, {key: value.detach().numpy() for key, value in weights.items()}, plan.name)


def validation_windows(plan: Plan, texts: dict[str, Split]) -> Tokens:
    """Passages (K, n, context) of the text kept aside for choosing the gate's temperature."""
    each = [windows(list(texts[domain].validation), plan.context, VALIDATION) for domain in plan.domains]
    return np.stack(each)


def main() -> None:
    """Train one of `PLANS` on a folder of texts and write its weights."""
    parser = argparse.ArgumentParser(description="Train one of the planned mixtures of experts.")
    parser.add_argument("texts", type=Path, help="folder with <domain>.txt, from testbed.experts.corpus")
    parser.add_argument("out", type=Path)
    parser.add_argument("--plan", choices=PLANS, default="demo")
    parser.add_argument("--longer", type=int, default=1, help="times the steps of the plan")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="a third faster; needs a C++ compiler")
    parser.add_argument("--start", help="run the joint phase alone, from this model: a file or a shipped name")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(arguments.threads)
    plan = PLANS[arguments.plan].longer(arguments.longer)
    texts = read_texts(arguments.texts, plan.domains)
    start = load_model(arguments.start) if arguments.start else None
    watch = _keeper(plan, validation_windows(plan, texts), arguments.out)
    model = train(plan, texts, compiled=arguments.compile, start=start, watch=watch)
    save_model(with_temperature(model, validation_windows(plan, texts)), arguments.out)


def _keeper(plan: Plan, validation: Tokens, out: Path) -> Watch:
    """Logs the accuracy on validation text and keeps the weights so far."""

    def keep(step: int, weights: Weights) -> None:
        model = as_model(plan, weights)
        right = outcome(model, validation, top(plan.top_k)).accuracy.mean()
        LOG.info("joint %d: %.2f %% of validation bytes right with top-%d", step, 100 * right, plan.top_k)
        save_model(model, out)

    return keep


def _joined(slices: tuple[bytes, ...]) -> Tensor:
    return torch.from_numpy(np.frombuffer(b"".join(slices), dtype=np.uint8).copy())


if __name__ == "__main__":
    main()
