"""What monitoring cannot do."""

from __future__ import annotations

from lesion_core.errors import LesionError


class MonitorError(LesionError):
    """What monitoring cannot do.

    Codes: ``no_predictions``, ``no_reference``, ``bad_rules``, ``out_exists``, ``no_cases``.
    """

    code = "no_predictions"
