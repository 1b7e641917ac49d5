"""The scheduling problem and its answer, as frozen values.

Source i holds tokens n with gate scores t_nj ≥ 0, Σ_j t_nj = 1. Choose experts and subcarriers:

    minimise   Σ_n Σ_{j∈S_n} a_j  +  Σ_{active links} P0·s0·w_ij / r_ij(m_ij)
    subject to Σ_{j∈S_n} t_nj ≥ Q_n,   |S_n| ≤ D,   each subcarrier serves at most one directed link

with w_ij the tokens that link i→j carries. One subcarrier a link is energy-optimal, because the energy per bit
of several is P0 over their mean rate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from testbed.errors import ProblemError
from testbed.schedule.arrays import Bools, Floats, Ints, named, place_of, real_numbers, whole_number
from testbed.schedule.channel import Phase, digest
from testbed.schedule.status import Status

QOS_TOLERANCE = 1e-12
"""A score sum this little below the QoS meets it, so that the order of a sum changes no decision."""

SUM_TOLERANCE = 1e-6
"""How far the scores of a token may sum from 1."""


@dataclass(frozen=True, eq=False)
class Problem:
    """One round to be scheduled: K nodes with one expert each, N tokens, M subcarriers.

    score            (N, K)     gate scores, ≥ 0, each row sums to 1 within 1e-6; N may be 0
    source           (N,)       the node each token is at
    rate_bps         (K, K, M)  rate_bps[i, j, m] of directed link i→j on subcarrier m; 0 = unusable; diagonal ignored
    payload_bits                bits of one token's state, the same on both hops
    tx_power_w                  transmit power per subcarrier
    compute_energy_j (K,)       energy of one token at each expert; inf = this node serves no expert
    qos              () or (N,) score sum each token needs, ≥ 0; 0 needs no expert at all
    max_experts                 D ≥ 1, the most experts a token may use
    return_rate_bps  (K, K, M') optional, the way back: return_rate_bps[j, i, m] is the rate of directed link j→i in
                                the return phase, the same (from, to) order as `rate_bps`. The phase has the whole band
                                to itself, and a token sent i→j pays link i→j forward and link j→i back.
                                None = forward hop only.

    A node with all rates 0 is legal: it is reached by nobody, and its own tokens stay with its own expert.
    Arrays are copied unless they are read-only. `ProblemError` names the field, the index and the value.
    """

    score: Floats
    source: Ints
    rate_bps: Floats
    payload_bits: float
    tx_power_w: float
    compute_energy_j: Floats
    qos: float | Floats
    max_experts: int
    return_rate_bps: Floats | None = None

    def __post_init__(self) -> None:
        rate = _rates("rate_bps", self.rate_bps)
        nodes = rate.shape[0]
        score = _score(self.score, nodes)
        store = {
            "rate_bps": rate,
            "score": score,
            "source": _source(self.source, len(score), nodes),
            "compute_energy_j": _compute(self.compute_energy_j, nodes),
            "payload_bits": _positive("payload_bits", self.payload_bits),
            "tx_power_w": _positive("tx_power_w", self.tx_power_w),
            "qos": _qos(self.qos, len(score)),
            "max_experts": whole_number("max_experts", self.max_experts),
        }
        if self.return_rate_bps is not None:
            same = self.return_rate_bps is self.rate_bps
            store["return_rate_bps"] = rate if same else _rates("return_rate_bps", self.return_rate_bps, nodes)
        for name, value in store.items():
            object.__setattr__(self, name, value)

    @property
    def nodes(self) -> int:
        """K."""
        return int(self.rate_bps.shape[0])

    @property
    def tokens(self) -> int:
        """N."""
        return int(self.score.shape[0])

    @property
    def required(self) -> Floats:
        """(N,) score sum each token needs."""
        return np.broadcast_to(np.asarray(self.qos, dtype=float), (self.tokens,))

    @cached_property
    def needs(self) -> Floats:
        """(N,) score sum that counts as meeting the QoS: `required` less its tolerance."""
        return self.required - QOS_TOLERANCE

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        """Forward phase, and the return phase if there is one: link costs and candidate lists, computed once."""
        unit = self.tx_power_w * self.payload_bits
        forward = digest(self.rate_bps, unit)
        if self.return_rate_bps is None:
            return (forward,)
        same = self.return_rate_bps is self.rate_bps
        return forward, forward if same else digest(self.return_rate_bps, unit)

    def with_tokens(self, score: ArrayLike, source: ArrayLike, qos: float | Floats | None = None) -> Problem:
        """The same channel and nodes with other tokens; what was computed from the channel is kept."""
        kept = self.qos if qos is None else qos
        other = replace(self, score=np.asarray(score), source=np.asarray(source), qos=kept)
        if "phases" in self.__dict__:
            other.__dict__["phases"] = self.phases
        return other


@dataclass(frozen=True, eq=False)
class Decision:
    """Who computes what, over which subcarriers, at what energy, and how good that is.

    selected          (N, K) bool  experts of each token
    subcarrier        (K, K)       subcarrier of directed link i→j in the forward phase, −1 = idle
    return_subcarrier (K, K)       of directed link j→i in the return phase at [j, i], −1 = idle; None = one hop
    communication_j   (K, K)       energy to serve source i's tokens at expert j, all hops, joule
    computation_j     (K,)         energy of each expert, joule
    bound_j                        a valid lower bound on the joint optimum of `total_energy_j`, joule
    relaxed           (N,) bool    tokens whose QoS no D reachable experts can meet; they got their Top-D reachable
    status                         how it ended, and what to do
    iterations                     selection + assignment passes
    trace                          best energy after each pass, joule
    """

    selected: Bools
    subcarrier: Ints
    return_subcarrier: Ints | None
    communication_j: Floats
    computation_j: Floats
    bound_j: float
    relaxed: Bools
    status: Status
    iterations: int = 1
    trace: tuple[float, ...] = ()

    @property
    def total_energy_j(self) -> float:
        """Communication and computation of all tokens, joule."""
        return float(self.communication_j.sum() + self.computation_j.sum())

    @property
    def gap(self) -> float:
        """(total − bound) / total: no answer can be better than this one by a larger part; 0 for no energy."""
        total = self.total_energy_j
        return max(0.0, (total - self.bound_j) / total) if total > 0 else 0.0


def _frozen(value: NDArray[Any], given: object) -> NDArray[Any]:
    """The array as read-only memory that nobody else can write to."""
    if value.flags.writeable:
        value = value.copy() if value is given or value.base is not None else value
        value.setflags(write=False)
    return value


def _floats(field: str, value: ArrayLike) -> Floats:
    return _frozen(real_numbers(field, value), value)


def _refuse(field: str, array: NDArray[Any], bad: Bools, remedy: str) -> None:
    if bad.any():
        raise ProblemError(f"{named(field, array, place_of(bad))}: {remedy}")


def _rates(field: str, value: ArrayLike, nodes: int | None = None) -> Floats:
    rate = _floats(field, value)
    if rate.ndim != 3 or rate.shape[0] != rate.shape[1] or rate.shape[0] < 1 or nodes not in (None, rate.shape[0]):
        want = "(K, K, M)" if nodes is None else f"({nodes}, {nodes}, M)"
        raise ProblemError(
            f"{field} has shape {rate.shape}; it must be {want}, one rate a directed link and subcarrier"
        )
    if rate.shape[2] < 1:
        raise ProblemError(f"{field} has shape {rate.shape}; give at least one subcarrier, of rate 0 if none is usable")
    # One pass finds nothing to complain about in the usual case; the diagonal is nobody's link.
    if not rate.size or (rate.min() >= 0.0 and rate.max() < np.inf):
        return rate
    bad = ~(np.isfinite(rate) & (rate >= 0))
    bad[np.arange(len(rate)), np.arange(len(rate))] = False
    _refuse(field, rate, bad, "a rate must be finite and ≥ 0; 0 says unusable")
    return rate


def _score(value: ArrayLike, nodes: int) -> Floats:
    score = _floats("score", value)
    if score.size == 0 and score.ndim <= 2:
        score = _frozen(np.zeros((0, nodes)), None)
    if score.ndim != 2 or score.shape[1] != nodes:
        raise ProblemError(f"score has shape {score.shape}; it must be (N, {nodes}), a score for each token and node")
    _refuse("score", score, ~(np.isfinite(score) & (score >= 0)), "a gate score must be finite and ≥ 0")
    total = score.sum(axis=1)
    wrong = np.abs(total - 1.0) > SUM_TOLERANCE
    if wrong.any():
        n = int(np.argmax(wrong))
        raise ProblemError(
            f"score[{n}] sums to {total[n]:.9g}; the scores of a token must sum to 1 within {SUM_TOLERANCE}"
        )
    return score


def _source(value: ArrayLike, tokens: int, nodes: int) -> Ints:
    try:
        raw = np.asarray(value)
    except ValueError as error:
        raise ProblemError(f"source = {value!r:.80} has rows of different lengths") from error
    if raw.size == 0 and raw.ndim == 1:
        raw = raw.astype(np.int64).reshape(-1)
    if raw.shape != (tokens,) or raw.dtype.kind not in "iu":
        raise ProblemError(f"source has shape {raw.shape} and type {raw.dtype}; it must be ({tokens},) node indices")
    _refuse("source", raw, (raw < 0) | (raw >= nodes), f"a token must be at one of the nodes 0 … {nodes - 1}")
    return _frozen(np.asarray(raw, np.int64, order="C"), value)


def _compute(value: ArrayLike, nodes: int) -> Floats:
    energy = _floats("compute_energy_j", value)
    if energy.shape != (nodes,):
        raise ProblemError(f"compute_energy_j has shape {energy.shape}; it must be ({nodes},), one energy a node")
    _refuse(
        "compute_energy_j",
        energy,
        ~(energy >= 0),
        "energy must be ≥ 0 joule; inf says that the node has no expert",
    )
    return energy


def _qos(value: ArrayLike, tokens: int) -> float | Floats:
    qos = _floats("qos", value)
    if qos.shape not in ((), (tokens,)):
        raise ProblemError(f"qos has shape {qos.shape}; it must be one number, or ({tokens},), one for each token")
    _refuse("qos", qos, ~(np.isfinite(qos) & (qos >= 0)), "the score sum a token needs must be finite and ≥ 0")
    return float(qos) if qos.ndim == 0 else qos


def _positive(field: str, value: float) -> float:
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not 0 < float(value) < np.inf:
        raise ProblemError(f"{field} = {value!r}: it must be one finite number > 0")
    return float(value)
