"""What do age, sex and site add to what the image says?

    ./pants run benchmarks/metadata_gain.py -- DIR BUNDLE

DIR is the data that BUNDLE was trained on. On its validation part, five-fold over lesions: probabilities from the
images alone, and with the metadata's log-odds; both calibrated on the same folds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from bundle_outputs import bundle_outputs
from sklearn.model_selection import StratifiedGroupKFold

from lesion_core.decision.calibration import calibrated_probabilities, fit_temperature
from lesion_core.decision.metadata import fit_metadata
from lesion_train.evaluation.headline import measure, summary


def main() -> None:
    """Print both scores, with intervals, and the mean negative log-likelihood."""
    outputs = bundle_outputs(Path(sys.argv[1]), Path(sys.argv[2]))
    part, taxonomy = outputs.validation, outputs.bundle.manifest.taxonomy
    _, with_metadata = fit_metadata(part.output.logits, part.records, part.labels, part.lesions)
    for name, logits in (("Image alone", part.output.logits), ("Image and metadata", with_metadata)):
        probabilities = np.empty_like(logits, dtype=np.float64)
        folds = StratifiedGroupKFold(5, shuffle=True, random_state=1).split(logits, part.labels, part.lesions)
        for fitted, new in folds:
            temperature = fit_temperature(logits[fitted], part.labels[fitted])
            probabilities[new] = calibrated_probabilities(logits[new], temperature)
        print(summary(measure(probabilities, part.labels, part.lesions, taxonomy, prefix="val"), "val", name))
        loss = -np.log(probabilities[np.arange(len(part.labels)), part.labels]).mean()
        print(f"  NLL          {loss:.3f}")


if __name__ == "__main__":
    main()
