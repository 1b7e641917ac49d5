"""What every command shares: errors as sentences, exit codes, arguments.

Commands import what they need when they run, so that `testbed --help` answers at once. Exit codes: 0 done,
1 failed on the way, 2 refused before anything started, 130 stopped by Ctrl+C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from testbed.errors import AddressError, CampaignError, FirmwareError, ModelError, TestbedError

REFUSED, FAILED, INTERRUPTED = 2, 1, 130

CampaignFile = Annotated[
    Path | None, typer.Argument(help="Campaign TOML; without one, the built-in demo.", show_default=False)
]


def group(words: str) -> typer.Typer:
    """A group of commands with plain help, which needs half the time of a coloured one."""
    return typer.Typer(help=words, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """A refusal or failure of the testbed becomes one sentence and an exit code, not a traceback."""
    try:
        yield
    except (CampaignError, AddressError, FirmwareError, ModelError) as error:
        fail(str(error), REFUSED)
    except TestbedError as error:
        fail(str(error), FAILED)
    except KeyboardInterrupt:
        fail("stopped at once", INTERRUPTED)


def fail(sentence: str, code: int) -> NoReturn:
    """One sentence on standard error, and out; with TESTBED_TRACEBACK set, the traceback instead."""
    if os.environ.get("TESTBED_TRACEBACK"):
        raise
    print(f"testbed: {sentence}", file=sys.stderr)
    raise typer.Exit(code)


def default_out(campaign: Path | None) -> Path:
    """Runs lie beside the campaign they are of."""
    return (campaign.parent if campaign else Path("measurements/demo")) / "runs"
