"""Fetch a registered bundle from MLflow. The only module of serving that uses mlflow, and only its client."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from lesion_core.bundle import Bundle, load_bundle
from lesion_core.errors import LesionError

PREFIX = "models:/"


class RegistryError(LesionError):
    """MLflow is out of reach, or has no such model."""

    code = "registry_failed"


def fetch_bundle(uri: str, *, tracking_uri: str, into: Path) -> tuple[Bundle, str]:
    """Download and verify a registered bundle.

    Args:
        uri: ``models:/<name>@<alias>`` or ``models:/<name>/<version>``.
        tracking_uri: MLflow server or database.
        into: the bundle lands in a new folder of this one, named by its digest; it is not downloaded twice.
    Returns:
        The bundle and its registered version.
    Raises:
        RegistryError: MLflow is out of reach, or has no such model.
        BundleError: what it holds is not an intact bundle.
    """
    match = re.fullmatch(r"models:/([^/@]+)(?:@([\w-]+)|/(\d+))", uri)
    if match is None:
        raise RegistryError(f"{uri!r} is not models:/<name>@<alias> or models:/<name>/<version>.", code="bad_model_uri")
    name, alias, number = match.groups()
    into.mkdir(parents=True, exist_ok=True)
    try:
        client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
        found = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
        version = str(found.version)
        source = client.get_model_version_download_uri(name, version)
        scratch = Path(tempfile.mkdtemp(prefix=".download-", dir=into))
        try:
            fetched = download_artifacts(artifact_uri=source, dst_path=str(scratch), tracking_uri=tracking_uri)
            digest = load_bundle(Path(fetched)).digest
            folder = into / digest[:16]
            if not folder.exists():
                Path(fetched).rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except (MlflowException, OSError) as error:
        reason = str(error).strip().splitlines()[0][:300]
        raise RegistryError(
            f"MLflow at {tracking_uri} did not give {uri}: {reason} Train and register a model first "
            "('lesion-train fit'), or name the server with --tracking-uri."
        ) from error
    return load_bundle(folder), version
