"""What a round asks of a node, and what the node answers.

The round knows nothing of a node but the `Node` protocol below; the values are what crosses a process
boundary when the node lives elsewhere. Whoever implements `Node` (a node in this process, or one behind a
socket) raises `NodeLost` when the node is gone and `NodeFailed` when it could not do what was asked.

Indices: K nodes 0…K−1, node k holds expert k; N tokens of one node are rows 0…N−1; data subcarriers 0…M−1;
layers 0…L−1 (the paper's l is layer + 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Phase = Literal["forward", "return"]


@dataclass(frozen=True, eq=False)
class Share:
    """What one directed link carries in a slot: one payload block for each token row.

    Attributes:
        destination: node the blocks are for.
        rows: (n,) token rows, in the batch of the node that owns the tokens (the slot's source in the
            forward phase, the destination in the return phase).
        subcarriers: (s,) data subcarriers that serve this link.
        mcs: index of the modulation and coding scheme.
    """

    destination: int
    rows: NDArray[np.int64]
    subcarriers: NDArray[np.int64]
    mcs: int


@dataclass(frozen=True, eq=False)
class Slot:
    """One frame on the air: a source and the links it serves at the same time.

    Attributes:
        number: frame number, never used twice in a run; a receiver drops every frame with another number.
        layer: layer of the round.
        phase: hidden states on their way to experts, or results on their way back.
        source: transmitting node.
        shares: one entry for each directed link; their subcarriers are disjoint.
        attempt: 0 for the first transmission; later ones carry only blocks that failed.
    """

    number: int
    layer: int
    phase: Phase
    source: int
    shares: tuple[Share, ...]
    attempt: int = 0


@dataclass(frozen=True, eq=False)
class Sounding:
    """One measured directed link.

    Attributes:
        source, destination: the link source → destination.
        h: (U,) complex64 channel on the used subcarriers; |h|² is in units of the receiver's full scale.
        noise: (U,) float32 noise variance per subcarrier, same units.
        snr: (U,) float32 linear SNR per subcarrier, without bias.
        cfo_hz: carrier offset between the two units.
        timing_samples: start of the frame in the capture, in samples.
        clipped: the capture touched full scale.
    """

    source: int
    destination: int
    h: NDArray[np.complex64]
    noise: NDArray[np.float32]
    snr: NDArray[np.float32]
    cfo_hz: float
    timing_samples: float
    clipped: bool


@dataclass(frozen=True, eq=False)
class Gated:
    """Gate scores of a node's tokens: (N, K), rows sum to 1."""

    score: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sent:
    """What a transmission cost.

    Attributes:
        air_time_s: length of one frame.
        share_s: (shares,) time that each link's subcarriers carried its blocks.
        overhead_s: time of preamble, header and training that no link owns.
    """

    air_time_s: float
    share_s: NDArray[np.float64]
    overhead_s: float


@dataclass(frozen=True, eq=False)
class Reception:
    """What a destination made of a slot.

    Attributes:
        heard: a frame with the slot's number was found.
        delivered: (n,) which of its share's blocks passed their checksum, in the order of its rows.
        snr_db: mean SNR over the share's subcarriers, NaN when not heard.
        evm: error vector magnitude (rms, relative to unit energy), NaN when not heard.
        constellation: (c,) complex64 a few equalised symbols, for pictures.
    """

    heard: bool
    delivered: NDArray[np.bool_]
    snr_db: float
    evm: float
    constellation: NDArray[np.complex64]


@dataclass(frozen=True, eq=False)
class Aggregated:
    """How a layer ended for a node's tokens.

    Attributes:
        lost: (N,) tokens for which at least one chosen expert's result never came.
        fallback: (N,) of these, tokens left with no expert at all, served by the node's own expert.
    """

    lost: NDArray[np.bool_]
    fallback: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a batch ended with, for each of N tokens.

    Attributes:
        predicted: (N,) the likeliest next byte; target: (N,) the byte that really follows.
        nats: (N,) float32, minus the logarithm of the probability given to `target`.
    """

    predicted: NDArray[np.uint8]
    target: NDArray[np.uint8]
    nats: NDArray[np.float32]


class Node(Protocol):
    """One radio and one expert, in this process or behind a socket.

    A transmission repeats until `silence`: radios share no clock, so receivers capture whenever they can.
    """

    @property
    def index(self) -> int:
        """Number of this node, and of the expert it holds."""
        ...

    def begin(self, batch: int) -> None:
        """Take up the tokens of `batch` = 0…; what an earlier batch left behind is forgotten."""
        ...

    def resume(self, batch: int, layer: int) -> None:
        """Take up the tokens of `batch` as they were when `layer` began; NodeFailed where that is not known."""
        ...

    def sound(self, number: int) -> float:
        """Put sounding frame `number` on the air; its length in seconds."""
        ...

    def measure(self, source: int, number: int) -> Sounding | None:
        """Hear sounding frame `number` of `source`; None when no such frame was found."""
        ...

    def silence(self) -> None:
        """Take whatever is on the air off."""
        ...

    def gate(self, layer: int, own: bool = True) -> Gated:
        """Begin `layer`: attention and gate on the own tokens, whose hidden states stay here.

        Without `own` only the expert takes part, for tokens of others: the own ones wait, and no scores come back.
        """
        ...

    def send(self, slot: Slot) -> Sent:
        """Put the frame of `slot` on the air."""
        ...

    def receive(self, slot: Slot) -> Reception:
        """Hear the frame of `slot` and keep what passed its checksum."""
        ...

    def compute(self, layer: int) -> int:
        """Apply the own expert to every state that was received; how many there were."""
        ...

    def aggregate(self, layer: int, selected: NDArray[np.bool_]) -> Aggregated:
        """Combine the results of `selected` (N, K), own expert included, and end the layer."""
        ...

    def predict(self) -> Prediction:
        """Score the next byte of every token after the last layer."""
        ...
