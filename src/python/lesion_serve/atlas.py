"""The atlas: labelled reference images, as one model sees them, to set beside an image that it is asked about.

A file for each bundle, made on this machine from images that lie on it: thumbnails leave it only as answers of the
gateway. Images are compared in the bundle's own projection of embeddings (``lesion_core.drift_reference``), which is
kept for each prediction anyway; so a prediction is looked up without its image, which nobody keeps.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from lesion_core.durable import FOR_OWNER, write_whole
from lesion_core.errors import LesionError

# N images · P projected features of the network
NEIGHBOURS = 6
_ABOUT = "about"


class AtlasError(LesionError):
    """No similar cases. Codes: ``no_atlas``, ``bad_atlas``, ``no_features``, ``no_images``."""

    code = "no_atlas"


@attrs.frozen(kw_only=True)
class Neighbour:
    """One reference image: ``distance`` is Euclidean, between projected embeddings; 0 is the same."""

    diagnosis: str
    distance: float
    jpeg: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True, eq=False)
class Atlas:
    """Reference images of one bundle.

    Attributes:
        bundle_digest: of the model that saw them.
        source: name of the data set.
        embeddings: float32 ``(N, P)``.
        diagnoses: code of each image.
        thumbnails: each a JPEG file.
        agreement: of the ``NEIGHBOURS`` that the atlas's own images have in it, the share with the same diagnosis, in
            [0, 1]; classes count alike.
    """

    bundle_digest: str
    source: str
    embeddings: NDArray[np.float32]
    diagnoses: tuple[str, ...]
    thumbnails: tuple[bytes, ...] = attrs.field(repr=False)
    agreement: float

    def __len__(self) -> int:
        return len(self.diagnoses)

    def nearest(self, embedding: NDArray[np.floating], count: int = NEIGHBOURS) -> tuple[Neighbour, ...]:
        """The images that are most alike, the nearest first.

        Args:
            embedding: float ``(P,)``, projected.
            count: of them at most.
        """
        distances = np.linalg.norm(self.embeddings - embedding, axis=1)
        return tuple(
            Neighbour(diagnosis=self.diagnoses[row], distance=float(distances[row]), jpeg=self.thumbnails[row])
            for row in np.argsort(distances, kind="stable")[:count]
        )

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        about = {
            "bundle_digest": self.bundle_digest,
            "source": self.source,
            "diagnoses": self.diagnoses,
            "sizes": [len(one) for one in self.thumbnails],
            "agreement": self.agreement,
        }
        tensors: dict[str, NDArray[Any]] = {
            "embeddings": np.ascontiguousarray(self.embeddings, np.float32),
            "thumbnails": np.frombuffer(b"".join(self.thumbnails), np.uint8),
        }
        data = safetensors.numpy.save(tensors, metadata={_ABOUT: json.dumps(about)})
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data, mode=FOR_OWNER)

    @classmethod
    def load(cls, path: Path) -> Atlas:
        """Read a file of ``save``.

        Raises:
            AtlasError: ``no_atlas``: there is none; ``bad_atlas``: it cannot be read.
        """
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                about = json.loads(file.metadata()[_ABOUT])
                embeddings, packed = file.get_tensor("embeddings"), file.get_tensor("thumbnails").tobytes()
            ends = np.cumsum(about["sizes"])
            thumbnails = tuple(packed[end - size : end] for size, end in zip(about["sizes"], ends, strict=True))
            return cls(
                bundle_digest=about["bundle_digest"],
                source=about["source"],
                embeddings=embeddings,
                diagnoses=tuple(about["diagnoses"]),
                thumbnails=thumbnails,
                agreement=about["agreement"],
            )
        except FileNotFoundError as error:
            raise AtlasError("There is no atlas of reference images for this model.") from error
        except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise AtlasError(f"{path} cannot be read: {error}. Build it again.", code="bad_atlas") from error


class Atlases:
    """The atlases in a folder, each read when it is first asked for, and again when its file has changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path_of(self, bundle_digest: str) -> Path:
        """Where the atlas of a bundle lies."""
        return self._folder / f"{bundle_digest}.safetensors"

    def of(self, bundle_digest: str) -> Atlas:
        """The atlas of a bundle.

        Raises:
            AtlasError: ``no_atlas``, ``bad_atlas``.
        """
        path = self.path_of(bundle_digest)
        try:
            written = path.stat().st_mtime_ns
        except OSError:
            written = 0
        atlas = _load(path, written)
        if atlas.bundle_digest != bundle_digest:
            raise AtlasError(f"{path} is of bundle {atlas.bundle_digest}. Build it again.", code="bad_atlas")
        return atlas


@lru_cache(maxsize=2)
def _load(path: Path, written: int) -> Atlas:
    return Atlas.load(path)
