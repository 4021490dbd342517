"""Logging as events: ``log.info("epoch_done", epoch=3)``. Libraries only get a logger; applications configure."""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logging(*, as_json: bool = False, level: int = logging.INFO) -> None:
    """Set up logging for a program: to standard error, for people or as JSON lines. No patient data in events."""
    renderer: structlog.typing.Processor
    if as_json:
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
