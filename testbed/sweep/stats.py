"""Means with confidence over seeds. Schemes are compared seed by seed: same text, same channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from testbed.errors import CampaignError
from testbed.sweep.cell import Figures

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
RADIO_PARTS = ("forward", "return")
MODEL_PARTS = ("computation", *RADIO_PARTS)
"""The energy that the optimisation is about; preambles, headers, pilots and soundings come on top."""
ALL_PARTS = (*MODEL_PARTS, "overhead")


@dataclass(frozen=True)
class Mean:
    """A mean and its 95 % confidence interval (Student's t over seeds; W. S. Gosset, Biometrika 6, 1908).

    Attributes:
        value, low, high: same unit; low and high are NaN for a single seed.
    """

    value: float
    low: float
    high: float

    def text(self, scale: float = 1.0, digits: int = 1) -> str:
        """`value [low, high]` after scaling; – where there is none."""
        if np.isnan(self.value):
            return "–"
        v, lo, hi = (round(scale * x, digits) for x in (self.value, self.low, self.high))
        return f"{v:.{digits}f} [{lo:.{digits}f}, {hi:.{digits}f}]"


def mean(values: ArrayLike) -> Mean:
    """Of (S,) values, one a seed; CampaignError when there is none."""
    x = np.asarray(values, float)
    if x.size == 0:
        raise CampaignError("no seed has finished cells for every scheme: run more seeds, or look at the errors")
    if x.size == 1:
        return Mean(float(x[0]), float("nan"), float("nan"))
    half = stats.t.ppf((1 + CONFIDENCE) / 2, x.size - 1) * x.std(ddof=1) / np.sqrt(x.size)
    return Mean(float(x.mean()), float(x.mean() - half), float(x.mean() + half))


def accuracy(cells: Sequence[Figures]) -> Floats:
    """(S,) next-byte accuracy over all nodes of each cell; tokens of lost nodes count neither way."""
    hits, scored = (_counts(cells, name).sum(axis=1) for name in ("hits", "scored"))
    return np.asarray(hits / np.maximum(scored, 1))


def accuracy_by_domain(cells: Sequence[Figures]) -> dict[str, Floats]:
    """(S,) next-byte accuracy of each domain's text; NaN where nothing was scored."""
    domains = [str(name) for name in np.asarray(cells[0]["domains"])]
    hits, scored = (_counts(cells, name) for name in ("hits", "scored"))
    share = np.divide(hits, scored, out=np.full(hits.shape, np.nan), where=scored > 0)
    return {name: share[:, k] for k, name in enumerate(domains)}


def energy_by_layer(cells: Sequence[Figures], parts: Sequence[str] = MODEL_PARTS) -> Floats:
    """(S, L) spent joule a token of each layer, in the sum of `parts`."""
    return np.array([np.sum([_parts(cell)[part] for part in parts], axis=0) / _layer_tokens(cell) for cell in cells])


def energy(cells: Sequence[Figures], parts: Sequence[str] = MODEL_PARTS) -> Floats:
    """(S,) spent joule a token and layer, in the sum of `parts`."""
    return np.asarray(energy_by_layer(cells, parts).mean(axis=1))


def bound(cells: Sequence[Figures]) -> Floats:
    """(S,) lower bound in joule a token and layer of what the scheme was asked to meet."""
    return np.array([float(str(cell["bound_j"])) / int(str(cell["tokens"])) for cell in cells])


def predicted(cells: Sequence[Figures]) -> Floats:
    """(S,) joule a token and layer that the plans foresaw, in the sum of MODEL_PARTS."""
    return np.array([_counts([cell], "predicted_j").sum() / int(str(cell["tokens"])) for cell in cells])


def seconds_a_round(cells: Sequence[Figures]) -> Floats:
    """(S,) seconds in which a round has payload frames on the air."""
    return rate(cells, "air_s", "rounds")


def endings(cells: Sequence[Figures], status: str) -> Floats:
    """(S,) share of the rounds whose decision ended with that `testbed.schedule.status.Status`."""
    counts = [cell["endings"] for cell in cells]
    assert all(isinstance(one, dict) for one in counts)
    return np.array([one.get(status, 0) / sum(one.values()) for one in counts if isinstance(one, dict)])


def rate(cells: Sequence[Figures], count: str, of: str) -> Floats:
    """(S,) quotient of two counts."""
    return np.array([float(str(cell[count])) / max(float(str(cell[of])), 1.0) for cell in cells])


def selection(cells: Sequence[Figures]) -> Floats:
    """(L, K, K) mean share of node i's tokens that use expert j, over all cells; rows sum to experts a token."""
    selected = _counts(cells, "selected").sum(axis=0)
    tokens = sum(_layer_tokens(cell) for cell in cells) / selected.shape[1]
    return np.asarray(selected / tokens)


def accuracy_without(cells: Sequence[Figures], node: int) -> Floats:
    """(S,) accuracy over the texts of all other nodes."""
    hits, scored = (np.delete(_counts(cells, name), node, axis=1).sum(axis=1) for name in ("hits", "scored"))
    return np.asarray(hits / np.maximum(scored, 1))


def _counts(cells: Sequence[Figures], name: str) -> Floats:
    """(S, …) of the arrays of that name."""
    return np.array([np.asarray(cell[name]) for cell in cells], float)


def _parts(cell: Figures) -> dict[str, list[float]]:
    parts = cell["energy_j"]
    assert isinstance(parts, dict)
    return parts


def _layer_tokens(cell: Figures) -> float:
    return int(str(cell["tokens"])) / len(_parts(cell)["forward"])
