"""What a bundle keeps of its validation part, so that a server can tell whether what it is asked has changed.

The quality of a photograph is measured on the image as a server decodes it, and training keeps squares only. So the
images of the sample, a thousand at most, are decoded once more: 7 s on a core for images of 600 x 450 pixels.
"""

# N images of a part · n of the sample · D features

from __future__ import annotations

import time
from collections.abc import Sequence

import attrs
import numpy as np
import structlog
from numpy.typing import NDArray

from lesion_core.decision.decide import Decisions
from lesion_core.decision.ood import NetworkOutput
from lesion_core.drift_reference import DriftReference, DriftSample, fit_projection, sample_by_lesion
from lesion_core.preprocess import decode_for
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_core.quality_measures import QualityMeasures, measure_quality
from lesion_core.records import ImageRecord, lesions_of

log = structlog.get_logger()


def make_drift_reference(
    training_embeddings: NDArray[np.floating],
    output: NetworkOutput,
    decisions: Decisions,
    records: Sequence[ImageRecord],
    spec: PreprocessSpec,
) -> DriftReference:
    """Describe a sample of a part, one image for each lesion.

    Args:
        training_embeddings: float ``(M, D)``, which the projection is fitted on.
        output: of the network for the N images of the part.
        decisions: for the same.
        records: the same.
        spec: how a server decodes them.
    """
    started = time.perf_counter()
    rows = sample_by_lesion(lesions_of(records))
    projection = fit_projection(training_embeddings)
    measured = [measure_quality(decode_for(records[row].path.read_bytes(), spec)) for row in rows.tolist()]
    sample = DriftSample(
        embeddings=projection(output.embeddings[rows]),
        probabilities=decisions.probabilities[rows].astype(np.float32),
        strangeness=decisions.strangeness[rows].astype(np.float32),
        quality={
            field.name: np.array([getattr(one, field.name) for one in measured], dtype=np.float32)  # None becomes NaN
            for field in attrs.fields(QualityMeasures)
        },
    )
    log.info("drift_reference_made", images=len(sample), seconds=round(time.perf_counter() - started, 1))
    return DriftReference(projection=projection, sample=sample)
