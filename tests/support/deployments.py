"""Versions to deploy, without their archives."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lesion_core.bundle import BackboneIdentity
from lesion_serve.archive import ArchiveInfo
from lesion_serve.deployment import Deployed


def deployed(version: str, *, content: str | None = None, serving_name: str = "skin_vit") -> Deployed:
    """A version whose content is its name, unless another is given."""
    digest = hashlib.sha256((content or version).encode()).hexdigest()
    return Deployed(
        version=version,
        model_name="skin-lesion",
        bundle_digest=digest,
        serving_name=serving_name,
        archive=f"{version}.mar",
        sha256=digest,
        source=f"models:/skin-lesion/{version}",
    )


def described(deployed: Deployed) -> ArchiveInfo:
    """What the archive of such a version would say of itself."""
    return ArchiveInfo(
        path=Path(deployed.archive),
        serving_name=deployed.serving_name,
        model_name=deployed.model_name,
        version=deployed.version,
        bundle_digest=deployed.bundle_digest,
        backbone=BackboneIdentity(
            name="efficientnet_lite0",
            plugin="lesion-plugins",
            plugin_version="0.1.0",
            code_license="Apache-2.0",
            weights_license="none",
            weights_origin="none",
        ),
        sha256=deployed.sha256,
        files=(),
    )
