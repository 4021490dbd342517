"""Whether a server could work here: each check says what it found and, where something is wrong, how it is cured.

Nothing is changed, and a server that runs is not disturbed.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import attrs

from lesion_core.errors import LesionError
from lesion_core.processes import child_environment, require_free_port
from lesion_core.workspace import Workspace
from lesion_serve.deployment_store import DeploymentStore
from lesion_serve.engine.java import find_java, java_version
from lesion_serve.gateway.keys import ApiKeys
from lesion_serve.gateway.settings import keys_file
from lesion_serve.store import AnchorFile, Database, StoreError, default_anchors, default_url
from lesion_serve.store.audit import check_last_anchor

LEAST_FREE_GIB = 2.0
LEAST_FREE_FOR_ANCHORS_GIB = 0.1  # a line of 150 bytes every 10 s, for years
OLD_KEY = timedelta(days=365)
LARGEST_SKEW_S = 5.0
# Time does not run backwards behind what was released.
RELEASED = datetime(2026, 11, 1, tzinfo=UTC)
_IMPORTS = (
    "from lesion_plugins import torchvision_remedy; cured = torchvision_remedy.apply(); import timm; print(*cured)"
)


class Grade(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"  # it works, but a person should look
    PROBLEM = "problem"  # it does not work


@attrs.frozen(kw_only=True)
class Finding:
    """What one check found. ``fix`` is empty where all is well."""

    check: str
    grade: Grade
    message: str
    fix: str = ""


@attrs.frozen(kw_only=True)
class Examined:
    """What is examined: the server of one gateway port.

    Attributes:
        workspace: of the server.
        port, torchserve_port: of the gateway, and of the engine.
        java: the runtime that was named, if one was.
        store_url: of the prediction store.
        anchors: file of its heads; the usual one where it is ``None``.
        keys_file: of the gateway; the workspace's own where it is ``None``.
        now: the machine's idea of the time.
    """

    workspace: Workspace
    port: int
    torchserve_port: int
    java: Path | None = None
    store_url: str | None = None
    anchors: Path | None = None
    keys_file: Path | None = None
    now: datetime = attrs.field(factory=lambda: datetime.now(UTC))


def examine(examined: Examined, names: Iterable[str] | None = None) -> Iterator[Finding]:
    """Run all checks, or those of these names, in turn; a check that fails itself is a problem of its own."""
    for name in _CHECKS if names is None else names:
        check, fix = _CHECKS[name]
        try:
            yield from check(examined)
        except LesionError as error:
            yield Finding(check=name, grade=Grade.PROBLEM, message=error.message, fix=fix)
        except OSError as error:
            fix = "Let the user of this program read and write there."
            yield Finding(check=name, grade=Grade.PROBLEM, message=str(error), fix=fix)


def _java(examined: Examined) -> Iterator[Finding]:
    java = find_java(examined.java)
    yield Finding(check="java", grade=Grade.OK, message=f"Java {java_version(java)} at {java}.")


def _ports(examined: Examined) -> Iterator[Finding]:
    if DeploymentStore.of(examined.workspace, examined.port).is_served():
        yield Finding(check="ports", grade=Grade.OK, message=f"A server runs on port {examined.port}.")
        return
    for port, purpose, option in (
        (examined.port, "gateway", "--port"),
        (examined.torchserve_port, "TorchServe", "--torchserve-port"),
    ):
        require_free_port(port, purpose, option)
    yield Finding(check="ports", grade=Grade.OK, message=f"{examined.port} and {examined.torchserve_port} are free.")


def _disk(examined: Examined) -> Iterator[Finding]:
    for folder, (what, least_gib) in _written_folders(examined).items():
        free_gib = shutil.disk_usage(folder).free / 2**30
        is_enough = free_gib >= least_gib
        yield Finding(
            check="disk",
            grade=Grade.OK if is_enough else Grade.PROBLEM,
            message=f"{free_gib:.1f} GiB are free for the {what} {folder}.",
            fix="" if is_enough else f"Make room, {least_gib:g} GiB at least: what cannot be recorded is withheld.",
        )


def _written_folders(examined: Examined) -> dict[Path, tuple[str, float]]:
    """Folders whose disks a server fills, what for, and GiB that shall be free; each once, by its first purpose."""
    url = examined.store_url or default_url(examined.workspace)
    folders = {
        _existing(examined.workspace.root): ("workspace", LEAST_FREE_GIB),
        Path(tempfile.gettempdir()): ("temporary folder", LEAST_FREE_GIB),
    }
    with contextlib.suppress(StoreError), contextlib.closing(Database(url)) as database:  # the store's check names it
        if database.path is not None:
            folders.setdefault(_existing(database.path.absolute().parent), ("prediction store", LEAST_FREE_GIB))
        anchors = examined.anchors or default_anchors(url, examined.workspace)
        folders.setdefault(_existing(anchors.absolute().parent), ("anchors", LEAST_FREE_FOR_ANCHORS_GIB))
    return folders


def _keys(examined: Examined) -> Iterator[Finding]:
    path = examined.keys_file or keys_file(examined.workspace)
    valid = [key for key in ApiKeys(path).all() if key.is_valid(examined.now)]
    if not valid:
        yield Finding(
            check="keys",
            grade=Grade.WARNING,
            message="There is no valid API key: only this user's app can ask.",
            fix="lesion-serve keys create NAME --role clinician",
        )
        return
    if (mode := path.stat().st_mode & 0o777) & 0o077:
        yield Finding(
            check="keys",
            grade=Grade.PROBLEM,
            message=f"{path} can be read or written by others (mode {mode:04o}).",
            fix=f"chmod 600 {shlex.quote(str(path))}",
        )
    old = [key for key in valid if examined.now - datetime.fromisoformat(key.created_at) > OLD_KEY]
    for key in old:
        yield Finding(
            check="keys",
            grade=Grade.WARNING,
            message=f"The key {key.id} ({key.name}) was made on {key.created_at[:10]}, more than a year ago.",
            fix=f"lesion-serve keys revoke {key.id}, and make another with --valid-days 365",
        )
    yield Finding(check="keys", grade=Grade.OK, message=f"{len(valid)} valid API keys, {len(old)} older than a year.")


def _libraries(examined: Examined) -> Iterator[Finding]:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS], env=child_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        raise LesionError(f"timm cannot be imported: {reason}", code="libraries")
    cured = done.stdout.split()
    how = f"with {', '.join(cured)} declared for torchvision" if cured else "and torchvision needs no remedy"
    yield Finding(check="libraries", grade=Grade.OK, message=f"torch and timm can be imported, {how}.")


def _model(examined: Examined) -> Iterator[Finding]:
    from lesion_serve.deploy import verify_archive

    store = DeploymentStore.of(examined.workspace, examined.port)
    deployment = store.read()
    if deployment is None:
        yield Finding(
            check="model",
            grade=Grade.WARNING,
            message=f"Nothing is deployed for port {examined.port}; 'start' will take the registered champion.",
            fix="lesion-serve deploy models:/skin-lesion@champion",
        )
        return
    for one in deployment.all:
        try:
            verify_archive(store.archive_of(one))
        except LesionError as error:
            yield Finding(
                check="model",
                grade=Grade.PROBLEM,
                message=f"Version {one.version}: {error.message}",
                fix="Deploy it again from where it came from: "
                f"lesion-serve deploy {shlex.quote(str(one.source))} --port {examined.port}",
            )
            continue
        yield Finding(
            check="model",
            grade=Grade.OK,
            message=f"Version {one.version} is intact, and its backbone can be built: bundle {one.bundle_digest[:16]}.",
        )


def _store(examined: Examined) -> Iterator[Finding]:
    url = examined.store_url or default_url(examined.workspace)
    database = Database(url)
    try:
        database.require()
        place = examined.anchors or default_anchors(url, examined.workspace)
        # Before the database, as an audit does: what is noted while this runs is no finding.
        latest = AnchorFile(place).latest()
        if latest is None:
            yield Finding(
                check="store",
                grade=Grade.PROBLEM,
                message=f"The prediction store has no anchors at {place}.",
                fix="Bring the file back, or name it with --anchors; see 'lesion-serve audit verify'.",
            )
            return
        with database.reading() as connection:
            check_last_anchor(connection, latest, place)
        yield Finding(
            check="store",
            grade=Grade.OK,
            message=f"The prediction store can be read; its heads are noted in {place}.",
        )
    except StoreError as error:
        if error.code != "no_store":
            raise
        yield Finding(check="store", grade=Grade.OK, message="There is no prediction store yet; 'start' makes it.")
    finally:
        database.close()


def _clock(examined: Examined) -> Iterator[Finding]:
    fix = "Set the clock, best by NTP: times in the record of predictions come from it, and keys expire by it."
    if examined.now < RELEASED:
        message = f"The clock says {examined.now:%Y-%m-%d}, which is before this release was made."
        yield Finding(check="clock", grade=Grade.PROBLEM, message=message, fix=fix)
        return
    with tempfile.NamedTemporaryFile(dir=_existing(examined.workspace.root)) as touched:
        skew_s = abs(Path(touched.name).stat().st_mtime - time.time())
    if skew_s > LARGEST_SKEW_S:
        message = f"The clock and that of the workspace's disk are {skew_s:.0f} s apart."
        yield Finding(check="clock", grade=Grade.WARNING, message=message, fix=fix)
        return
    yield Finding(check="clock", grade=Grade.OK, message=f"{examined.now:%Y-%m-%d %H:%M:%S} UTC.")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.parents) if path.is_dir())


# In their order, each with what to do where it ends with an error.
_CHECKS: Mapping[str, tuple[Callable[[Examined], Iterator[Finding]], str]] = {
    "java": (_java, "Install Java 11 or later, or name one with --java."),
    "ports": (_ports, "Stop the program that has the port, or name another with --port or --torchserve-port."),
    "disk": (_disk, "Mount the folder, or choose another with LESION_HOME and TMPDIR."),
    "keys": (
        _keys,
        "Bring the file back, or move it away and make new ones: lesion-serve keys create NAME --role clinician",
    ),
    "libraries": (_libraries, "Install lesion-serve again from its own requirements, in an environment of its own."),
    "model": (_model, "Move the file away and deploy again: lesion-serve deploy models:/skin-lesion@champion"),
    "store": (_store, "Mend the database, or name another with --store; 'lesion-serve audit verify' looks closer."),
    "clock": (_clock, "Set the clock, best by NTP."),
}
