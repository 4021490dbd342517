"""Mirror runs to MLflow and register bundles there. The only modules of training that import mlflow.

MLflow is a mirror, never a dependency: where it is out of reach a run goes on, and ``lesion-train sync`` catches up
later. Models are stored as bundles (plain files), not as an MLflow flavour: loading one executes nothing.
"""

from lesion_train.tracking.background import BackgroundMirror, send
from lesion_train.tracking.client import TrackingError
from lesion_train.tracking.mirror import Mirror, Sent
from lesion_train.tracking.registry import CHALLENGER, CHAMPION, RegisteredVersion, register
from lesion_train.tracking.system import SystemSampler

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "BackgroundMirror",
    "Mirror",
    "RegisteredVersion",
    "Sent",
    "SystemSampler",
    "TrackingError",
    "register",
    "send",
]
