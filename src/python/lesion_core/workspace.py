"""Where programs of Lesion keep what they make: one folder, ``.lesion`` here unless ``LESION_HOME`` says otherwise."""

from __future__ import annotations

import json
import os
import ssl
from pathlib import Path
from typing import Literal

import attrs

from lesion_core.address import sqlite_address
from lesion_core.durable import FOR_OWNER, write_whole
from lesion_core.errors import LesionError

SERVING_NAME = "skin_vit"
REGISTERED_NAME = "skin-lesion"
MLFLOW_PORT = 5001
SERVE_PORT = 8080
GATEWAY_PORT = 8000
UI_PORT = 8501


@attrs.frozen(kw_only=True)
class Endpoint:
    """Where predictions are served.

    Attributes:
        url: takes image bytes by POST; on this machine it may name loopback, whatever the certificate names.
        token: the bearer's.
        certificate: PEM file with what is trusted instead of the system's authorities; for ``https`` only.
        server_name: that the certificate is for, where it is not the host of ``url``.
    """

    url: str
    token: str
    certificate: str | None = None
    server_name: str | None = None

    def save(self, path: Path) -> None:
        """Write for our user's eyes only, atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {name: value for name, value in attrs.asdict(self).items() if value is not None}
        write_whole(path, json.dumps(content), mode=FOR_OWNER)

    def trust(self) -> ssl.SSLContext | Literal[True]:
        """What an HTTP client trusts (httpx's ``verify``): the certificate, or ``True`` for the usual authorities.

        Raises:
            LesionError: ``bad_certificate``: the file cannot be read, or holds none.
        """
        if self.certificate is None:
            return True
        try:
            context = ssl.create_default_context(cafile=self.certificate)
        except OSError as error:  # ssl's own errors are too
            raise LesionError(
                f"The certificate {self.certificate} of {self.url} cannot be used ({error}). Give a PEM file.",
                code="bad_certificate",
            ) from error
        # The file may hold the server's own certificate, without the authority that signed it.
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        return context

    @property
    def request_extensions(self) -> dict[str, str]:
        """What an HTTP client adds to a request (httpx's ``extensions``), so that it expects ``server_name``."""
        return {} if self.server_name is None else {"sni_hostname": self.server_name}

    @classmethod
    def load(cls, path: Path) -> Endpoint:
        """Read what ``save`` wrote.

        Raises:
            LesionError: ``no_endpoint``: the file is missing or damaged.
        """
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise LesionError(
                f"No serving endpoint is described at {path} ({error}). Start the server first.", code="no_endpoint"
            ) from error


def _absolute(path: Path) -> Path:
    return path.resolve()


@attrs.frozen
class Workspace:
    """Paths inside the folder. Nothing is created before it is needed."""

    root: Path = attrs.field(converter=_absolute)

    @classmethod
    def default(cls) -> Workspace:
        """``$LESION_HOME``, else ``.lesion`` in the current folder."""
        return cls(Path(os.environ.get("LESION_HOME") or ".lesion"))

    @property
    def mlflow_database(self) -> str:
        """SQLAlchemy address of the MLflow tracking store."""
        return sqlite_address(self.mlflow_file)

    @property
    def mlflow_file(self) -> Path:
        """File of that store."""
        return self.root / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        """Folder of MLflow's artefacts."""
        return self.root / "mlflow-artifacts"

    @property
    def promotions(self) -> Path:
        """File of the promotion log: who made which version champion."""
        return self.root / "promotions.db"

    @property
    def bundles(self) -> Path:
        """Folder of the bundles that training wrote."""
        return self.root / "bundles"

    @property
    def runs(self) -> Path:
        """Folder of logs, checkpoints and plots of training runs."""
        return self.root / "runs"

    @property
    def squares(self) -> Path:
        """Folder of decoded images, which all runs share; safe to remove when none is running."""
        return self.root / "cache" / "squares"

    @property
    def serving(self) -> Path:
        """Folder of the serving engine: archives, token file, logs, temp files."""
        return self.root / "serving"

    @property
    def atlases(self) -> Path:
        """Folder of reference images, a file for each bundle."""
        return self.serving / "atlases"

    @property
    def endpoint(self) -> Path:
        """File that tells clients where predictions are served."""
        return self.root / "endpoint.json"

    @property
    def torchserve_endpoint(self) -> Path:
        """File with the address and the token of the TorchServe behind the gateway."""
        return self.serving / "torchserve.json"
