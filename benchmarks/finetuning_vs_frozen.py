"""Is fine-tuning better than a linear model on frozen features? On the same split, in one run.

    ./pants run benchmarks/finetuning_vs_frozen.py -- DIR BUNDLE

DIR is the data that BUNDLE was trained on, in the ISIC 2019 layout. The baseline is EfficientNet-Lite0 from ImageNet at
the bundle's input size, its pooled features standardised, and scikit-learn's LogisticRegression with balanced classes;
its strength C is chosen by 5-fold cross-validation grouped by lesion, inside the training part.
Also prints how well the bundle's distance tells the images of DIR/../ood/* from the validation part, if any.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import attrs
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lesion_core.bundle import REFERENCE, load_bundle
from lesion_core.datasets import read_dataset
from lesion_core.decision.calibration import calibrated_probabilities
from lesion_core.decision.ood import EmbeddingReference, distances
from lesion_core.metrics import area_under_roc
from lesion_core.preprocess import load_square
from lesion_core.records import labels_of, lesions_of
from lesion_core.splits import split_by_lesion
from lesion_plugins.classifier import build_classifier, classifier_from_bundle
from lesion_plugins.registry import BackboneRegistry
from lesion_train.data import decode_squares
from lesion_train.evaluate import measure, summary
from lesion_train.loop import run_network

THREADS = 2


def main() -> None:
    """Print both scores, with intervals."""
    data, bundle = Path(sys.argv[1]), load_bundle(Path(sys.argv[2]))
    torch.set_num_threads(THREADS)
    manifest, dataset, registry = bundle.manifest, read_dataset(data), BackboneRegistry.load()
    split = split_by_lesion(dataset.records, dataset.taxonomy, validation_fraction=0.2, seed=manifest.training.seed)
    if split.digest != manifest.training.split_digest:
        sys.exit("This bundle was trained on another split: give the data that it was trained on.")
    labels = {"train": labels_of(split.train, dataset.taxonomy), "val": labels_of(split.validation, dataset.taxonomy)}
    lesions = lesions_of(split.validation)
    frozen_spec = registry.get("efficientnet_lite0")
    side = manifest.preprocess.input_size_px
    frozen, origin = build_classifier(frozen_spec, classes=8, input_size_px=side, pretrained="bundled")
    frozen_preprocess = attrs.evolve(frozen_spec.preprocess, input_size_px=side)
    tuned = classifier_from_bundle(bundle, registry)
    with tempfile.TemporaryDirectory() as scratch:
        squares = {
            name: decode_squares(records, manifest.preprocess, Path(scratch) / name, threads=THREADS)
            for name, records in (("train", split.train), ("val", split.validation))
        }
        features = {name: run_network(frozen, square, frozen_preprocess).embeddings for name, square in squares.items()}
        outputs = run_network(tuned, squares["val"], manifest.preprocess)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000)),
        {"logisticregression__C": [0.001, 0.003, 0.01, 0.03]},
        scoring="balanced_accuracy",
        cv=StratifiedGroupKFold(n_splits=5),
    ).fit(features["train"], labels["train"], groups=lesions_of(split.train))
    baseline = search.predict_proba(features["val"])
    print(f"{len(split.validation)} validation images, {len(set(lesions))} lesions, {side} px")
    print(
        summary(measure(baseline, labels["val"], lesions, dataset.taxonomy, prefix="val"), "val", f"Frozen ({origin})")
    )
    probabilities = calibrated_probabilities(outputs.logits, manifest.decision.temperature)
    scores = measure(probabilities, labels["val"], lesions, dataset.taxonomy, prefix="val")
    print(summary(scores, "val", f"Fine-tuned ({manifest.backbone.name})"))
    reference = EmbeddingReference.from_bytes(bundle.read(REFERENCE))
    inside = distances(outputs.embeddings, reference)
    for folder in sorted(path for path in (data.parent / "ood").glob("*") if path.is_dir()):
        images = np.stack([load_square(path.read_bytes(), manifest.preprocess) for path in sorted(folder.iterdir())])
        outside = distances(run_network(tuned, images, manifest.preprocess).embeddings, reference)
        is_outside = np.concatenate([np.zeros(len(inside), bool), np.ones(len(outside), bool)])
        area = area_under_roc(np.concatenate([inside, outside]), is_outside)
        flagged = float((outside > manifest.decision.ood_threshold).mean())
        print(f"Out of distribution, {folder.name}: AUROC {area:.3f}, flagged {flagged:.0%} of {len(outside)} images")


if __name__ == "__main__":
    main()
