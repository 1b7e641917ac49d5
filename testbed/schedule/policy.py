"""Every way to schedule a round, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from testbed.errors import ProblemError
from testbed.schedule.baselines import (
    best_single,
    channel_only,
    des_fixed,
    homogeneous,
    lower_bound,
    random_experts,
    top_k,
)
from testbed.schedule.jesa import jesa
from testbed.schedule.problem import Decision, Problem

Policy = Callable[..., Decision]

POLICIES: dict[str, Policy] = {
    "jesa": lambda problem, previous, seed: jesa(problem, previous=previous),
    "jesa-alternate": lambda problem, previous, seed: jesa(problem, method="alternate", previous=previous),
    "des-fixed": lambda problem, previous, seed: des_fixed(problem, seed=seed),
    "top-1": lambda problem, previous, seed: top_k(problem, 1),
    "top-2": lambda problem, previous, seed: top_k(problem, 2),
    "top-k": lambda problem, previous, seed, k=None: top_k(problem, k or problem.max_experts),
    "homogeneous": lambda problem, previous, seed, z=None: homogeneous(problem, z),
    "lb": lambda problem, previous, seed: lower_bound(problem),
    "channel-only": lambda problem, previous, seed, k=None: channel_only(problem, k),
    "best-single": lambda problem, previous, seed: best_single(problem),
    "random": lambda problem, previous, seed: random_experts(problem, seed=seed),
}
"""Name → rule. `top-k` and `channel-only` take k (D by default), `homogeneous` takes z (the highest qos by default)."""

LEAST_EXPERTS = {"top-2": 2}
"""Names that choose as many experts whatever D is: with fewer allowed, no radio would get what they choose."""

NOT_RUNNABLE = frozenset({"lb"})
"""Names whose decision lets links share a subcarrier: good for figures, impossible on the air."""


def schedule(
    problem: Problem,
    name: str = "jesa",
    previous: Decision | None = None,
    seed: int = 0,
    **options: Any,  # noqa: ANN401
) -> Decision:
    """Decide one round by the policy of that name; `previous` warms the JESA policies, `seed` feeds the random ones."""
    if name not in POLICIES:
        raise ProblemError(f"policy = {name!r}: choose one of {', '.join(POLICIES)}")
    return POLICIES[name](problem, previous, seed, **options)
