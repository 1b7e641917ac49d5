"""Compiled loops that count no references neither keep nor hand out what somebody would have to free."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import testbed.schedule

ROOM = Path(testbed.schedule.__file__).parent
NUMBERS = {"int", "float", "bool", "None"}

PROGRAM = """
import gc
from itertools import product
import numpy as np
from numba.core.runtime import rtsys
from testbed.schedule.assign import _assign_by_numba, assign_many, assign_subcarriers
from testbed.schedule.candidates import candidate_lists
from testbed.schedule.fill import fill_idle
from testbed.schedule.jesa import jesa
from testbed.schedule.problem import Problem
from testbed.schedule.select import select_experts
from testbed.schedule.status import Status

def everything(seed):
    rng = np.random.default_rng(seed)
    for (K, M, N), hops in product(((4, 6, 8), (5, 12, 8), (6, 40, 60)), (1, 2)):
        there, back = rng.uniform(1e4, 9e6, (2, K, K, M))
        problem = Problem(
            score=rng.dirichlet(np.ones(K), N), source=np.arange(N) % K, rate_bps=there,
            return_rate_bps=back if hops == 2 else None, payload_bits=1e4, tx_power_w=1e-2,
            compute_energy_j=rng.lognormal(size=K) * 1e-5, qos=0.6, max_experts=2,
        )
        found = jesa(problem)
        jesa(problem, method="alternate")
        jesa(problem, previous=found)
        if found.status is not Status.SCARCE:
            fill_idle(problem, found, 1.5)
    for K, way in product((4, 8, 32), ("both", "lp")):
        select_experts(rng.dirichlet(np.ones(K), 64), rng.random((64, K)), 0.5, 4, bound=way)
    cost, weight = rng.random((30, 31)), np.ones(30)
    lists = candidate_lists(cost)
    for way in (lists, None):
        assign_subcarriers(cost, weight, candidates=way)
        _assign_by_numba(cost, weight, way)
    assign_many(lists, weight[None])

def alive():
    gc.collect()
    counts = rtsys.get_allocation_stats()
    return counts.alloc - counts.free, counts.alloc

everything(0)
before, _ = alive()
for seed in range(4):
    everything(seed)
after, made = alive()
assert made > 1000, made
print(after - before)
"""


def test_everything_that_is_made_is_freed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=os.environ | {"NUMBA_NRT_STATS": "1"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("0\n", 0), done.stderr


def is_number(returns: ast.expr | None) -> bool:
    text = ast.unparse(returns) if returns else ""
    return all(part.strip() in NUMBERS for part in text.removeprefix("tuple[").removesuffix("]").split(","))


def test_kernels_hand_back_numbers_and_are_handed_numbers() -> None:
    compiled: dict[str, tuple[set[str], ast.FunctionDef]] = {}
    for path in ROOM.glob("*.py"):
        for item in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(item, ast.FunctionDef):
                marks = {mark.id for mark in item.decorator_list if isinstance(mark, ast.Name)}
                if marks & {"kernel", "inlined", "allocating"}:
                    assert item.name not in compiled, f"two kernels are called {item.name}"
                    compiled[item.name] = marks, item
    makers = {name for name, (_, item) in compiled.items() if not is_number(item.returns)}
    assert "pose" in makers
    for name, (marks, item) in compiled.items():
        if "allocating" not in marks:
            assert name not in makers, f"{name} hands back arrays and counts no references"
            called = {c.func.id for c in ast.walk(item) if isinstance(c, ast.Call) and isinstance(c.func, ast.Name)}
            assert not called & makers, f"{name} would not free what {called & makers} make"
