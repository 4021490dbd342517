"""Which detector tells strange images from those of the training part best? All of them, side by side.

    ./pants run benchmarks/ood_detectors.py -- DIR BUNDLE

DIR is the data that BUNDLE was trained on; the folders of DIR/../ood hold images of other kinds. Prints for each
detector the AUROC against the validation part, with its 95 % interval, and the share flagged at the threshold that 1 %
of the validation part exceeds.

Then the harder question, which the folders cannot answer: is a *diagnosis* strange that the model never saw? Each rare
class is left out in turn, and a linear classifier fitted to the other classes, on features of the untuned
EfficientNet-Lite0 (the bundle's own have seen every class).
"""

from __future__ import annotations

import sys
from pathlib import Path

import attrs
import numpy as np
from bundle_outputs import BundleOutputs, bundle_outputs, load_folder
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from lesion_core.decision.ood import LinearHead, NetworkOutput, fit_reference, strangeness
from lesion_core.decision.parameters import OodDetector
from lesion_core.metrics import area_under_roc
from lesion_plugins.classifier import build_classifier
from lesion_plugins.registry import BackboneRegistry
from lesion_train.inference import run_network

LEFT_OUT = ("AK", "DF", "VASC", "SCC")
QUANTILE = 0.99


def main() -> None:
    """Print both tables."""
    data, bundle_folder = Path(sys.argv[1]), Path(sys.argv[2])
    outputs = bundle_outputs(data, bundle_folder)
    folders = {
        folder.name: run_network(outputs.network, load_folder(folder, outputs), outputs.bundle.manifest.preprocess)
        for folder in sorted((data.parent / "ood").glob("*"))
        if folder.is_dir()
    }
    inside = outputs.validation.output
    print(f"{len(inside.logits)} validation images against images of other kinds")
    for detector in OodDetector:
        reference = fit_reference(detector, outputs.train.output, outputs.train.labels, outputs.head)
        score = strangeness(detector, inside, reference)
        threshold = np.quantile(score, QUANTILE)
        cells = []
        for name, said in folders.items():
            outside = strangeness(detector, said, reference)
            flagged = (outside > threshold).mean()
            cells.append(f"{name} AUROC {_area(score, outside)} flagged {flagged:4.0%} of {len(outside)}")
        print(f"  {detector:21s} {'   '.join(cells)}")
    _leave_classes_out(outputs)


def _leave_classes_out(outputs: BundleOutputs) -> None:
    spec = outputs.bundle.manifest.preprocess
    frozen_spec = BackboneRegistry.load().get("efficientnet_lite0")
    frozen, _ = build_classifier(frozen_spec, classes=8, input_size_px=spec.input_size_px, pretrained="bundled")
    own_spec = attrs.evolve(frozen_spec.preprocess, input_size_px=spec.input_size_px)
    train, validation = (
        run_network(frozen, part.squares, own_spec).embeddings for part in (outputs.train, outputs.validation)
    )
    scale = train.std(axis=0) + 1e-6
    train, validation = train / scale, validation / scale
    codes = outputs.bundle.manifest.taxonomy.trained_codes
    print(f"A diagnosis that was never seen, AUROC against the others (mean of {', '.join(LEFT_OUT)})")
    areas: dict[OodDetector, list[float]] = {}
    for code in LEFT_OUT:
        label = codes.index(code)
        seen, known = outputs.train.labels != label, outputs.validation.labels != label
        model = LogisticRegression(C=0.003, class_weight="balanced", max_iter=1000)
        model.fit(train[seen], outputs.train.labels[seen])
        head = LinearHead(weight=model.coef_, bias=model.intercept_)
        said = [
            NetworkOutput(logits=features @ model.coef_.T + model.intercept_, embeddings=features)
            for features in (train[seen], validation[known], validation[~known])
        ]
        for detector in OodDetector:
            reference = fit_reference(detector, said[0], outputs.train.labels[seen], head)
            scores = [strangeness(detector, output, reference) for output in said[1:]]
            areas.setdefault(detector, []).append(float(_area(*scores).split()[0]))
    for detector, values in areas.items():
        print(f"  {detector:21s} {np.mean(values):.3f}  ({', '.join(f'{value:.3f}' for value in values)})")


def _area(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> str:
    """AUROC with the interval of a bootstrap over the images of both sides."""
    random = np.random.default_rng(0)

    def area(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
        is_outside = np.arange(len(first) + len(second)) >= len(first)
        return area_under_roc(np.concatenate([first, second]), is_outside)

    drawn = [area(random.choice(inside, len(inside)), random.choice(outside, len(outside))) for _ in range(200)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{area(inside, outside):.3f} ({low:.3f}–{high:.3f})"


if __name__ == "__main__":
    main()
