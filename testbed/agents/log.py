"""What a process says while it works: one JSON object a line on standard error, with what it was about."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

import structlog


def log_stranger(log: structlog.stdlib.BoundLogger) -> Callable[[str], None]:
    """Notes in `log` who was refused."""
    return lambda who: log.warning("refused an unknown key", who=who)


def logger(**bound: object) -> structlog.stdlib.BoundLogger:
    """A logger whose every line carries `bound`, e.g. the node; lines have time (UTC), level and event."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    log: structlog.stdlib.BoundLogger = structlog.get_logger().bind(**bound)
    return log
