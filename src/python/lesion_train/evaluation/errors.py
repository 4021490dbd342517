"""The named error of an evaluation."""

from __future__ import annotations

from lesion_core.errors import LesionError


class EvaluationError(LesionError):
    """An evaluation that would not say what it seems to.

    Codes: ``needs_split``, ``trained_on``, ``no_such_part``, ``nothing_left``, ``unknown_labels``, ``other_taxonomy``,
    ``no_images``, ``folder_taken``, ``bad_evaluation``.
    """

    code = "bad_evaluation"
