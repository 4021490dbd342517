"""What drift is compared with: a sample of the validation part, as a server would have seen it.

``drift.safetensors`` of a bundle. A bundle without it is as good, but nobody can tell whether what it is asked has
changed. Embeddings are kept projected: few numbers an image, which a server can afford to write down for each request.
"""

# N images · D features of the network · P <= LARGEST_PROJECTION features that are left · K trained classes

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import attrs
import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from lesion_core.errors import BundleError

DRIFT = "drift.safetensors"
LARGEST_SAMPLE = 1000
LARGEST_PROJECTION = 32  # 16, 32 and 64 find the same drift equally often, 8 less; a random projection needs 64
_QUALITY = "quality."


@attrs.frozen(kw_only=True, eq=False)
class DriftSample:
    """Some images, described by what can drift.

    Attributes:
        embeddings: float32 ``(N, P)``, projected.
        probabilities: float32 ``(N, K + 1)``, of the image alone, *none of the above* last.
        strangeness: float32 ``(N,)``, on the scale of the bundle's detector.
        quality: for each name of ``QualityMeasures`` float32 ``(N,)``; NaN where the image is too small for it.
    """

    embeddings: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    strangeness: NDArray[np.float32]
    quality: Mapping[str, NDArray[np.float32]]

    def __len__(self) -> int:
        return len(self.strangeness)

    def take(self, rows: NDArray[np.int64]) -> DriftSample:
        """Some of them."""
        return DriftSample(
            embeddings=self.embeddings[rows],
            probabilities=self.probabilities[rows],
            strangeness=self.strangeness[rows],
            quality={name: values[rows] for name, values in self.quality.items()},
        )


@attrs.frozen(kw_only=True, eq=False)
class Projection:
    """Principal components of embeddings at unit length: float32 ``mean (D,)`` and ``directions (D, P)``."""

    mean: NDArray[np.float32]
    directions: NDArray[np.float32]

    def __call__(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        """Float ``(N, D)`` → float32 ``(N, P)``."""
        return np.asarray((_unit(embeddings) - self.mean) @ self.directions, dtype=np.float32)


@attrs.frozen(kw_only=True, eq=False)
class DriftReference:
    """A sample, and how embeddings come to be comparable with it."""

    projection: Projection
    sample: DriftSample

    def to_bytes(self) -> bytes:
        """As ``from_bytes`` reads it."""
        sample = self.sample
        tensors = {
            "projection.mean": self.projection.mean,
            "projection.directions": self.projection.directions,
            "embeddings": sample.embeddings,
            "probabilities": sample.probabilities,
            "strangeness": sample.strangeness,
            **{f"{_QUALITY}{name}": values for name, values in sample.quality.items()},
        }
        ready = {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in tensors.items()}
        return bytes(safetensors.numpy.save(ready))

    @classmethod
    def from_bytes(cls, data: bytes) -> DriftReference:
        """Read ``drift.safetensors``.

        Raises:
            BundleError: a tensor is missing, or one does not fit the others.
        """
        try:
            tensors = safetensors.numpy.load(data)
            found = cls(
                projection=Projection(mean=tensors["projection.mean"], directions=tensors["projection.directions"]),
                sample=DriftSample(
                    embeddings=tensors["embeddings"],
                    probabilities=tensors["probabilities"],
                    strangeness=tensors["strangeness"],
                    quality={
                        name.removeprefix(_QUALITY): value
                        for name, value in tensors.items()
                        if name.startswith(_QUALITY)
                    },
                ),
            )
        except (safetensors.SafetensorError, KeyError) as error:
            raise BundleError(f"{DRIFT} cannot be read: {error}.") from error
        sample, directions = found.sample, found.projection.directions
        lengths = {len(values) for values in (sample.embeddings, sample.probabilities, *sample.quality.values())}
        features = (len(found.projection.mean), sample.embeddings.shape[-1])
        if lengths != {len(sample)} or directions.shape != features:
            raise BundleError(
                f"{DRIFT} does not fit together: it describes {len(sample)} images and projects to "
                f"{directions.shape}, its tensors have {sorted(lengths)} rows and {features} features."
            )
        return found


def read_projection(data: bytes) -> Projection:
    """Only how embeddings are projected: what a server needs of ``drift.safetensors``.

    Raises:
        BundleError: as ``DriftReference.from_bytes``.
    """
    return DriftReference.from_bytes(data).projection


def fit_projection(embeddings: NDArray[np.floating], *, features: int = LARGEST_PROJECTION) -> Projection:
    """Principal components, the largest first.

    Args:
        embeddings: float ``(N, D)`` of the training part, so that the sample's own noise is not what they follow.
        features: P at most; fewer where there are not so many directions.
    """
    values = _unit(embeddings)
    mean = values.mean(axis=0)
    centred = values - mean
    _, directions = np.linalg.eigh(centred.T @ centred)  # ascending
    kept = directions[:, ::-1][:, : max(1, min(features, len(values) - 1))]
    return Projection(mean=mean.astype(np.float32), directions=np.ascontiguousarray(kept, dtype=np.float32))


def embedding_to_text(embedding: NDArray[np.floating]) -> str:
    """One projected embedding, float ``(P,)``, as the wire's ``Features`` hold it."""
    return base64.b64encode(np.asarray(embedding, dtype="<f2").tobytes()).decode("ascii")


def embedding_from_text(text: str) -> NDArray[np.float32]:
    """The other way round: float32 ``(P,)``."""
    return np.frombuffer(base64.b64decode(text), dtype="<f2").astype(np.float32)


def sample_by_lesion(lesions: Sequence[str] | NDArray[np.str_], *, images: int = LARGEST_SAMPLE) -> NDArray[np.int64]:
    """Rows of one image for each of so many lesions at most, in ascending order.

    Images of one lesion are alike, and a test that takes them for independent alarms at nothing. Which image and which
    lesions is drawn with a fixed seed.
    """
    drawn = np.random.default_rng(0).permutation(len(lesions))
    _, first = np.unique(np.asarray(lesions)[drawn], return_index=True)
    return np.sort(drawn[np.sort(first)[:images]])


def _unit(embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    values = np.asarray(embeddings, dtype=np.float64)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12))
