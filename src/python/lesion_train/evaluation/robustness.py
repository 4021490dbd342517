"""How much of a score is left on worse photographs."""

# N images · P side of the stored squares

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import attrs
import numpy as np
from numpy.typing import NDArray

from lesion_core.bundle import BundleManifest
from lesion_core.decision.ood import NetworkOutput, Reference
from lesion_core.decision.triage import MALIGNANT
from lesion_core.preprocess import resize_square
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_core.records import ImageRecord
from lesion_train.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from lesion_train.evaluation.decisions import scores_of, target_of
from lesion_train.evaluation.part import AnsweredPart, answer
from lesion_train.evaluation.scores import answered_rightly
from lesion_train.evaluation.values import CorruptionResult, Robustness
from lesion_train.image_bar import image_bar
from lesion_train.squares import Squares

BLOCK = 256  # images that are corrupted at a time: memory does not grow with their number

Network = Callable[[NDArray[np.uint8]], NetworkOutput]


def photograph_spec(spec: PreprocessSpec) -> PreprocessSpec:
    """How to decode what ``measure_robustness`` corrupts: without the steps that may take a corruption out again.

    A border is looked for in all of the central square, of which the centre is cut after that: it is decoded with a
    side that leaves the network's own where there is no border.
    """
    if not spec.crop_border:
        return attrs.evolve(spec, colour_constancy=None)
    side = round(spec.input_size_px / spec.crop_fraction)
    return attrs.evolve(spec, input_size_px=side, crop_fraction=1.0, crop_border=False, colour_constancy=None)


def measure_robustness(
    network: Network,
    squares: Squares,
    records: Sequence[ImageRecord],
    *,
    manifest: BundleManifest,
    reference: Reference,
    resamples: int,
    corruptions: Sequence[str] = tuple(CORRUPTIONS),
) -> Robustness:
    """Corrupt all images in every way, and measure again.

    As in serving, a corrupted image goes through the bundle's own ``crop_border`` and ``colour_constancy``, and so do
    the clean ones that it is compared with. Where a border is cut, what is left of a square is less sharp than of a
    larger photograph.

    Args:
        network: says what a network says of uint8 ``(B, S, S, 3)``, S the side of its input.
        squares: uint8 ``(N, P, P, 3)``, decoded as ``photograph_spec`` says.
        records: of the images.
        manifest: of the bundle; its decision parameters stay as they are.
        reference: of its detector of strange images.
        resamples: of the bootstrap.
        corruptions: keys of ``CORRUPTIONS``.
    """
    spec = manifest.preprocess
    # Without a border to be cut first, the squares are the network's own but for the colours.
    steps = spec if spec.crop_border else attrs.evolve(spec, crop_fraction=1.0)

    def result(corruption: str, severity: int, changed: Iterator[NDArray[np.uint8]]) -> CorruptionResult:
        outputs = []
        for block in changed:
            outputs.append(network(block))
            asked(len(block))
        output = NetworkOutput(
            logits=np.concatenate([one.logits for one in outputs]),
            embeddings=np.concatenate([one.embeddings for one in outputs]),
        )
        part = answer(output, records, manifest=manifest, reference=reference, resamples=resamples)
        return _result(part, corruption, severity, manifest)

    with image_bar(len(squares) * (1 + len(corruptions) * len(SEVERITIES)), "corrupted images") as asked:
        clean = result("none", 0, _blocks(squares, lambda square, row: resize_square(square, steps)))
        results = []
        for corruption in corruptions:
            for severity in SEVERITIES:
                change = partial(_corrupted, corruption=corruption, severity=severity, steps=steps)
                results.append(result(corruption, severity, _blocks(squares, change)))
    scores = [item.bma.value for item in results if item.bma]
    is_defined = clean.bma is not None and clean.bma.value > 0 and scores
    return Robustness(
        clean=clean,
        results=tuple(results),
        relative_bma=float(np.mean(scores)) / clean.bma.value if is_defined and clean.bma else None,
    )


def _corrupted(
    square: NDArray[np.uint8], row: int, *, corruption: str, severity: int, steps: PreprocessSpec
) -> NDArray[np.uint8]:
    return resize_square(corrupt(square, corruption, severity, row=row), steps)


def _blocks(
    squares: Squares, change: Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(squares), BLOCK):
        block = squares[start : start + BLOCK]
        yield np.stack([change(square, start + offset) for offset, square in enumerate(block)])


def _result(part: AnsweredPart, corruption: str, severity: int, manifest: BundleManifest) -> CorruptionResult:
    known = part.of_trained_classes()
    is_right = answered_rightly(known.probabilities, known.labels)
    point, found = manifest.decision.operating_point(MALIGNANT), None
    if point is not None:
        is_above = scores_of(known, MALIGNANT, manifest.taxonomy) >= point.threshold.value
        found = known.share(is_above, target_of(known, MALIGNANT, manifest.taxonomy))
    return CorruptionResult(
        corruption=corruption,
        severity=severity,
        bma=known.resamples.balanced_accuracy(is_right, known.labels),
        sensitivity=found,
        called_outside=known.share(known.decisions.strangeness > manifest.decision.ood.threshold),
    )
