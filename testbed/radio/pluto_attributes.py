"""Attributes of a Pluto's context: written in order, read back, with errors that say what to do."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterable, Iterator
from typing import Any

from testbed.errors import RadioError
from testbed.radio.pluto_failure import explain
from testbed.radio.pluto_steps import Step, mismatch


class Attributes:
    """Attributes of a context, written and read back step by step; each is looked up once, which is the slow part."""

    def __init__(self, context: Any) -> None:  # noqa: ANN401
        self._context = context
        self._found: dict[tuple[str, str, bool, str], Any] = {}

    def read(self, step: Step) -> str:
        """The value in force; RadioError where the unit does not tell it."""
        with failing(step.place):
            return str(self._find(step).value)

    def write(self, step: Step) -> None:
        """Write one step."""
        with failing(f"{step.place} = {step.value[:40].splitlines()[0]}"):
            self._find(step).value = step.value

    def carry_out(self, order: Iterable[Step]) -> None:
        """Write all steps, then read back all that can be.

        Raises:
            RadioError: naming the first attribute that did not take its value.
        """
        last: dict[str, Step] = {}
        for step in order:
            self.write(step)
            last[step.place] = step
        for step in last.values():
            checked = step.tolerance is None or step.tolerance >= 0
            if checked and (wrong := mismatch(step, self.read(step))):
                raise RadioError(f"{wrong}; restart the unit, or choose a value that it has")

    def _find(self, step: Step) -> Any:  # noqa: ANN401
        where = step.device, step.channel, step.output, step.name
        if where not in self._found:
            device = self._context.find_device(step.device)
            place = device.find_channel(step.channel, step.output) if step.channel else device
            self._found[where] = place.attrs[step.name]
        return self._found[where]


@contextlib.contextmanager
def _letting_go() -> Iterator[None]:
    """An error holds on to the calls that failed, and they to their buffer.

    It would stay open on the unit, and crash the interpreter where it is collected together with its context.
    """
    try:
        yield
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)
        raise


@contextlib.contextmanager
def failing(what: str) -> Iterator[None]:
    """Errors of the libraries as ours, and no buffer kept alive by them."""
    try:
        with _letting_go():
            yield
    except OSError as error:
        raise RadioError(f"{what}: {explain(error)}") from error
    except (KeyError, AttributeError) as error:
        raise RadioError(f"{what}: the unit has no such attribute; update its firmware") from error
