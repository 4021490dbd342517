"""Archives that say something else than they should."""

from __future__ import annotations

import zipfile
from pathlib import Path

from lesion_serve.archive import MANIFEST, ArchiveInfo, read_archive


def altered(archive: Path, out: Path, member: str, old: bytes, new: bytes) -> ArchiveInfo:
    """A copy of an archive in which one file says something else."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            assert name != member or old in content
            target.writestr(name, content.replace(old, new) if name == member else content)
    return read_archive(out)


def with_model_config(archive: Path, out: Path, text: str) -> ArchiveInfo:
    """A copy of an archive with settings of TorchServe's for its model."""
    name = "model-config.yaml"
    named = altered(archive, out, MANIFEST, b'"handler":', f'"configFile": "{name}", "handler":'.encode())
    with zipfile.ZipFile(out, "a") as target:
        target.writestr(name, text)
    return read_archive(named.path)
