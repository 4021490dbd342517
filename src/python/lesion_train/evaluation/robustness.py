"""How much of a score is left on worse photographs."""

# N images · P side of the stored squares

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import structlog
from numpy.typing import NDArray

from lesion_core.bundle import BundleManifest
from lesion_core.decision.ood import NetworkOutput, Reference
from lesion_core.decision.triage import MALIGNANT
from lesion_core.records import ImageRecord
from lesion_train.evaluation import weighted
from lesion_train.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from lesion_train.evaluation.decisions import scores_of, target_of
from lesion_train.evaluation.part import AnsweredPart, answer
from lesion_train.evaluation.scores import answered_rightly
from lesion_train.evaluation.values import CorruptionResult, Robustness
from lesion_train.squares import Squares

log = structlog.get_logger()

BLOCK = 256  # images that are corrupted at a time: memory does not grow with their number

Network = Callable[[NDArray[np.uint8]], NetworkOutput]


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

    Args:
        network: says what a network says of uint8 ``(B, P, P, 3)``.
        squares: uint8 ``(N, P, P, 3)``, as ``lesion_train.squares`` keeps them.
        records: of the images.
        manifest: of the bundle; its decision parameters stay as they are.
        reference: of its detector of strange images.
        resamples: of the bootstrap.
        corruptions: keys of ``CORRUPTIONS``.
    """

    def result(corruption: str, severity: int, changed: Iterator[NDArray[np.uint8]]) -> CorruptionResult:
        outputs = [network(block) for block in changed]
        output = NetworkOutput(
            logits=np.concatenate([one.logits for one in outputs]),
            embeddings=np.concatenate([one.embeddings for one in outputs]),
        )
        part = answer(output, records, manifest=manifest, reference=reference, resamples=resamples)
        return _result(part, corruption, severity, manifest)

    clean = result("none", 0, _blocks(squares, lambda square, row: square))
    results = []
    for corruption in corruptions:
        for severity in SEVERITIES:
            change = partial(_corrupted, corruption=corruption, severity=severity)
            results.append(result(corruption, severity, _blocks(squares, change)))
        left = [item.bma.value for item in results[-len(SEVERITIES) :] if item.bma]
        log.info("corruption_measured", corruption=corruption, mean_bma=round(float(np.mean(left)), 3))
    scores = [item.bma.value for item in results if item.bma]
    is_defined = clean.bma is not None and clean.bma.value > 0 and scores
    return Robustness(
        clean=clean,
        results=tuple(results),
        relative_bma=float(np.mean(scores)) / clean.bma.value if is_defined and clean.bma else None,
    )


def _corrupted(square: NDArray[np.uint8], row: int, *, corruption: str, severity: int) -> NDArray[np.uint8]:
    return corrupt(square, corruption, severity, row=row)


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
        bma=known.resamples.interval(partial(weighted.balanced_accuracy, is_right=is_right, labels=known.labels)),
        sensitivity=found,
        called_outside=known.share(known.decisions.strangeness > manifest.decision.ood.threshold),
    )
