"""Which of the weights that need no network are the best start? A linear classifier on the features of each.

    ./pants run benchmarks/frozen_backbones.py -- DIR [INPUT_PX]

DIR is a data set; INPUT_PX is 154 by default, a size that patches of 14 px divide. The split is that of ``fit`` with
its default seed. For transformers also the two halves of their features, the class token and the mean of the patch
tokens: why they are joined. Images/s are those of the features alone, on two threads, for comparison within this run.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import numpy as np
import torch
from linear_probe import probe_probabilities
from numpy.typing import NDArray

from lesion_core.bootstrap import bootstrap_interval
from lesion_core.datasets import read_dataset
from lesion_core.metrics import balanced_multiclass_accuracy, macro_auroc
from lesion_core.records import ImageRecord, labels_of, lesions_of
from lesion_core.splits import split_by_lesion
from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.classifier import build_classifier
from lesion_plugins.registry import BackboneRegistry
from lesion_train.inference import run_network
from lesion_train.squares import SquareCache

THREADS = 2


def main() -> None:
    """Print a row for each backbone."""
    torch.set_num_threads(THREADS)
    dataset = read_dataset(Path(sys.argv[1]))
    side = int(sys.argv[2]) if len(sys.argv) > 2 else 154
    split = split_by_lesion(dataset.records, dataset.taxonomy, validation_fraction=0.2, seed=0)
    parts = (split.train, split.validation)
    labels = [labels_of(part, dataset.taxonomy) for part in parts]
    lesions = [lesions_of(part) for part in parts]
    print(f"{len(parts[0])} training and {len(parts[1])} validation images, {side} px")
    print(f"{'':38} images/s  {'BMA (95 % CI)':24} macro AUROC (95 % CI)")
    registry = BackboneRegistry.load()
    for spec in filter(lambda spec: spec.is_offline, map(registry.get, registry.names())):
        for name, (train, validation), speed in features_of(spec, parts, side):
            probabilities = probe_probabilities(train, validation, labels=labels[0], lesions=lesions[0])
            bma, auroc = (
                bootstrap_interval(metric, probabilities, labels[1], lesions[1])
                for metric in (balanced_multiclass_accuracy, macro_auroc)
            )
            row = [f"{item.value:.3f} ({item.low:.3f}–{item.high:.3f})" for item in (bma, auroc)]
            print(f"{name:38} {speed:8.0f}  {row[0]:24} {row[1]}", flush=True)


def features_of(
    spec: BackboneSpec, parts: Sequence[Sequence[ImageRecord]], side: int
) -> Iterator[tuple[str, list[NDArray[np.float32]], float]]:
    """Features of both parts, by name: all of a backbone's, and for a transformer its two halves."""
    preprocess = attrs.evolve(spec.preprocess, input_size_px=side)
    network, _ = build_classifier(spec, classes=2, input_size_px=side, pretrained="bundled")
    found, seconds = [], 0.0
    for part in parts:
        with tempfile.TemporaryDirectory() as scratch:
            squares = SquareCache(Path(scratch), part, threads=THREADS).squares(part, preprocess)
            started = time.perf_counter()
            found.append(run_network(network, squares, preprocess).embeddings)
            seconds += time.perf_counter() - started
    speed = sum(map(len, found)) / seconds
    yield spec.name, found, speed
    if spec.family == "vit":
        for name, half in (("class token", 0), ("mean of patch tokens", 1)):
            yield f"  {name} only", [np.split(features, 2, axis=1)[half] for features in found], speed


if __name__ == "__main__":
    main()
