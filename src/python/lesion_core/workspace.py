"""Where programs of Lesion keep what they make: one folder, ``.lesion`` here unless ``LESION_HOME`` says otherwise."""

from __future__ import annotations

import json
import os
from pathlib import Path

import attrs

from lesion_core.errors import LesionError

SERVING_NAME = "skin_vit"
REGISTERED_NAME = "skin-lesion"
MLFLOW_PORT = 5001
SERVE_PORT = 8080
GATEWAY_PORT = 8000
UI_PORT = 8501


@attrs.frozen(kw_only=True)
class Endpoint:
    """Where predictions are served: ``url`` takes image bytes by POST, with ``token`` as bearer."""

    url: str
    token: str

    def save(self, path: Path) -> None:
        """Write for our user's eyes only, atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = path.with_suffix(".tmp")
        staging.unlink(missing_ok=True)
        with os.fdopen(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            json.dump(attrs.asdict(self), stream)
        staging.replace(path)

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
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def mlflow_artifacts(self) -> Path:
        """Folder of MLflow's artefacts."""
        return self.root / "mlflow-artifacts"

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
    def endpoint(self) -> Path:
        """File that tells clients where predictions are served."""
        return self.root / "endpoint.json"

    @property
    def torchserve_endpoint(self) -> Path:
        """File with the address and the token of the TorchServe behind the gateway."""
        return self.serving / "torchserve.json"
