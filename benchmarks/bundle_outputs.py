"""What a bundle's network says about the data that it was trained on: shared by the benchmarks of decisions."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from lesion_core.bundle import Bundle, load_bundle
from lesion_core.datasets import read_dataset
from lesion_core.decision.ood import LinearHead, NetworkOutput
from lesion_core.preprocess import load_square
from lesion_core.records import ImageRecord, labels_of, lesions_of
from lesion_plugins.classifier import Classifier, classifier_from_bundle
from lesion_plugins.registry import BackboneRegistry
from lesion_train.config import TrainConfig
from lesion_train.inference import run_network
from lesion_train.parts import make_split
from lesion_train.squares import SquareCache

THREADS = 2


@attrs.frozen(kw_only=True, eq=False)
class PartOutput:
    """One part: ``squares`` uint8 ``(N, S, S, 3)``, what the network says of them, and the truth."""

    squares: NDArray[np.uint8]
    output: NetworkOutput
    labels: NDArray[np.int64]
    lesions: NDArray[np.str_]
    records: tuple[ImageRecord, ...]


@attrs.frozen(kw_only=True, eq=False)
class BundleOutputs:
    """A bundle and the parts of its data. ``test`` is the validation part where there is no test part."""

    bundle: Bundle
    network: Classifier
    head: LinearHead
    train: PartOutput
    validation: PartOutput
    test: PartOutput


def bundle_outputs(data: Path, bundle_folder: Path) -> BundleOutputs:
    """Run a bundle over the parts of its data; ends the program where it was trained on another split."""
    torch.set_num_threads(THREADS)
    bundle, dataset = load_bundle(bundle_folder), read_dataset(data)
    facts, recorded = bundle.manifest.training, bundle_folder.parent / "split.csv"
    config = TrainConfig(data=data, seed=facts.seed, split=recorded if recorded.exists() else None)
    split = make_split(dataset, config)
    if split.digest != facts.split_digest:
        sys.exit("This bundle was trained on another split: give the data that it was trained on.")
    network = classifier_from_bundle(bundle, BackboneRegistry.load())

    def run(records: tuple[ImageRecord, ...]) -> PartOutput:
        with tempfile.TemporaryDirectory() as scratch:
            cache = SquareCache(Path(scratch), records, threads=THREADS)
            squares = cache.squares(records, bundle.manifest.preprocess)[:]
        return PartOutput(
            squares=squares,
            output=run_network(network, squares, bundle.manifest.preprocess),
            labels=labels_of(records, dataset.taxonomy),
            lesions=lesions_of(records),
            records=records,
        )

    validation = run(split.validation)
    return BundleOutputs(
        bundle=bundle,
        network=network,
        head=LinearHead(weight=network.head.weight.numpy(force=True), bias=network.head.bias.numpy(force=True)),
        train=run(split.train),
        validation=validation,
        test=run(split.test) if split.test else validation,
    )


def load_folder(folder: Path, outputs: BundleOutputs) -> NDArray[np.uint8]:
    """The images of a folder, as the bundle's network wants them: uint8 ``(N, S, S, 3)``."""
    files: Sequence[Path] = sorted(path for path in folder.iterdir() if path.is_file())
    return np.stack([load_square(path.read_bytes(), outputs.bundle.manifest.preprocess) for path in files])
