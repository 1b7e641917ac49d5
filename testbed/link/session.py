"""What a session asks its owner to do: values, one for each kind of act.

`ControllerSession` and `AgentSession` decide who belongs to a run and which requests are open. They take
events and a monotonic time in seconds, and return these; they know neither sockets nor clocks.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from testbed.link.messages import Reply, Request, ToAgent, ToController


def random_number() -> int:
    """For an epoch or an incarnation: never 0, unlikely to occur twice."""
    return secrets.randbits(62) + 1


@dataclass(frozen=True)
class Tell:
    """Controller: send `message` to the connection `address`."""

    address: bytes
    message: ToAgent


@dataclass(frozen=True)
class Joined:
    """Controller: `node` is there, as `incarnation`."""

    node: int
    incarnation: int


@dataclass(frozen=True)
class Lost:
    """Controller: `node` is gone."""

    node: int
    reason: str


@dataclass(frozen=True)
class Denied:
    """Controller: somebody with the key of `client` was turned away."""

    client: int
    reason: str


@dataclass(frozen=True)
class Answered:
    """Controller: the reply to `request`."""

    request: int
    reply: Reply


@dataclass(frozen=True)
class Unanswered:
    """Controller: `request` will never be answered."""

    request: int
    reason: str


@dataclass(frozen=True)
class Say:
    """Agent: send `message` to the controller."""

    message: ToController


@dataclass(frozen=True)
class Admitted:
    """Agent: the controller took us in; `setup` is its JSON text."""

    setup: str


@dataclass(frozen=True)
class Execute:
    """Agent: work on `body`, then call `finished`."""

    request: int
    body: Request


@dataclass(frozen=True)
class Ended:
    """Agent: no longer a member, the radio must be silent. Comes once; `dismissed` where the run is over."""

    reason: str
    dismissed: bool = False


ControllerAction = Tell | Joined | Lost | Denied | Answered | Unanswered
AgentAction = Say | Admitted | Execute | Ended
