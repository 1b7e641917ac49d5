"""Whether this machine, and the Plutos of a campaign, are fit for a run."""

from __future__ import annotations

import shutil
import sys
from importlib import metadata
from pathlib import Path

from testbed.agents.remote import check_keys
from testbed.campaign import Campaign
from testbed.errors import TestbedError
from testbed.radio.doctor import Finding, examine_pluto

NEEDED_BYTES = 1 << 30


def examine(campaign: Campaign, out: Path, addresses: list[str]) -> list[Finding]:
    """Python, keys and disk of this machine, then each radio of `addresses`; radios are silent afterwards."""
    radios = addresses or [a for a in campaign.radio.addresses or [] if a.startswith("pluto:")]
    findings = [_python(), _keys(campaign), _disk(out)]
    for address in radios:
        findings += [
            Finding(f"{address}: {one.name}", one.well, one.found, one.remedy) for one in examine_pluto(address)
        ]
    return findings


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "numba", "pyzmq", "h5py"))
    return Finding("python", sys.version_info >= (3, 11), f"{version}, {packages}", "install Python 3.11 or newer")


def _keys(campaign: Campaign) -> Finding:
    try:
        return Finding("keys", True, f"{check_keys(campaign)} holds a pair for each of {campaign.nodes.count} nodes")
    except TestbedError as error:
        return Finding("keys", False, str(error), "see the message")


def _disk(out: Path) -> Finding:
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    return Finding("disk", free >= NEEDED_BYTES, f"{free / 1e9:.1f} GB free for {out}", "free some space, or use --out")
