"""The folder of a deployment: changes one after another, each whole or not at all, and a history of them."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import attrs
import cattrs

from lesion_core.durable import write_whole
from lesion_core.workspace import Workspace
from lesion_serve.archive import ArchiveError, ArchiveInfo, read_archive
from lesion_serve.deployment import Deployed, Deployment, DeploymentError, deployment_from_json, deployment_to_json

_LOOK_S = 0.5


@attrs.frozen(kw_only=True)
class Change:
    """One line of the history. ``before`` and ``after`` are the champion's version, or the challenger's."""

    generation: int
    at: str
    by: str
    action: str
    before: str | None
    after: str | None
    bundle_digest: str | None
    why: str = ""


@attrs.frozen(kw_only=True)
class Transition:
    """What a change was made from and to, as the store saw both while nobody else changed them."""

    before: Deployment | None
    after: Deployment


@attrs.frozen(kw_only=True)
class Report:
    """How far a running server is: which change it follows, what is loaded, what could not be, and what is pending."""

    generation: int
    default: str | None
    loaded: tuple[str, ...]
    findings: dict[str, str]
    pending: tuple[str, ...] = ()


class DeploymentStore:
    """A folder of one server's deployment; made when it is first written to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.archives = folder / "archives"
        self._state = folder / "state.json"
        self._history = folder / "history.jsonl"
        self._report = folder / "server.json"

    @classmethod
    def of(cls, workspace: Workspace, port: int) -> DeploymentStore:
        """The deployment of the server on a port."""
        return cls(all_deployments(workspace) / str(port))

    def read(self) -> Deployment | None:
        """The deployment, ``None`` where nothing has been deployed.

        Raises:
            DeploymentError: the file cannot be read.
        """
        try:
            return deployment_from_json(self._state.read_bytes())
        except FileNotFoundError:
            return None
        except DeploymentError as error:
            raise DeploymentError(
                f"{self._state} cannot be read: {error}. Remove it and deploy again; the history is kept."
            ) from error

    def change(
        self, action: str, to: Callable[[Deployment | None], Deployment], *, by: str | None = None, why: str = ""
    ) -> Transition:
        """Change the deployment while nobody else does.

        Args:
            action: how the history names it.
            to: the deployment that shall be, from the one that is; the generation is filled in here.
            by: who changes it, as the history names them; the user of this process where it is ``None``.
            why: in words.
        Returns:
            Both deployments; the same twice, and no line of history, where nothing is to change.
        """
        with self._alone():
            before = self.read()
            wanted = to(before)
            if wanted == before:
                return Transition(before=before, after=wanted)
            generation = max([before.generation if before else 0, *(line.generation for line in self.history())]) + 1
            after = attrs.evolve(wanted, generation=generation)
            self._append(_describe(action, before, after, by=by or _user(), why=why))
            write_whole(self._state, deployment_to_json(after))
            self._prune(before, after)
            return Transition(before=before, after=after)

    def history(self) -> tuple[Change, ...]:
        """All changes, the oldest first. A line that a crash cut off counts for nothing: its change did not happen."""
        if not self._history.is_file():
            return ()
        changes = []
        for line in self._history.read_text().splitlines():
            with contextlib.suppress(ValueError, cattrs.BaseValidationError):
                changes.append(cattrs.structure(json.loads(line), Change))
        return tuple(changes)

    def path_of(self, deployed: Deployed) -> Path:
        """Where the archive of a version lies, unverified: for what reads some of it, and checks that."""
        return self.archives / deployed.archive

    def archive_of(self, deployed: Deployed) -> ArchiveInfo:
        """The kept archive of a version, verified: all of it is read, so this is for loading it.

        Raises:
            ArchiveError: it is gone, or not what was deployed.
        """
        info = read_archive(self.path_of(deployed))
        if info.sha256 != deployed.sha256:
            raise ArchiveError(
                f"{info.path} is not what was deployed as version {deployed.version}: it was altered. Deploy it again "
                f"from where it came from, {deployed.source}."
            )
        return info

    def keep(self, packed: ArchiveInfo) -> ArchiveInfo:
        """Move a packed archive to its place among the kept ones; within ``change``, or another change removes it."""
        self.archives.mkdir(parents=True, exist_ok=True)
        place = self.archives / f"{packed.serving_name}-{packed.version}-{packed.sha256[:12]}.mar"
        packed.path.replace(place)
        return attrs.evolve(packed, path=place)

    def copy_to(self, folder: Path) -> None:
        """Copy deployment, history and archives into a new folder, while nobody changes them."""
        with self._alone():
            shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("*.lock", ".*", self._report.name))

    @contextlib.contextmanager
    def served(self) -> Iterator[None]:
        """Say that a server follows this deployment, for as long as it does.

        Raises:
            DeploymentError: another one does.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "server.lock").open("wb") as stream:
            deadline = time.monotonic() + _LOOK_S
            while not _taken(stream):
                if time.monotonic() > deadline:
                    raise DeploymentError(f"A server runs already for {self.folder}.", code="already_served")
                time.sleep(0.01)  # it may be somebody who looks whether one does
            self._report.unlink(missing_ok=True)
            yield

    def is_served(self) -> bool:
        """Whether a server runs that follows this deployment."""
        try:
            with (self.folder / "server.lock").open("rb") as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def write_report(self, report: Report) -> None:
        """Tell how far the server is."""
        write_whole(self._report, json.dumps(cattrs.unstructure(report), indent=2))

    def report(self) -> Report | None:
        """What the server told last; ``None`` before it has."""
        try:
            return cattrs.structure(json.loads(self._report.read_text()), Report)
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "change.lock").open("wb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _append(self, change: Change) -> None:
        is_torn = self._history.is_file() and not self._history.read_bytes().endswith(b"\n")
        with self._history.open("a") as stream:
            stream.write("\n" * is_torn + json.dumps(cattrs.unstructure(change)) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def _prune(self, *deployments: Deployment | None) -> None:
        """Remove the archives that these do not name; the one before a change stays, for the change may be undone."""
        named = {one.archive for deployment in deployments if deployment for one in deployment.all}
        for path in self.archives.glob("*.mar"):
            if path.name not in named:
                path.unlink(missing_ok=True)


def all_deployments(workspace: Workspace) -> Path:
    """Folder with the folder of each server's deployment, named by its port."""
    return workspace.serving / "deployments"


def _describe(action: str, before: Deployment | None, after: Deployment, *, by: str, why: str) -> Change:
    """The champion's change, or the challenger's where the champion stays."""
    was, is_now = (before.champion if before else None), after.champion
    if was == is_now and before is not None:
        changed: tuple[Deployed | None, Deployed | None] = before.challenger, after.challenger
    else:
        changed = was, is_now
    old, new = changed
    return Change(
        generation=after.generation,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        by=by,
        action=action,
        before=old.version if old else None,
        after=new.version if new else None,
        bundle_digest=new.bundle_digest if new else None,
        why=why,
    )


def _taken(stream: IO[bytes]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())
