"""The archive (.mar): a bundle with the code that serves it, in TorchServe's format.

Reproducible: the same bundle and code give the same bytes. Hermetic: our packages travel inside, so a worker runs the
code that the archive was made with; nothing is installed when it is loaded. A stranger's backbone does not travel: its
plugin has to be installed where the archive is served, and ``require_plugin`` says so before anything is started.
TorchServe puts an archive's folder *behind* the environment on the import path, so the archived ``lesion_handler.py``
moves it to the front.

    MAR-INF/MANIFEST.json     as the official archiver writes it
    lesion_handler.py         what TorchServe imports
    lesion.json               registered name and version, digest of the bundle, backbone and plugin, threads a worker
    bundle/                   the bundle
    lesion_core/ …            our packages
    lesion_plugins-<version>.dist-info/   the entry point of the built-in backbones
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import attrs
from packaging.utils import canonicalize_name

import lesion_core
import lesion_plugins
import lesion_serve
from lesion_core.bundle import CARD, BackboneIdentity, Bundle, BundleManifest, load_bundle, read_manifest
from lesion_core.bundle import MANIFEST as BUNDLE_MANIFEST
from lesion_core.errors import BundleError, LesionError
from lesion_core.workspace import SERVING_NAME
from lesion_plugins.compatibility import require_served
from lesion_plugins.registry import BackboneRegistry

BUILT_IN_DISTRIBUTION = "lesion-plugins"
ARCHIVED_BUNDLE = "bundle"
ARCHIVED_FACTS = "lesion.json"
MANIFEST = "MAR-INF/MANIFEST.json"
SUFFIX = ".mar"

NICENESS = 5
_HANDLER = f'''"""What TorchServe imports: one class, defined here."""

import os
import sys

# The archive's own packages go before those of the environment.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from lesion_core.logs import configure_logging
from lesion_serve.handler import Handler

configure_logging()  # a worker is a program of its own
os.nice({NICENESS})  # where cores are few, what takes requests on and records answers does not wait for a network


class LesionHandler(Handler):
    """See ``lesion_serve.handler``."""
'''
_EPOCH = (1980, 1, 1, 0, 0, 0)


class ArchiveError(LesionError):
    """A file that is not an archive of ours."""

    code = "bad_archive"


@attrs.frozen(kw_only=True)
class ArchiveInfo:
    """What an archive says of itself. ``sha256`` is of the whole file."""

    path: Path
    serving_name: str
    model_name: str
    version: str
    bundle_digest: str
    backbone: BackboneIdentity
    sha256: str
    files: tuple[str, ...]


def build_archive(
    bundle_folder: Path, out_path: Path, *, version: str, serving_name: str = SERVING_NAME, threads: int = 1
) -> ArchiveInfo:
    """Pack a bundle; an archive that exists at ``out_path`` is replaced at once, never half.

    Args:
        bundle_folder: verified before it is packed.
        out_path: ends in ``.mar``.
        version: the registered version, as answers shall name it.
        serving_name: the last part of ``/predictions/<name>``.
        threads: of the network in each worker.
    Raises:
        BundleError: the bundle is not intact.
        ArchiveError: ``out_path`` or ``serving_name`` cannot be.
    """
    if out_path.suffix != SUFFIX:
        raise ArchiveError(f"An archive's name ends in {SUFFIX}, got {out_path.name!r}.")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", serving_name):
        raise ArchiveError(
            f"A serving name has letters, digits, '-' and '_' only and starts with one of the first two, "
            f"got {serving_name!r}."
        )
    bundle = load_bundle(bundle_folder)
    facts = {
        "name": bundle.manifest.name,
        "version": version,
        "bundle_digest": bundle.digest,
        "threads": threads,
        "backbone": attrs.asdict(bundle.manifest.backbone),
    }
    entries = {
        MANIFEST: _json(_torchserve_manifest(bundle, serving_name, version)),
        "lesion_handler.py": _HANDLER.encode(),
        ARCHIVED_FACTS: _json(facts),
        **{f"{ARCHIVED_BUNDLE}/{name}": content for name, content in _bundle_files(bundle)},
        **dict(_code_files()),
    }
    out_path.parent.mkdir(parents=True, exist_ok=True)
    staging = out_path.with_name(f".{out_path.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(staging, "w", zipfile.ZIP_STORED) as archive:
            for name in sorted(entries):
                info = zipfile.ZipInfo(name, date_time=_EPOCH)
                info.external_attr = 0o644 << 16
                archive.writestr(info, entries[name])
        staging.replace(out_path)
    finally:
        staging.unlink(missing_ok=True)
    return read_archive(out_path)


def read_archive(path: Path) -> ArchiveInfo:
    """Describe an archive of ours.

    Raises:
        ArchiveError: not an archive, or not one of ours.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = json.loads(archive.read(MANIFEST))
            facts = json.loads(archive.read(ARCHIVED_FACTS))
            files = tuple(archive.namelist())
        return ArchiveInfo(
            path=path,
            serving_name=manifest["model"]["modelName"],
            model_name=facts["name"],
            version=facts["version"],
            bundle_digest=facts["bundle_digest"],
            backbone=BackboneIdentity(**facts["backbone"]),
            sha256=_sha256(path),
            files=files,
        )
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise ArchiveError(f"{path} is not an archive made by 'lesion-serve archive' ({error}).") from error


def copy_archive(archive: ArchiveInfo, place: Path) -> None:
    """Copy an archive, and make sure that the copy is what was read: its code is going to run.

    Args:
        archive: as ``read_archive`` or a deployment gave it.
        place: of the copy, where nobody else may write; nothing stays there after an error.
    Raises:
        ArchiveError: the file is another one by now.
        OSError: it cannot be copied.
    """
    shutil.copyfile(archive.path, place)
    if _sha256(place) != archive.sha256:
        place.unlink()
        raise ArchiveError(f"{archive.path} was altered after it was verified, so it is not run. Deploy it again.")


def read_archived_bundle(path: Path, *, digest: str | None = None) -> tuple[BundleManifest, str, str]:
    """Manifest, digest and card (Markdown) of the bundle in an archive, without unpacking it.

    Args:
        path: of the archive.
        digest: that the bundle has to have, where it is known.
    Raises:
        ArchiveError: not an archive of ours, or of another bundle.
        BundleError: its manifest is not one that this release reads.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read(f"{ARCHIVED_BUNDLE}/{BUNDLE_MANIFEST}")
            card = archive.read(f"{ARCHIVED_BUNDLE}/{CARD}").decode()
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ArchiveError(f"{path} is not an archive made by 'lesion-serve archive' ({error}).") from error
    manifest, found = read_manifest(text, name=str(path)), hashlib.sha256(text).hexdigest()
    if digest not in (None, found):
        raise ArchiveError(f"{path} holds another bundle than was deployed: it was altered. Deploy it again.")
    return manifest, found, card


def read_archived_file(path: Path, name: str, *, digest: str | None = None) -> bytes | None:
    """One file of the bundle in an archive, checked against its manifest; ``None`` where the bundle has no such file.

    Args:
        path: of the archive.
        name: of the file.
        digest: see ``read_archived_bundle``.
    Raises:
        ArchiveError: not an archive of ours, or of another bundle, or it has lost the file.
        BundleError: the file was altered.
    """
    manifest, _, _ = read_archived_bundle(path, digest=digest)
    if name not in manifest.files:
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            data = archive.read(f"{ARCHIVED_BUNDLE}/{name}")
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise ArchiveError(f"{path} has lost its {name} ({error}).") from error
    if hashlib.sha256(data).hexdigest() != manifest.files[name]:
        raise BundleError(f"{name} in {path} does not match its sha256: it was altered.")
    return data


def unpack_bundle(archive: ArchiveInfo, folder: Path) -> Bundle:
    """Unpack the bundle of an archive, and check that all of it is intact.

    Args:
        archive: as ``read_archive`` gave it.
        folder: where to; gets a folder ``bundle``.
    Raises:
        ArchiveError: damaged, or it holds another bundle than it says.
        BundleError: the bundle was altered.
    """
    try:
        with zipfile.ZipFile(archive.path) as packed:
            packed.extractall(folder, [name for name in archive.files if name.startswith(f"{ARCHIVED_BUNDLE}/")])
    except (zipfile.BadZipFile, zlib.error) as error:
        raise ArchiveError(f"{archive.path} is damaged ({error}).") from error
    bundle = load_bundle(folder / ARCHIVED_BUNDLE)
    if bundle.digest != archive.bundle_digest:
        raise ArchiveError(
            f"{archive.path} holds a bundle with digest {bundle.digest}, not {archive.bundle_digest} as it says."
        )
    return bundle


def require_plugin(archive: ArchiveInfo) -> None:
    """Make sure that the backbone of an archive can be built here.

    Raises:
        PluginMissingError: its plugin is not installed.
        PluginVersionError: its plugin is installed in a version that does not serve it.
    """
    require_backbone(archive.backbone)


def require_backbone(backbone: BackboneIdentity) -> None:
    """Make sure that a backbone can be built here; see ``require_plugin``."""
    if canonicalize_name(backbone.plugin) != BUILT_IN_DISTRIBUTION:  # the built-in ones travel in the archive
        require_served(backbone, BackboneRegistry.load())


def _torchserve_manifest(bundle: Bundle, serving_name: str, version: str) -> dict[str, object]:
    """Same keys as ``model_archiver``; the time is the bundle's own, so that two builds are equal."""
    return {
        "createdOn": bundle.manifest.training.created_at,
        "runtime": "python",
        "model": {"modelName": serving_name, "handler": "lesion_handler.py", "modelVersion": version},
        "archiverVersion": f"lesion-serve {lesion_serve.__version__}",
    }


def _bundle_files(bundle: Bundle) -> Iterator[tuple[str, bytes]]:
    yield BUNDLE_MANIFEST, (bundle.folder / BUNDLE_MANIFEST).read_bytes()
    for name in bundle.manifest.files:
        yield name, bundle.read(name)


def _code_files() -> Iterator[tuple[str, bytes]]:
    for package in (lesion_core, lesion_plugins, lesion_serve):
        folder = Path(str(package.__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            yield path.relative_to(folder.parent).as_posix(), path.read_bytes()
    metadata = f"lesion_plugins-{lesion_plugins.__version__}.dist-info"
    text = f"Metadata-Version: 2.1\nName: lesion-plugins\nVersion: {lesion_plugins.__version__}\n"
    yield f"{metadata}/METADATA", text.encode()
    yield f"{metadata}/entry_points.txt", b"[lesion]\nbuiltin = lesion_plugins.backbones\n"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode()
