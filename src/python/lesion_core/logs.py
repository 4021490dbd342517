"""Logging as events: ``log.info("epoch_done", epoch=3)``. Libraries only get a logger; applications configure."""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logging(*, as_json: bool = False, level: int = logging.INFO) -> None:
    """Set up logging for a program: to standard error, for people or as JSON lines. No patient data in events.

    A traceback has the lines of the code and never the values of variables: among them are images, keys and what is
    known of a patient.
    """
    renderer: structlog.typing.Processor
    if as_json:
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info] if as_json else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
