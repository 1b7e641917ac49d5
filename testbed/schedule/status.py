"""How a search ended, and what to do about it."""

from __future__ import annotations

from enum import Enum


class Status(Enum):
    """How a search ended; the value says what to do about it."""

    OPTIMAL = "Proven optimal. Nothing to do."
    WITHIN_GAP = "Feasible, and proven within `gap` of the optimum. Ask for a smaller gap if that is too much."
    NODE_LIMIT = "Stopped at the node limit; answer and bound are valid. Raise node_limit, or accept a gap."
    TIME_LIMIT = "Stopped at the time limit; answer and bound are valid. Raise the time limit."
    ITERATION_LIMIT = "Stopped at the iteration limit; the answer is feasible. Raise max_iterations."
    RULE = "A fixed rule chose, nothing was minimised; the answer is feasible. Compare its energy with jesa."
    FALLBACK = "The scheduler did not decide in time or failed; a plain rule did. See the events of the round."
    SCARCE = (
        "More links must be served than these subcarriers can; what could not be served is named in the answer."
        " Give more subcarriers, lower qos, or raise max_experts."
    )
    NOT_RUNNABLE = "A lower bound: links share subcarriers, so no radio can run it. Use it for comparison only."

    @property
    def advice(self) -> str:
        """What happened and what to do, in one or two sentences."""
        return str(self.value)
