"""How inner loops are compiled: on first call, without the interpreter lock, kept on disk while their sources last.

numba looks for changes in the file of the compiled function only, not in the files of the functions and constants
that became part of it (its issue 1833). Without the stamps below, a pulled or edited kernel would go on running as it
was inside its callers. They are looked at when a room is imported: a process that began before an edit, and first needs
some kernel after it, still leaves the old code behind.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.dispatcher import Dispatcher

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])

ROOT = Path(__file__).parent
STAMP = "sources.sha256"
COMPILES = re.compile(rb"(compiled|numba) import")
IMPORT = re.compile(rb"^from (testbed[\w.]*) import (\([^)]*\)|.*)", re.MULTILINE)
WORD = re.compile(rb"\w+")


def kernel(**options: Any) -> Callable[[F], F]:  # noqa: ANN401
    """A decorator that compiles with numba's options. Compiled code of a folder goes as a whole when a source did."""

    def compiled(function: F) -> F:
        dispatcher = njit(cache=True, nogil=True, **options)(function)
        kept = cache_folder(dispatcher)
        if kept is not None:
            _forget_if_stale(Path(function.__code__.co_filename).parent, kept)
        return cast(F, dispatcher)

    return compiled


def cache_folder(kernel: Any) -> Path | None:  # noqa: ANN401
    """Where compiled code of a kernel is kept; None if it is not compiled, with NUMBA_DISABLE_JIT=1 for a debugger."""
    return Path(str(kernel.stats.cache_path)) if isinstance(kernel, Dispatcher) else None


@cache
def _forget_if_stale(folder: Path, kept: Path) -> None:
    """Throw away compiled code in `kept` unless it was made from what `folder` holds now."""
    stamp, now = kept / STAMP, sources_digest(folder)
    if stamp.exists() and stamp.read_text(encoding="ascii") == now:
        return
    log.warning("compiling the inner loops of %s: once until they change, seconds to a minute", folder.name)
    for code in kept.glob("*.nb[ic]"):
        code.unlink(missing_ok=True)
    stamp.write_text(now, encoding="ascii")


def sources_digest(folder: Path) -> str:
    """Hex digest of a folder's files that compile something, and of the project's modules they import, however deep."""
    texts: dict[Path, bytes] = {}
    waiting = [path for path in folder.glob("*.py") if COMPILES.search(path.read_bytes())]
    while waiting:
        path = waiting.pop()
        if path not in texts:
            texts[path] = path.read_bytes()
            waiting += _imported(texts[path])
    digest = hashlib.sha256()
    for path, text in sorted(texts.items()):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(text).digest())
    return digest.hexdigest()


def _imported(text: bytes) -> list[Path]:
    """Files of the project that a source imports: `from testbed.a import b` names a.py, or a/b.py."""
    found = []
    for module, names in IMPORT.findall(text):
        place = ROOT.joinpath(*module.decode().split(".")[1:])
        found += [place.with_suffix(".py"), *(place / f"{name.decode()}.py" for name in WORD.findall(names))]
    return [path for path in found if path.exists()]
