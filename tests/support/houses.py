"""A workspace with a registry in a real database of MLflow."""

from __future__ import annotations

from mlflow.tracking import MlflowClient

from lesion_core.bundle import Bundle
from lesion_core.workspace import Workspace
from lesion_train.promotion import promote, rollback
from lesion_train.promotion_log import PromotionLog
from lesion_train.tracking import Mirror, register
from support.runs import make_contender


class House:
    """A workspace with a registry, and short words for what the tests do there."""

    def __init__(self, workspace: Workspace, tiny: Bundle, uri: str | None = None) -> None:
        self.workspace = workspace
        self.uri = uri or workspace.mlflow_database
        self.tiny = tiny
        self.client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        self.log = PromotionLog(workspace.promotions)

    def add(self, name: str, skill: float, seed: int, **options: object) -> str:
        """Register a contender; returns its version."""
        record = make_contender(self.workspace.runs, self.tiny, skill=skill, seed=seed, **options)  # type: ignore[arg-type]
        return register(Mirror(record, self.uri, self.workspace), name).version

    def promote(self, reference: str, name: str, **options: object) -> object:
        return promote(reference, name=name, tracking_uri=self.uri, workspace=self.workspace, **options)  # type: ignore[arg-type]

    def rollback(self, name: str) -> object:
        return rollback(name=name, tracking_uri=self.uri, workspace=self.workspace, why="it was worse")

    def champion(self, name: str) -> str:
        return str(self.client.get_model_version_by_alias(name, "champion").version)
