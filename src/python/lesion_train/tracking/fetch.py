"""Get back what was registered: the bundle of a version, verified, and its predictions."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mlflow.artifacts import download_artifacts, list_artifacts
from mlflow.exceptions import MlflowException

from lesion_core.bundle import DIGEST_TAG, load_bundle, registered_bundle
from lesion_core.errors import BundleError, LesionError
from lesion_train.address import reason_of
from lesion_train.contender import PARTS, Contender
from lesion_train.predictions import Predictions, read_predictions
from lesion_train.tracking.client import named_errors
from lesion_train.tracking.registry import SPLIT_TAG, Registry


def fetch_version(registry: Registry, reference: str, scratch: Path, *, with_predictions: bool = True) -> Contender:
    """Download a version by number or alias.

    A bundle that is missing, altered or exchanged is no error here: the contender says so, and has no bundle. Nor are
    predictions that are missing, damaged, or not those that the run wrote.

    Raises:
        TrackingError: MLflow is out of reach, or has no such version.
    """
    with named_errors(registry.uri, "Start it with 'lesion-train mlflow', or name another with --tracking-uri."):
        found = registry.version(reference)
        label = f"version {found.version}"
        tags = dict(found.tags)
        predictions, unreadable = dict[str, Predictions](), ""
        for part in PARTS if with_predictions else ():
            if sha256 := tags.get(f"predictions_{part}_sha256"):
                folder = scratch / f"{found.version}-{part}"
                try:
                    predictions[part] = _fetch_predictions(registry, str(found.run_id), part, sha256, folder)
                except (LesionError, MlflowException, OSError) as error:
                    unreadable = f"the predictions on part '{part}' cannot be used: {reason_of(error).rstrip('.')}."
        bundle, problem = None, ""
        try:
            source = registry.client.get_model_version_download_uri(registry.name, str(found.version))
            if not list_artifacts(artifact_uri=source, tracking_uri=registry.uri):
                raise BundleError("MLflow holds no file of it.")
            folder = scratch / f"{found.version}-bundle"
            folder.mkdir(parents=True)
            fetched = download_artifacts(artifact_uri=source, dst_path=str(folder), tracking_uri=registry.uri)
            bundle = load_bundle(registered_bundle(Path(fetched)))
            if bundle.digest != tags.get(DIGEST_TAG):
                problem = f"its digest is {bundle.digest}, registered was {tags.get(DIGEST_TAG, 'none')}"
                bundle = None
        except BundleError as error:
            problem = error.message.replace(str(scratch), "").lstrip("/")
    return Contender(
        label=label,
        version=str(found.version),
        digest=tags.get(DIGEST_TAG, ""),
        split_digest=tags.get(SPLIT_TAG, ""),
        bundle=bundle,
        problem=problem,
        predictions=predictions,
        unreadable=unreadable,
    )


def _fetch_predictions(registry: Registry, run_id: str, part: str, sha256: str, folder: Path) -> Predictions:
    folder.mkdir(parents=True)
    path = Path(registry.client.download_artifacts(run_id, f"predictions/{part}.csv", str(folder)))
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise LesionError(
            f"they are not those that run {run_id} registered, so they were altered.",
            code="bad_predictions",
        )
    return read_predictions(path)
