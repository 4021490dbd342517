"""Versions as the gateway shows them, and changes of the champion by a key that may."""

from __future__ import annotations

import msgspec

from lesion_core.bundle import EVALUATION
from lesion_core.errors import LesionError
from lesion_core.service import Change, Version, Versions
from lesion_serve.archive import read_archived_bundle, read_archived_file
from lesion_serve.deploy import promote, roll_back
from lesion_serve.deployment import Deployed, Deployment, DeploymentError
from lesion_serve.deployment_store import DeploymentStore
from lesion_serve.engine.engine import Engine, EngineDownError, ModelLoadError
from lesion_serve.gateway.inputs import InputError
from lesion_serve.gateway.keys import Principal
from lesion_serve.gateway.messages import DeploymentBody, Promote, Rollback
from lesion_serve.outcome import follow_change

CHANGES = 100


class NoSuchVersionError(LesionError):
    """No deployed version has this name, or its bundle does not hold what was asked for.

    Codes: ``no_version``, ``no_evaluation``.
    """

    code = "no_version"


class Deployments:
    """What serves, from the server's deployment. Its methods wait for the disk, so an event loop uses a thread."""

    def __init__(self, store: DeploymentStore, engine: Engine) -> None:
        self._store = store
        self._engine = engine

    def versions(self) -> Versions:
        """What is deployed, the champion first, and the newest changes of it.

        Raises:
            EngineDownError: nothing is deployed yet.
        """
        deployment = self._deployment()
        places = {"champion": deployment.champion, "challenger": deployment.challenger, "previous": deployment.previous}
        history = reversed(self._store.history()[-CHANGES:])
        return Versions(
            versions=tuple(self._version(one, place, deployment) for place, one in places.items() if one is not None),
            history=tuple(
                Change(at=one.at, by=one.by, action=one.action, before=one.before, after=one.after, why=one.why)
                for one in history
            ),
        )

    def card(self, version: str) -> str:
        """The model card of a deployed version, Markdown.

        Raises:
            NoSuchVersionError: there is no such version.
        """
        deployed = self._deployed(version)
        _, _, card = read_archived_bundle(self._store.path_of(deployed), digest=deployed.bundle_digest)
        return card

    def evaluation(self, version: str) -> bytes:
        """The evaluation of a deployed version, JSON as ``lesion-train`` wrote it.

        Raises:
            NoSuchVersionError: there is no such version, or its bundle was made without an evaluation.
        """
        deployed = self._deployed(version)
        path = self._store.path_of(deployed)
        if (found := read_archived_file(path, EVALUATION, digest=deployed.bundle_digest)) is None:
            raise NoSuchVersionError(
                f"The bundle of version {version} holds no evaluation: an older release made it. 'lesion-train "
                "evaluate' measures it.",
                code="no_evaluation",
            )
        return found

    def change(self, body: bytes, principal: Principal) -> Versions:
        """Promote a deployed version, or roll back, and wait until the server follows; undone where it cannot.

        Args:
            body: JSON of a ``DeploymentBody``.
            principal: whose key the history names.
        Raises:
            InputError: the body is not such a message; the change is not possible now, or the server could not follow
                and it is undone (409); it is made, but the server has not followed yet (504).
            NoSuchVersionError: no such version is deployed.
        """
        try:
            wanted = msgspec.json.decode(body, type=DeploymentBody)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(
                f'A change is JSON such as {{"action": "rollback", "why": "…"}}: {error}.',
                status=422,
                code="bad_deployment",
            ) from error
        by = f"key {principal.key_id}"
        try:
            match wanted:
                case Promote(version=version, why=why):
                    self._deployed(version)
                    change = promote(self._store, version, by=by, why=why)
                case Rollback(why=why):
                    change = roll_back(self._store, by=by, why=why)
            follow_change(self._store, change, by=by)
        except (DeploymentError, ModelLoadError) as error:
            status = 504 if error.code == "not_followed" else 409
            raise InputError(error.message, status=status, code=error.code) from error
        return self.versions()

    def _deployment(self) -> Deployment:
        if (deployment := self._store.read()) is None:
            raise EngineDownError("No model is deployed yet.")
        return deployment

    def _deployed(self, version: str) -> Deployed:
        deployed = {one.version: one for one in self._deployment().all}
        if version not in deployed:
            raise NoSuchVersionError(f"No version {version!r} is deployed. Deployed: {', '.join(deployed)}.")
        return deployed[version]

    def _version(self, deployed: Deployed, place: str, deployment: Deployment) -> Version:
        manifest, digest, _ = read_archived_bundle(self._store.path_of(deployed))
        loaded = {one.version: one for one in self._engine.versions()}.get(deployed.version)
        report = self._store.report()
        finding = (report.findings.get(deployed.version) if report else None) or (loaded.finding if loaded else None)
        is_challenger = place == "challenger"
        champions_share = 100.0 - deployment.share_percent
        shares = {"champion": champions_share, "challenger": deployment.share_percent}
        return Version(
            name=deployed.model_name,
            version=deployed.version,
            backbone=manifest.backbone.name,
            bundle_digest=digest,
            place=place,
            share_percent=shares.get(place, 0.0),
            is_shadow=is_challenger and deployment.shadow,
            ready_workers=loaded.ready if loaded else 0,
            workers=loaded.wanted if loaded else 0,
            finding=finding,
            created_at=manifest.training.created_at,
            trained_on=manifest.training.dataset,
            metrics=manifest.training.metrics,
            has_evaluation=EVALUATION in manifest.files,
        )
