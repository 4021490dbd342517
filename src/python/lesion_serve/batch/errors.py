"""What can be wrong with a whole batch; what is wrong with one image stands in its row."""

from __future__ import annotations

from lesion_core.errors import LesionError


class BatchError(LesionError):
    """A batch that cannot begin or go on.

    Codes: ``bad_output``, ``output_exists``, ``another_run`` (an unfinished one with other settings), ``in_use``,
    ``damaged_journal``, ``journal_failed``, ``no_images``, ``unreadable_folder``, ``same_names``, ``other_taxonomy``,
    ``model_did_not_load``, ``workers_died``, ``no_ray``, ``ray_failed``.
    """

    code = "batch_failed"
