"""The short way from Python into a compiled function: a few lines of C, compiled on first use and kept on disk.

numba's own way in and out takes four times as long as a small assignment (`benchmarks/schedule.py`). `direct.c` looks
at the types in passing, hands pointers over and makes the answer. Where there is no C compiler, or no header of Python,
numba's way remains: the same answers, later.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shlex
import subprocess
import sysconfig
import tempfile
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import cast

import numpy as np

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("direct.c")
COMPILING_S = 60.0


def load(kept: Path) -> ModuleType | None:
    """The module of direct.c from the folder `kept`, compiled if it is not there; None where that cannot be done."""
    try:
        built = kept / f"direct-{_stamp()}{_suffix()}"
        if not built.exists():
            _compile(built)
        loader = ExtensionFileLoader("direct", str(built))
        module = module_from_spec(cast(ModuleSpec, spec_from_loader("direct", loader)))
        loader.exec_module(module)
    except (OSError, ImportError, subprocess.SubprocessError) as error:
        log.info("small assignments go numba's way, which takes longer: %s", error)
        return None
    return module


def _suffix() -> str:
    return str(sysconfig.get_config_var("EXT_SUFFIX"))


def _stamp() -> str:
    """What tells one build from another: the source, and the numpy whose headers it sees."""
    return hashlib.sha256(SOURCE.read_bytes() + np.__version__.encode()).hexdigest()[:12]


def _compile(built: Path) -> None:
    """Compile beside the place and move there, as other processes may do the same; older builds go."""
    linker = shlex.split(sysconfig.get_config_var("LDSHARED") or "cc -shared")
    headers = [f"-I{folder}" for folder in (sysconfig.get_path("include"), np.get_include())]
    with tempfile.TemporaryDirectory(dir=built.parent) as folder:
        made = Path(folder) / "direct.so"
        command = [*linker, "-O2", "-fPIC", *headers, str(SOURCE), "-o", str(made)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILING_S, check=False)
        if done.returncode != 0:
            raise ImportError(f"{shlex.join(command)}: {done.stderr.strip() or done.returncode}")
        os.replace(made, built)
    for old in built.parent.glob(f"direct-*{_suffix()}"):
        if old != built:
            old.unlink(missing_ok=True)
