"""Build the reference archive: a small model trained on drawn images, packed as every model is.

    ./pants run //:demo -- reference skin_vit.mar

It shows that the chain from images to ``.mar`` works and is reproducible: with SOURCE_DATE_EPOCH set, two builds on one
machine are equal byte for byte. Its answers say nothing about skin.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.workspace import Workspace
from lesion_demo.steps import run_step

TRAINING = ("--epochs", "2", "--input-size-px", "64", "--batch-size", "16", "--threads", "1")


def build_reference(out: Path) -> None:
    """Write the archive ``out``.

    Raises:
        LesionError: one of the steps failed; it has said why.
    """
    with tempfile.TemporaryDirectory(prefix="lesion-reference-") as scratch:
        workspace = Workspace(Path(scratch))
        os.environ["LESION_HOME"] = str(workspace.root)
        data = write_synthetic_dataset(workspace.root / "synthetic", images_per_class=20)
        run_step("lesion_train", "fit", "--data", str(data), *TRAINING)
        (run,) = workspace.runs.iterdir()
        run_step("lesion_serve", "archive", str(run / "bundle"), "--out", str(out.resolve()))
