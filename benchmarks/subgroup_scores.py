"""Is a model as good for every group of patients?

    ./pants run benchmarks/subgroup_scores.py -- DIR BUNDLE

DIR is the data that BUNDLE was trained on. On its validation part, by sex, age, site and source: macro AUROC over the
diagnoses that occur in the group (a comparison of groups by BMA would compare their mixes of diagnoses), and the
sensitivity for malignant lesions at the threshold of the low band, which the model card states for all of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from bundle_outputs import bundle_outputs

from lesion_core.decision.calibration import calibrated_probabilities
from lesion_core.decision.triage import malignancy_risk, malignant_classes
from lesion_core.metrics import binary_counts, macro_auroc
from lesion_core.subgroups import groupings, subgroup_scores


def main() -> None:
    """Print one line a group."""
    outputs = bundle_outputs(Path(sys.argv[1]), Path(sys.argv[2]))
    part, manifest = outputs.validation, outputs.bundle.manifest
    probabilities = calibrated_probabilities(part.output.logits, manifest.decision.temperature)
    risk = malignancy_risk(probabilities, manifest.taxonomy)
    is_malignant = malignant_classes(manifest.taxonomy)[part.labels]
    threshold = manifest.decision.operating_points[0].threshold.value
    groups = {"all": np.full(len(part.labels), "all"), **groupings(part.records)}
    areas = subgroup_scores(macro_auroc, probabilities, part.labels, part.lesions, groups, resamples=300)
    found = subgroup_scores(
        lambda risks, malignant: binary_counts(risks[:, 0] >= threshold, malignant == 1).sensitivity,
        risk[:, None],
        is_malignant.astype(np.int64),
        part.lesions,
        groups,
        resamples=300,
    )
    print(f"{'':28s}{'images':>7s}{'lesions':>8s}  macro AUROC                   sensitivity for malignant")
    for area, sensitivity in zip(areas, found, strict=True):
        name = f"{area.grouping}: {area.group}"
        scores = [str(item.score) if item.score else "too few lesions" for item in (area, sensitivity)]
        print(f"{name:28s}{area.images:7d}{area.lesions:8d}  {scores[0]:30s}{scores[1]}")


if __name__ == "__main__":
    main()
