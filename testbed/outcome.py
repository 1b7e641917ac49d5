"""What a run leaves behind: one frozen value a round, and the closing figures of the run.

Arrays are indexed [from, to] for directed links; "forward" carries hidden states i → j, "back" carries
results j → i and is indexed by its own direction, [j, i].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Measured:
    """Channel knowledge of one round: K nodes, U used subcarriers.

    Attributes:
        h: (K, K, U) complex64; zero where nothing was measured.
        noise: (K, K, U) float32 noise variance per subcarrier.
        snr: (K, K, U) float32 linear; zero where nothing was measured.
        valid: (K, K) bool; the diagonal is False.
        cfo_hz: (K, K) carrier offset.
        timing_samples: (K, K) where the frame began in the capture.
        clipped: (K, K) bool.
    """

    h: NDArray[np.complex64]
    noise: NDArray[np.float32]
    snr: NDArray[np.float32]
    valid: NDArray[np.bool_]
    cfo_hz: NDArray[np.float64]
    timing_samples: NDArray[np.float64]
    clipped: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Energy:
    """Energy of one round in joule.

    Attributes:
        computation: (K,) at each expert.
        forward: (K, K) hidden states i → j.
        back: (K, K) results j → i.
        overhead: preambles, headers and training, which no link owns.
    """

    computation: NDArray[np.float64]
    forward: NDArray[np.float64]
    back: NDArray[np.float64]
    overhead: float

    def total_j(self) -> float:
        """Everything, in joule."""
        return float(self.computation.sum() + self.forward.sum() + self.back.sum() + self.overhead)


@dataclass(frozen=True, eq=False)
class Traffic:
    """Blocks of one phase, counted per directed link (K, K).

    Attributes:
        sent: blocks put on the air, retransmissions included.
        failed: blocks that did not pass their checksum, retransmissions included.
        given_up: blocks that failed at the last attempt.
        mcs: modulation and coding scheme of each link, −1 where idle.
        subcarrier_link: (M,) which link, as from·K + to, each data subcarrier serves; −1 = none.
        air_time_s: time with a carrier on the air.
    """

    sent: NDArray[np.int64]
    failed: NDArray[np.int64]
    given_up: NDArray[np.int64]
    mcs: NDArray[np.int64]
    subcarrier_link: NDArray[np.int64]
    air_time_s: float


@dataclass(frozen=True, eq=False)
class RoundRecord:
    """Everything that one round measured, decided, spent and lost; N tokens over all live nodes.

    Attributes:
        number: round number in the run; layer: model layer.
        alive: (K,) nodes that finished the round.
        measured: channel knowledge the decision was made on.
        source: (N,) node of each token; score: (N, K) gate scores; selected: (N, K) experts chosen.
        relaxed: (N,) tokens whose QoS no allowed set of reachable experts meets.
        lost: (N,) tokens that missed a chosen expert; fallback: (N,) tokens that missed all of them.
        qos: z·γ(l) of this layer.
        predicted, spent: energy by the model, and by real air time, retransmissions counted.
        bound_j: valid lower bound on the joint optimum; status: how the decision ended.
        forward, back: traffic of the two phases.
        constellation: (c,) complex64 symbols of the link `constellation_link` (from, to).
        seconds: wall time of each phase by name. Not reproducible, the only such field.
        events: sentences on what went wrong, e.g. a node that died.
    """

    number: int
    layer: int
    alive: NDArray[np.bool_]
    measured: Measured
    source: NDArray[np.int64]
    score: NDArray[np.float64]
    selected: NDArray[np.bool_]
    relaxed: NDArray[np.bool_]
    lost: NDArray[np.bool_]
    fallback: NDArray[np.bool_]
    qos: float
    predicted: Energy
    spent: Energy
    bound_j: float
    status: str
    forward: Traffic
    back: Traffic
    constellation: NDArray[np.complex64]
    constellation_link: tuple[int, int]
    seconds: Mapping[str, float]
    events: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """The closing figures of a run.

    Attributes:
        tokens: token-layer pairs processed; relaxed and lost ones are counted among them.
        block_error_rate: failed over sent blocks, None when nothing was sent; retransmissions: blocks sent again.
        accuracy, accuracy_central: next-byte accuracy of the run, and of the same model on the same
            tokens in one place; None when no batch was finished.
    """

    run_dir: str
    rounds: int
    tokens: int
    tokens_relaxed: int
    tokens_lost: int
    block_error_rate: float | None
    retransmissions: int
    energy_predicted_j: float
    energy_spent_j: float
    bound_j: float
    accuracy: float | None
    accuracy_central: float | None
    seconds: float
