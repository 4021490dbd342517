"""Where the sample comes from that a window is compared with: a bundle, its archive, or an earlier window."""

from __future__ import annotations

from pathlib import Path

from lesion_core.bundle import BundleManifest, load_bundle
from lesion_core.drift_reference import DRIFT, DriftReference
from lesion_serve.archive import SUFFIX, read_archived_bundle, read_archived_file
from lesion_serve.deployment_store import DeploymentStore
from lesion_serve.monitor.errors import MonitorError
from lesion_serve.monitor.reading import independent, read_sample, read_seen
from lesion_serve.monitor.report import Baseline
from lesion_serve.store import PredictionStore, Window


def baseline_of(source: Path) -> Baseline | None:
    """The sample of a bundle's folder or of an archive; ``None`` where it has none.

    Raises:
        BundleError, ArchiveError: it is neither, or was altered.
    """
    if source.suffix != SUFFIX:
        bundle = load_bundle(source)
        if DRIFT not in bundle.manifest.files:
            return None
        return _baseline(bundle.read(DRIFT), bundle.manifest, bundle.digest)
    if (data := read_archived_file(source, DRIFT)) is None:
        return None
    manifest, digest, _ = read_archived_bundle(source)
    return _baseline(data, manifest, digest)


def champion_of(deployments: DeploymentStore) -> str | None:
    """The version that answers; ``None`` where nothing is deployed."""
    deployment = deployments.read()
    return None if deployment is None else deployment.champion.version


def baseline_of_deployed(deployments: DeploymentStore, version: str | None) -> Baseline | None:
    """The sample of a deployed version, the champion where none is named; ``None`` where there is none."""
    deployment = deployments.read()
    if deployment is None:
        return None
    wanted = [one for one in deployment.all if version in (None, one.version)]
    return baseline_of(deployments.archives / wanted[0].archive) if wanted else None


def baseline_of_window(store: PredictionStore, window: Window, like: Baseline) -> Baseline:
    """An earlier window of the same model, for who wants to know what has changed since.

    Args:
        store: that holds it.
        window: which predictions.
        like: of the model's bundle.
    Raises:
        MonitorError: ``no_reference``: no prediction of this bundle in the window has features.
    """
    seen = [one for one in read_seen(store.database, window) if one.bundle_digest == like.bundle_digest]
    sample = read_sample(store.database, independent(store.database, seen))
    if sample is None:
        raise MonitorError(
            "No prediction of this model in the window to compare with has features. Choose another window.",
            code="no_reference",
        )
    return Baseline(sample=sample, codes=like.codes, bundle_digest=like.bundle_digest)


def _baseline(data: bytes, manifest: BundleManifest, digest: str) -> Baseline:
    return Baseline.of(DriftReference.from_bytes(data).sample, manifest, digest)
