"""Versions of the registered model, and the two aliases: ``challenger`` is the newest, ``champion`` the one to serve.

MLflow moves an alias to whatever it is told, without comparing. So all that looks at an alias and then moves it holds a
file lock of the workspace: on one machine, or where the workspace is a shared folder with working locks, any number of
trainers get one version each, one champion, and the newest version as challenger. Trainers that share a remote server
but no workspace still get one version each, since the server numbers them, and each alias names exactly one version; of
two *first* versions at the same moment the one with the lower number becomes champion.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import structlog
from filelock import FileLock, Timeout
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from lesion_core.address import sqlite_file, without_password
from lesion_core.bundle import DIGEST_TAG, Bundle, BundleManifest
from lesion_core.errors import LesionError
from lesion_core.workspace import Workspace
from lesion_train.promotion_log import ABANDONED, DONE, Action, Promotion, PromotionLog, champions_before
from lesion_train.record import RunRecord
from lesion_train.tracking.client import TrackingError, connect, is_error, named_errors
from lesion_train.tracking.files import MODEL
from lesion_train.tracking.mirror import Mirror

log = structlog.get_logger()

CHAMPION, CHALLENGER = "champion", "challenger"
SPLIT_TAG = "split_digest"
HEADLINES = ("bma", "macro_auroc", "ece", "sensitivity_MEL")
LOCK_TIMEOUT_S = 120.0


@attrs.frozen(kw_only=True)
class RegisteredVersion:
    """A version of the registered model, and the aliases that it was given now."""

    name: str
    version: str
    aliases: tuple[str, ...]


def register(mirror: Mirror, name: str) -> RegisteredVersion:
    """Send the rest of the run, and make its bundle the newest version of model ``name``, alias ``challenger``.

    The first version ever becomes ``champion`` as well; where the champion was removed, the next one is for people to
    choose. A bundle that is registered already stays one version.

    Raises:
        TrackingError: MLflow is out of reach or refuses.
        LesionError: the run has no bundle, or a damaged one.
    """
    bundle = mirror.record.read_bundle()
    run_id, _ = mirror.sync()
    registry = Registry(mirror.uri, mirror.workspace, name, client=mirror.client)
    hint = f"Nothing is lost: repeat it with: lesion-train register {shlex.quote(str(mirror.record.folder))}"
    with registry_lock(mirror.workspace), named_errors(mirror.uri, hint):
        known = [v for v in registry.versions() if v.tags.get(DIGEST_TAG) == bundle.digest]
        made = known[0] if known else registry.add(bundle, run_id, mirror.record)
        version = str(made.version)
        aliases = []
        versions = registry.versions()
        newest = str(max(int(v.version) for v in versions))
        registry.settle()
        current = registry.aliases()
        if version == newest and current.get(CHALLENGER) != version:
            registry.client.set_registered_model_alias(name, CHALLENGER, version)
            aliases.append(CHALLENGER)
        others = [v for v in versions if v.tags.get(DIGEST_TAG) != bundle.digest]
        is_first = not any(known or int(v.version) < int(version) for v in others) and not registry.had_champion()
        if CHAMPION not in current and is_first:
            registry.move_champion(
                registry.change(Action.REGISTER, None, version, bundle.digest, why="the first version registered")
            )
            aliases.append(CHAMPION)
        elif CHAMPION not in current:
            log.warning("no_champion", model=name, reason="it was removed", choose="lesion-train promote VERSION")
    return RegisteredVersion(name=name, version=version, aliases=tuple(aliases))


@contextmanager
def registry_lock(workspace: Workspace) -> Iterator[None]:
    """Alone with the aliases, as far as a workspace goes.

    Raises:
        TrackingError: another program has held the lock for ``LOCK_TIMEOUT_S``.
    """
    path = workspace.root / "registry.lock"
    try:
        lock = FileLock(path).acquire(timeout=LOCK_TIMEOUT_S)
    except Timeout as error:
        raise TrackingError(
            f"{path} has been held by another program for {LOCK_TIMEOUT_S:.0f} s; wait for it, and repeat."
        ) from error
    with lock:
        yield


class Registry:
    """One registered model at one server, and its promotion log in the workspace."""

    def __init__(self, uri: str, workspace: Workspace, name: str, *, client: MlflowClient | None = None) -> None:
        self.uri = uri
        self.workspace = workspace
        self.name = name
        self.client = client or connect(uri, workspace)
        self.log = PromotionLog(workspace.promotions)

    @classmethod
    def existing(cls, uri: str, workspace: Workspace, name: str) -> Registry:
        """A registry to look at: where it is a file that is not there, MLflow would make an empty one.

        Raises:
            TrackingError: ``nothing_registered``.
        """
        database = sqlite_file(uri)
        if database is not None and not database.is_file():
            raise TrackingError(
                f"Nothing was registered at {uri} yet: there is no such file. Register a run with "
                "'lesion-train register RUN', or name the server or database with --tracking-uri.",
                code="nothing_registered",
            )
        return cls(uri, workspace, name)

    def versions(self) -> list[ModelVersion]:
        """All versions; none where the model is not registered."""
        return list(self.client.search_model_versions(f"name = '{self.name}'"))

    def aliases(self) -> dict[str, str]:
        """Version of each alias; none where the model is not registered."""
        try:
            found = self.client.get_registered_model(self.name).aliases
        except MlflowException as error:
            if is_error(error, "RESOURCE_DOES_NOT_EXIST"):
                return {}
            raise
        return {str(alias): str(version) for alias, version in found.items()}

    def version(self, reference: str) -> ModelVersion:
        """A version by number or alias.

        Raises:
            TrackingError: ``no_version``: names those that there are.
        """
        aliases = self.aliases()
        number = aliases.get(reference, reference)
        found = {str(v.version): v for v in self.versions()}
        if number not in found:
            known = ", ".join([*sorted(found, key=int), *sorted(aliases)]) or "none"
            raise TrackingError(
                f"{self.name} has no version {reference!r} at {without_password(self.uri)}. Known: {known}.",
                code="no_version",
            )
        return found[number]

    def add(self, bundle: Bundle, run_id: str, record: RunRecord) -> ModelVersion:
        """Register a bundle that lies at the server already, with what names and measures it as tags."""
        try:
            self.client.create_registered_model(
                self.name, description="Skin lesion classifier. Research use only. Not a medical device."
            )
        except MlflowException as error:
            if not is_error(error, "RESOURCE_ALREADY_EXISTS"):
                raise
        source = f"{self.client.get_run(run_id).info.artifact_uri}/{MODEL}"
        tags = {DIGEST_TAG: bundle.digest, **_version_tags(bundle.manifest), **prediction_tags(record)}
        return self.client.create_model_version(self.name, source, run_id, tags=tags, await_creation_for=0)

    def change(
        self, action: Action, from_version: str | None, to_version: str, to_digest: str, *, why: str
    ) -> Promotion:
        """A change of this model's champion, for the log."""
        return Promotion(
            action=action,
            model=self.name,
            tracking_uri=without_password(self.uri),
            from_version=from_version,
            to_version=to_version,
            to_digest=to_digest,
            why=why,
        )

    def changes(self) -> list[Promotion]:
        """The log's changes of this registry's champion, oldest first.

        The log is the workspace's, and the same number at another server is another bundle. The address alone does not
        tell them apart, since one registry has several; of a version that is gone there is nothing else to go by, and
        what was champion before it is left out.
        """
        digests, mine = self._digests(), without_password(self.uri)
        found = []
        for change in self.log.changes(self.name):
            if digests.get(change.to_version) == change.to_digest:
                found.append(change)
            elif change.to_version not in digests and change.tracking_uri == mine:
                found.append(attrs.evolve(change, from_version=None))
        return found

    def earlier_champions(self, current: str | None) -> list[Promotion]:
        """Champions before this one that are still registered, latest first."""
        digests = self._digests()
        return [
            change
            for change in champions_before(self.changes(), current)
            if change.to_version in digests
            and change.to_version != current
            and change.to_digest in ("", digests[change.to_version])
        ]

    def had_champion(self) -> bool:
        """Whether the log knows that a version of this model was ever champion here."""
        mine = without_password(self.uri)
        here = [change for change in self.log.changes(self.name) if change.tracking_uri == mine]
        return any(change.outcome == DONE for change in [*here, *self.changes()])

    def _digests(self) -> dict[str, str]:
        return {str(version.version): version.tags.get(DIGEST_TAG, "") for version in self.versions()}

    def move_champion(self, change: Promotion) -> None:
        """Log the plan, move the alias, log the outcome. The lock is held.

        Raises:
            LesionError: ``log_failed``; the message says whether the champion has moved.
        """
        row = self.log.plan(change)
        self.client.set_registered_model_alias(self.name, CHAMPION, change.to_version)
        try:
            self.log.close(row, DONE)
        except LesionError as error:
            raise LesionError(
                f"The champion of {self.name} is version {change.to_version} now. {error.message}", code=error.code
            ) from error

    def settle(self) -> None:
        """Close plans that a crash left open: done where the champion is the one they planned. The lock is held."""
        mine = without_password(self.uri)
        open_plans = [c for c in self.log.changes(self.name) if c.outcome is None and c.tracking_uri == mine]
        current = self.aliases().get(CHAMPION) if open_plans else None
        for plan in open_plans:
            self.log.close(plan.id, DONE if plan.to_version == current else ABANDONED)


def prediction_tags(record: RunRecord) -> dict[str, str]:
    """sha256 of each file of predictions, so that a gate reads what the run wrote."""
    return {
        f"predictions_{path.stem}_sha256": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(record.predictions.glob("*.csv"))
    }


def _version_tags(manifest: BundleManifest) -> dict[str, str]:
    """Digests, revision, licences and the scores that people look for first, with their intervals."""
    facts = manifest.training
    return {
        "data_digest": facts.data_digest,
        SPLIT_TAG: facts.split_digest,
        "git_revision": facts.git_revision,
        "lock_digest": facts.lock_digest,
        "weights_origin": manifest.backbone.weights_origin,
        "weights_license": manifest.backbone.weights_license,
        **{
            f"{part}_{score}": str(facts.metrics[f"{part}_{score}"])
            for part in ("test", "val")
            for score in HEADLINES
            if f"{part}_{score}" in facts.metrics
        },
    }
