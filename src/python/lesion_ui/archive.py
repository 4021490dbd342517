"""Images out of a zip archive, read in memory only: nothing of it touches the disk, and no name in it is believed.

Refused as a whole: an archive that is damaged, encrypted, names a place outside itself, holds links, has too many
entries, or unpacks to far more than it packs. Sizes are counted while unpacking, not taken from the archive's word.
"""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from pathlib import PurePosixPath

import attrs

from lesion_core.errors import LesionError
from lesion_core.imaging import DEFAULT_LIMITS, FILE_SUFFIXES

_CHUNK = 64 * 1024
_SUFFIXES = frozenset(f".{suffix.lower().lstrip('.')}" for suffix in FILE_SUFFIXES)


class ArchiveError(LesionError):
    """An archive that is not taken. Code: ``bad_zip``."""

    code = "bad_zip"


@attrs.frozen(kw_only=True)
class ArchiveLimits:
    """What an archive may be.

    Attributes:
        entries: in all, also those that are no images.
        file_bytes: of one image, unpacked.
        total_bytes: of all images, unpacked.
        ratio: unpacked bytes over packed ones, of one entry. Image files hardly pack; a bomb does a thousandfold.
    """

    entries: int = 2000
    file_bytes: int = DEFAULT_LIMITS.max_bytes
    total_bytes: int = 1 << 30
    ratio: float = 100.0


@attrs.frozen(kw_only=True)
class Unpacked:
    """Images by their name in the archive, in its order, and the names of files that were left out."""

    images: tuple[tuple[str, bytes], ...]
    skipped: tuple[str, ...]


def is_image_name(name: str) -> bool:
    """Whether a file's name ends as that of an image; its bytes are examined later."""
    path = PurePosixPath(name)
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")


def read_zip(data: bytes, *, limits: ArchiveLimits | None = None) -> Unpacked:
    """Take the images out of an archive.

    Raises:
        ArchiveError: it is refused, with the entry that is the reason.
    """
    limits = limits or ArchiveLimits()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _read(archive, limits)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise ArchiveError(f"The archive cannot be read: {error}.") from error


def _read(archive: zipfile.ZipFile, limits: ArchiveLimits) -> Unpacked:
    entries = archive.infolist()
    if len(entries) > limits.entries:
        raise ArchiveError(f"The archive has {len(entries)} entries; {limits.entries} at most are taken.")
    for entry in entries:
        _require_harmless(entry, limits)
    images: list[tuple[str, bytes]] = []
    skipped: list[str] = []
    left = limits.total_bytes
    for entry in entries:
        if entry.is_dir():
            continue
        if not is_image_name(entry.filename):
            skipped.append(entry.filename)
            continue
        content = _unpack(archive, entry, min(limits.file_bytes, left))
        left -= len(content)
        images.append((entry.filename, content))
    return Unpacked(images=tuple(images), skipped=tuple(skipped))


def _require_harmless(entry: zipfile.ZipInfo, limits: ArchiveLimits) -> None:
    name = entry.filename
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in entry.orig_filename:
        raise ArchiveError(f"The archive names a place outside itself: {name[:80]!r}.")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise ArchiveError(f"The archive holds a link: {name[:80]!r}.")
    if entry.flag_bits & 0x1:
        raise ArchiveError(f"The archive is encrypted: {name[:80]!r}.")
    if entry.file_size > limits.ratio * max(entry.compress_size, 1):
        raise ArchiveError(
            f"{name[:80]!r} unpacks to {entry.file_size} bytes from {entry.compress_size}: that is a bomb."
        )


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    """At most ``most`` bytes, whatever the archive says."""
    parts: list[bytes] = []
    total = 0
    with archive.open(entry) as stream:
        while chunk := stream.read(_CHUNK):
            total += len(chunk)
            if total > most:
                raise ArchiveError(f"{entry.filename[:80]!r} unpacks to more than {most} bytes.")
            parts.append(chunk)
    return b"".join(parts)
