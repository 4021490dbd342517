"""Which versions serve: champion, the champion before it, and a challenger.

One small file says it, replaced at once and never half; a history beside it keeps who changed what. The archives lie in
the same folder, verified when they were deployed, so that a start needs nothing but this folder:

    state.json       the deployment
    history.jsonl    one line a change, appended before the change counts
    server.json      how far the running server has followed
    archives/        what the deployment names, as .mar
"""

from __future__ import annotations

import hashlib
import json

import attrs
import cattrs

from lesion_core.errors import LesionError
from lesion_serve.archive import ArchiveInfo

SCHEMA_VERSION = 1
_FRACTIONS = 2**64


class DeploymentError(LesionError):
    """A deployment that cannot be, or whose file cannot be read."""

    code = "bad_deployment"


@attrs.frozen(kw_only=True)
class Deployed:
    """One version. ``archive`` is the name of a file in ``archives/`` and ``sha256`` that file's."""

    version: str
    model_name: str
    bundle_digest: str
    serving_name: str
    archive: str
    sha256: str
    source: str

    @classmethod
    def of(cls, archive: ArchiveInfo, *, source: str) -> Deployed:
        """Describe an archive under its own name; ``deploy`` names the one that is kept."""
        return cls(
            version=archive.version,
            model_name=archive.model_name,
            bundle_digest=archive.bundle_digest,
            serving_name=archive.serving_name,
            archive=archive.path.name,
            sha256=archive.sha256,
            source=source,
        )


def _between_0_and_100(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value <= 100:
        raise DeploymentError(f"A share is a percentage from 0 to 100, got {value:g}.")


@attrs.frozen(kw_only=True)
class Deployment:
    """What shall serve.

    Attributes:
        generation: grows with each change.
        champion: answers.
        previous: the champion before, loaded beside it, so that a rollback takes no time.
        challenger: loaded beside them.
        share_percent: of the requests, in [0, 100], that the challenger answers.
        shadow: whether the challenger is asked along with the champion; its answer is recorded, never shown.
    """

    generation: int
    champion: Deployed
    previous: Deployed | None = None
    challenger: Deployed | None = None
    share_percent: float = attrs.field(default=0.0, validator=_between_0_and_100)
    shadow: bool = False
    schema_version: int = SCHEMA_VERSION

    @property
    def all(self) -> tuple[Deployed, ...]:
        """Every version that is to be loaded, the most needed first."""
        return tuple(one for one in (self.champion, self.challenger, self.previous) if one is not None)

    def without_challenger(self) -> Deployment:
        """The champions alone."""
        return attrs.evolve(self, challenger=None, share_percent=0.0, shadow=False)


@attrs.frozen(kw_only=True)
class Choice:
    """Who answers a request, and who is asked as well for the record only."""

    answering: str
    shadows: tuple[str, ...] = ()


def choose_version(deployment: Deployment, request_id: str) -> Choice:
    """Who answers this request: the same for the same id, as long as the challenger and its share stay.

    The share holds over many ids; which ids it takes is another for each challenger.
    """
    challenger = deployment.challenger
    if challenger is None:
        return Choice(answering=deployment.champion.version)
    digest = hashlib.sha256(f"{challenger.sha256}:{request_id}".encode()).digest()
    if int.from_bytes(digest[:8]) / _FRACTIONS * 100 < deployment.share_percent:
        return Choice(answering=challenger.version)
    return Choice(answering=deployment.champion.version, shadows=(challenger.version,) if deployment.shadow else ())


def with_champion(deployment: Deployment | None, champion: Deployed, *, afresh: bool = False) -> Deployment:
    """The deployment after ``champion`` has taken over; the one before it stays as ``previous``.

    Args:
        deployment: as it is; ``None`` at first.
        champion: may be the challenger of now.
        afresh: drop what cannot stay beside it, instead of refusing. For a server that is not running.
    Raises:
        DeploymentError: ``version_taken``, ``other_name``: it cannot be loaded beside what is there.
    """
    if deployment is None:
        return Deployment(generation=0, champion=champion)
    if champion.sha256 == deployment.champion.sha256:
        return deployment
    next_one = attrs.evolve(deployment, champion=champion, previous=deployment.champion)
    if next_one.challenger is not None and next_one.challenger.sha256 == champion.sha256:
        next_one = next_one.without_challenger()
    if not afresh:
        for other in deployment.all:
            _require_beside(champion, other)
        return next_one
    kept = [other for other in next_one.all[1:] if _clash(champion, other) is None]
    if next_one.challenger not in kept:
        next_one = next_one.without_challenger()
    return next_one if next_one.previous in kept else attrs.evolve(next_one, previous=None)


def with_challenger(deployment: Deployment, challenger: Deployed, *, share_percent: float, shadow: bool) -> Deployment:
    """The deployment with a challenger beside the champion, instead of the one before.

    Raises:
        DeploymentError: it cannot be loaded beside what is there; it is the champion; or a part of the answers is to
            be the challenger's while none of them is to be shown.
    """
    if share_percent and shadow:
        raise DeploymentError("--shadow never shows the challenger's answers, --share shows some: choose one of them.")
    if challenger.sha256 == deployment.champion.sha256:
        raise DeploymentError(f"Version {challenger.version} is the champion; a challenger is another version.")
    for other in deployment.all:
        _require_beside(challenger, other)
    return attrs.evolve(deployment, challenger=challenger, share_percent=share_percent, shadow=shadow)


def rolled_back(deployment: Deployment) -> Deployment:
    """Champion and previous champion change places, so that a second rollback undoes the first.

    A challenger that becomes the champion by this challenges no more.

    Raises:
        DeploymentError: ``nothing_before``: there is no previous champion.
    """
    if deployment.previous is None:
        raise DeploymentError(
            f"There is no champion before version {deployment.champion.version} to go back to.", code="nothing_before"
        )
    return with_champion(deployment, deployment.previous)


def deployment_to_json(deployment: Deployment) -> str:
    """As text for people and for ``deployment_from_json``."""
    return json.dumps(cattrs.unstructure(deployment), indent=2)


def deployment_from_json(text: str | bytes) -> Deployment:
    """Read what ``deployment_to_json`` wrote.

    Raises:
        DeploymentError: it is not that, or of another schema version.
    """
    try:
        data = json.loads(text)
        if data["schema_version"] != SCHEMA_VERSION:
            raise DeploymentError(f"schema version {data['schema_version']!r}; this release reads {SCHEMA_VERSION}")
        return _converter.structure(data, Deployment)
    except DeploymentError:
        raise
    except Exception as error:
        raise DeploymentError("; ".join(cattrs.transform_error(error))) from error


def _clash(one: Deployed, other: Deployed) -> DeploymentError | None:
    if one.sha256 == other.sha256:
        return None
    if one.serving_name != other.serving_name:
        return DeploymentError(
            f"{one.serving_name} cannot stand beside {other.serving_name}: one server serves one name. "
            f"Pack it again with --serving-name {other.serving_name}.",
            code="other_name",
        )
    if one.version == other.version:
        return DeploymentError(
            f"Version {one.version} is deployed already with another content (bundle {other.bundle_digest[:12]}, now "
            f"{one.bundle_digest[:12]}): its answers could not be told apart. Start the server anew with it.",
            code="version_taken",
        )
    return None


def _require_beside(one: Deployed, other: Deployed) -> None:
    if (error := _clash(one, other)) is not None:
        raise error


_converter = cattrs.Converter(forbid_extra_keys=True)
