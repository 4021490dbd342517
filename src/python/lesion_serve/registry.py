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

from lesion_core.address import sqlite_file, without_password
from lesion_core.bundle import DIGEST_TAG, Bundle, load_bundle, registered_bundle
from lesion_core.errors import BundleError, LesionError

PREFIX = "models:/"


class RegistryError(LesionError):
    """MLflow is out of reach, or has no such model."""

    code = "registry_failed"


def fetch_bundle(uri: str, *, tracking_uri: str, into: Path) -> tuple[Bundle, str]:
    """Download and verify a registered bundle.

    Args:
        uri: ``models:/<name>@<alias>`` or ``models:/<name>/<version>``.
        tracking_uri: MLflow server or database.
        into: the bundle lands in a new folder of this one, named by its digest.
    Returns:
        The bundle and its registered version.
    Raises:
        RegistryError: MLflow is out of reach, or has no such model.
        BundleError: what it holds is not an intact bundle, or not the one that was registered.
    """
    match = re.fullmatch(r"models:/([^/@]+)(?:@([\w-]+)|/(\d+))", uri)
    if match is None:
        raise RegistryError(f"{uri!r} is not models:/<name>@<alias> or models:/<name>/<version>.", code="bad_model_uri")
    name, alias, number = match.groups()
    database = sqlite_file(tracking_uri)
    if database is not None and not database.is_file():  # MLflow would make an empty one
        raise _unavailable(uri, tracking_uri, "there is no such database.")
    into.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".download-", dir=into))
    try:
        client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
        found = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
        source = client.get_model_version_download_uri(name, str(found.version))
        fetched = Path(download_artifacts(artifact_uri=source, dst_path=str(scratch), tracking_uri=tracking_uri))
        return _keep(registered_bundle(fetched), into, registered_digest=found.tags.get(DIGEST_TAG)), str(found.version)
    except (MlflowException, OSError) as error:
        raise _unavailable(uri, tracking_uri, str(error)) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _keep(fetched: Path, into: Path, *, registered_digest: str | None) -> Bundle:
    """Move a download to its place; what lay there and is not intact any more gives way."""
    digest = load_bundle(fetched).digest
    if registered_digest not in (None, digest):
        raise BundleError(
            f"MLflow holds a bundle with digest {digest}, but {registered_digest} was registered: it was exchanged."
        )
    folder = into / digest[:16]
    try:
        return load_bundle(folder)
    except BundleError:
        shutil.rmtree(folder, ignore_errors=True)
    fetched.rename(folder)
    return load_bundle(folder)


def _unavailable(uri: str, tracking_uri: str, reason: str) -> RegistryError:
    first_line = next(iter(without_password(reason).strip().splitlines()), "no reason given")[:300]
    return RegistryError(
        f"MLflow at {without_password(tracking_uri)} did not give {uri}: {first_line} Train and register a model first "
        "('lesion-train fit'), or name the server with --tracking-uri."
    )
