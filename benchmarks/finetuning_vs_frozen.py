"""Is fine-tuning better than a linear model on frozen features? On the same split, in one run.

    ./pants run benchmarks/finetuning_vs_frozen.py -- DIR BUNDLE

DIR is the data that BUNDLE was trained on, in the ISIC 2019 layout; its test part is measured. The baseline is
EfficientNet-Lite0 from ImageNet at the bundle's input size, and a linear classifier on its pooled features
(``linear_probe``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np
from bundle_outputs import bundle_outputs
from linear_probe import probe_probabilities
from numpy.typing import NDArray

from lesion_core.bootstrap import bootstrap_interval
from lesion_core.decision.calibration import calibrated_probabilities
from lesion_core.interval import Interval
from lesion_core.metrics import balanced_multiclass_accuracy, macro_auroc
from lesion_plugins.classifier import build_classifier
from lesion_plugins.registry import BackboneRegistry
from lesion_train.evaluation.headline import measure, summary
from lesion_train.inference import run_network


def main() -> None:
    """Print both scores, with intervals."""
    outputs = bundle_outputs(Path(sys.argv[1]), Path(sys.argv[2]))
    manifest, train, test = outputs.bundle.manifest, outputs.train, outputs.test
    taxonomy, side = manifest.taxonomy, manifest.preprocess.input_size_px
    frozen_spec = BackboneRegistry.load().get("efficientnet_lite0")
    frozen, origin = build_classifier(
        frozen_spec, classes=len(taxonomy.trained), input_size_px=side, pretrained="bundled"
    )
    frozen_preprocess = attrs.evolve(frozen_spec.preprocess, input_size_px=side)
    features = [run_network(frozen, part.squares, frozen_preprocess).embeddings for part in (train, test)]
    baseline = probe_probabilities(*features, labels=train.labels, lesions=train.lesions)
    print(f"{len(test.labels)} test images, {len(set(test.lesions))} lesions, {side} px")
    scores = measure(baseline, test.labels, test.lesions, taxonomy, prefix="test")
    print(summary(scores, "test", f"Frozen ({origin})"))
    probabilities = calibrated_probabilities(test.output.logits, manifest.decision.temperature)
    scores = measure(probabilities, test.labels, test.lesions, taxonomy, prefix="test")
    print(summary(scores, "test", f"Fine-tuned ({manifest.backbone.name})"))
    print("Gain, on the same resampled lesions:")
    for name, metric in (("BMA", balanced_multiclass_accuracy), ("macro AUROC", macro_auroc)):
        print(f"  {name:12} {gain(metric, probabilities, baseline, test.labels, test.lesions)}")


def gain(
    metric: Callable[[NDArray[np.floating], NDArray[np.integer]], float],
    better: NDArray[np.floating],
    worse: NDArray[np.floating],
    labels: NDArray[np.int64],
    lesions: NDArray[np.str_],
) -> Interval:
    """How much a metric grows from the one probabilities, float ``(N, K)``, to the other."""

    def difference(both: NDArray[np.floating], drawn: NDArray[np.integer]) -> float:
        one, other = np.split(both, 2, axis=1)
        return metric(one, drawn) - metric(other, drawn)

    return bootstrap_interval(difference, np.hstack([better, worse]), labels, lesions)


if __name__ == "__main__":
    main()
