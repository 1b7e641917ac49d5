"""What controller and agents say to each other.

Every message is an envelope that names run, node and process, around one tagged body. `VERSION` grows with
every change here; the envelope and `Hello` only ever grow, so that any version can read who is calling.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from testbed.protocol import Aggregated, Gated, Prediction, Reception, Sent, Slot, Sounding

VERSION = 2

Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Seconds = Annotated[float, Meta(gt=0, le=3600)]
Text = Annotated[str, Meta(max_length=4096)]


class Message(Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Base of every body."""


# Control


class Hello(Struct, frozen=True, tag=True):
    """An agent asks to join. Fields of later versions are ignored, so that they can be refused by name."""

    version: Count


class Welcome(Message, frozen=True):
    """The controller takes the agent in: how long to wait for each other, and what to set up (JSON)."""

    lease_s: Seconds
    heartbeat_s: Seconds
    setup: str


class Refused(Message, frozen=True):
    """The controller does not, or no longer, know this process as the node."""

    reason: Text


class Heartbeat(Message, frozen=True):
    """I am here; an agent adds the request that it is working on, 0 when idle."""

    working: Count = 0


class Bye(Message, frozen=True):
    """I am leaving."""

    reason: Text


# Requests, one for each verb of `testbed.protocol.Node`


class Begin(Message, frozen=True):
    """Take up the tokens of a batch."""

    batch: Count


class Resume(Message, frozen=True):
    """Take up the tokens of a batch as they were when a layer began."""

    batch: Count
    layer: Count


class Sound(Message, frozen=True):
    """Put a sounding frame on the air."""

    number: Count


class Measure(Message, frozen=True):
    """Hear a sounding frame."""

    source: Count
    number: Count


class Silence(Message, frozen=True):
    """Take everything off the air."""


class Gate(Message, frozen=True):
    """Begin a layer, with the own tokens or for those of others alone."""

    layer: Count
    own: bool


class Send(Message, frozen=True):
    """Put a slot's frame on the air."""

    slot: Slot


class Receive(Message, frozen=True):
    """Hear a slot's frame."""

    slot: Slot


class Compute(Message, frozen=True):
    """Apply the own expert."""

    layer: Count


class Aggregate(Message, frozen=True):
    """Combine the results of `selected` (N, K)."""

    layer: Count
    selected: NDArray[np.bool_]


class Predict(Message, frozen=True):
    """Score the next byte of every token."""


# Replies


class Done(Message, frozen=True):
    """Nothing to tell."""


class OnAir(Message, frozen=True):
    """Length of the frame on the air."""

    seconds: float


class Measured(Message, frozen=True):
    """The measured link, or None."""

    sounding: Sounding | None


class Scores(Message, frozen=True):
    """Gate scores."""

    gated: Gated


class Transmitted(Message, frozen=True):
    """What the transmission cost."""

    sent: Sent


class Heard(Message, frozen=True):
    """What was made of a slot."""

    reception: Reception


class Computed(Message, frozen=True):
    """How many states the expert was applied to."""

    count: Count


class LayerEnded(Message, frozen=True):
    """How the layer ended."""

    aggregated: Aggregated


class Predicted(Message, frozen=True):
    """The prediction."""

    prediction: Prediction


class Failed(Message, frozen=True):
    """The node could not do it: the kind of error, and its sentence."""

    kind: Text
    text: Text


Request = Begin | Resume | Sound | Measure | Silence | Gate | Send | Receive | Compute | Aggregate | Predict
Reply = Done | OnAir | Measured | Scores | Transmitted | Heard | Computed | LayerEnded | Predicted | Failed


class Envelope(Struct, frozen=True):
    """Around every message.

    Attributes:
        epoch: random number of the controller's run, 0 in the first hello.
        node: index of the node that sends or is meant.
        incarnation: random number of that node's membership; a later membership has another.
        request: number of the request or reply, 0 for control.
    """

    epoch: Count
    node: Count
    incarnation: Count
    request: Count


class ToController(Envelope, frozen=True):
    """An agent speaks."""

    body: Hello | Heartbeat | Bye | Reply


class ToAgent(Envelope, frozen=True):
    """The controller speaks."""

    body: Welcome | Refused | Heartbeat | Bye | Request


def trim(text: str) -> str:
    """`text` cut to what a message may hold."""
    return text if len(text) <= 4096 else text[:4095] + "…"
