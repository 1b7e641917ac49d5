"""Processes for the tests of the link: `python -m tests.system.link_process agent|hub …`.

What they do is appended to a log, a line an event: monotonic seconds, word, text.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from testbed.errors import LinkError
from testbed.link.hub import Hub
from testbed.link.keys import client_keys, server_keys
from testbed.link.remote import serve_node
from testbed.link.spoke import Spoke
from tests.reference.link_node import ReferenceNode

REPOSITORY = Path(__file__).parents[2]


def agent(connect: str, index: str, keys: str, log: str) -> None:
    """Joins again whenever its membership ends, until told that the run has ended or nobody has answered for long."""
    k = int(index)
    reason, refusals = "", 0
    with Spoke(connect, client_keys(Path(keys), k), k) as spoke:
        while "run has ended" not in reason:
            try:
                write(log, "joined", spoke.join(4.0))
                refusals = 0
            except LinkError as error:
                write(log, "refused", str(error))
                refusals += 1
                if refusals == 20:
                    return
                continue
            reason = spoke.serve(serve_node(ReferenceNode(k)), lambda: write(log, "quiet", ""))
            write(log, "ended", reason)


def hub(bind: str, nodes: str, keys: str, log: str) -> None:
    """Waits for its nodes, then for ever."""
    with Hub(bind, server_keys(Path(keys), int(nodes)), int(nodes), lambda k: f'{{"node": {k}}}') as there:
        write(log, "address", there.address)
        there.wait_joined(20.0)
        write(log, "complete", "")
        time.sleep(60.0)


def write(log: str, word: str, text: str) -> None:
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"{time.monotonic()} {word} {text}\n")


def start(*arguments: object) -> subprocess.Popen[bytes]:
    """A process that runs this file."""
    command = [sys.executable, "-m", "tests.system.link_process", *(str(a) for a in arguments)]
    return subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL)


def read(log: Path) -> list[tuple[float, str, str]]:
    """The events of a log so far."""
    if not log.exists():
        return []
    lines = [line.split(" ", 2) for line in log.read_text(encoding="utf-8").splitlines()]
    return [(float(at), word, text) for at, word, text in lines]


def wait_for(log: Path, word: str, deadline_s: float = 15.0, count: int = 1) -> tuple[float, str, str]:
    """The `count`-th event `word` of a log; fails when it does not come."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        found = [event for event in read(log) if event[1] == word]
        if len(found) >= count:
            return found[count - 1]
        time.sleep(0.01)
    raise AssertionError(f"no {word} number {count} in {read(log)}")


if __name__ == "__main__":
    {"agent": agent, "hub": hub}[sys.argv[1]](*sys.argv[2:])
