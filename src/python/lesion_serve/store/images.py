"""Kept images, where an operator wants them: encrypted, each with a key of its own, so that one can be forgotten.

One file an image, under a random name:

    "LSNIMG1" LF  |  12 bytes of nonce  |  AES-256-GCM of the image, with its tag

under a key made for this image. That key, encrypted under the operator's key, is the fact ``image`` of the prediction
in the database. Deleting that row makes the file unreadable for everybody, copies in backups included; the file is
deleted right after. Both encryptions take request id, sha256 and file name as associated data: a file or a key that
was put in another's place does not decrypt.

The file is complete on the disk before the record is committed; a crash in between leaves a file whose key was never
written anywhere: nobody can read it, and all that it costs is its space.

Such a file looks like an image of another database, or one that is younger than a database brought back from a backup.
So what a database does not know is no reason to delete it: see ``ImageStore.remove_leftovers``. A folder belongs to one
store, see ``image_owner``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shlex
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lesion_core.durable import FOR_OWNER, sync, write_whole
from lesion_serve.store.errors import StoreError
from lesion_serve.store.image_owner import require_owner

MAGIC = b"LSNIMG1\n"
KEY_BYTES, NONCE_BYTES = 32, 12
SUFFIX = ".lsnimg"
_UNFINISHED = f"{SUFFIX}.part"
# A younger file is still being written, or belongs to a record that is about to be committed.
LEFTOVER_AGE_S = 3600.0


@attrs.frozen(kw_only=True)
class ImageKey:
    """The operator's key. ``id`` tells keys apart and says nothing about them."""

    id: str
    secret: bytes = attrs.field(repr=False)

    @classmethod
    def load(cls, path: Path, *, images: Path) -> ImageKey:
        """Read a key file: 64 hexadecimal digits, for its owner's eyes only, outside of the images' folder.

        Raises:
            StoreError: ``image_key``.
        """
        make = f"Make one with lesion-serve audit new-key {shlex.quote(str(path))}"
        try:
            mode = path.stat().st_mode
            text = path.read_text(encoding="ascii").strip()
        except FileNotFoundError as error:
            raise StoreError(f"There is no key for images at {path}. {make}", code="image_key") from error
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"The key for images {path} cannot be read: {error}.", code="image_key") from error
        if mode & 0o077:
            raise StoreError(
                f"The key for images {path} can be read by others (mode {mode & 0o777:04o}). Make a new one if "
                f"somebody may have seen it; else: chmod 600 {shlex.quote(str(path))}",
                code="image_key",
            )
        if path.resolve().is_relative_to(images.resolve()):
            raise StoreError(
                f"The key for images {path} lies in the images' own folder {images}: whoever copies one gets the "
                "other. Move it elsewhere.",
                code="image_key",
            )
        try:
            secret = bytes.fromhex(text)
        except ValueError:
            secret = b""
        if len(secret) != KEY_BYTES:
            raise StoreError(
                f"The key for images {path} is not {2 * KEY_BYTES} hexadecimal digits ({len(text)} characters). {make}",
                code="image_key",
            )
        return cls(id=hashlib.sha256(b"lesion-image-key\n" + secret).hexdigest()[:16], secret=secret)


def create_key(path: Path) -> None:
    """Make a key file, mode 0600; one that exists is never overwritten.

    Raises:
        StoreError: ``image_key``: it exists, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(secrets.token_hex(KEY_BYTES) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
    except FileExistsError as error:
        raise StoreError(
            f"{path} exists. Images that were kept under it could never be read again.", code="image_key"
        ) from error
    except OSError as error:
        raise StoreError(f"The key {path} cannot be written: {error}.", code="image_key") from error


@attrs.frozen(kw_only=True)
class ImageStore:
    """The folder of images; ``key`` is ``None`` for those who only count and delete."""

    folder: Path
    key: ImageKey | None = None

    def seal(self, image: bytes, *, request_id: str, image_sha256: str) -> str:
        """Write an image; returns the fact that opens it, for the database. The file is on the disk then.

        Raises:
            StoreError: ``image_key``: there is no key; ``store_full``: it could not be written, and nothing is left.
        """
        key = self._require_key()
        name = f"{secrets.token_hex(16)}{SUFFIX}"
        bound = _bound(request_id, image_sha256, name)
        own, nonce, wrap_nonce = secrets.token_bytes(KEY_BYTES), *(secrets.token_bytes(NONCE_BYTES) for _ in range(2))
        path = self.path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            content = MAGIC + nonce + AESGCM(own).encrypt(nonce, image, bound)
            write_whole(path, content, mode=FOR_OWNER, staging=path.with_suffix(_UNFINISHED))
            sync(path.parent.parent)
        except OSError as error:
            raise StoreError(
                f"The image could not be kept in {self.folder}: {error}. Nothing was written; make room.",
                code="store_full",
            ) from error
        wrapped = AESGCM(key.secret).encrypt(wrap_nonce, own, bound)
        return json.dumps({"file": name, "key": key.id, "nonce": wrap_nonce.hex(), "wrapped": wrapped.hex()})

    def open(self, sealed: str, *, request_id: str, image_sha256: str) -> bytes:
        """The image that ``seal`` wrote.

        Raises:
            StoreError: ``image_key``: there is no key, or another one is needed; ``no_image``: the file is gone;
                ``image_damaged``: file or fact were altered, or belong to another record.
        """
        key, fields = self._require_key(), json.loads(sealed)
        name = str(fields["file"])
        if fields["key"] != key.id:
            raise StoreError(
                f"Image {name} was kept under key {fields['key']}, and the key file holds {key.id}. Name the key file "
                "that was in use then.",
                code="image_key",
            )
        try:
            content = self.path(name).read_bytes()
        except OSError as error:
            raise StoreError(f"Image {name} is not in {self.folder}: {error}.", code="no_image") from error
        bound = _bound(request_id, image_sha256, name)
        nonce, rest = content[len(MAGIC) : len(MAGIC) + NONCE_BYTES], content[len(MAGIC) + NONCE_BYTES :]
        try:
            own = AESGCM(key.secret).decrypt(bytes.fromhex(fields["nonce"]), bytes.fromhex(fields["wrapped"]), bound)
            image = AESGCM(own).decrypt(nonce, rest, bound)
        except (InvalidTag, ValueError) as error:
            raise StoreError(
                f"Image {name} does not decrypt: it was altered, or belongs to another record.", code="image_damaged"
            ) from error
        if not content.startswith(MAGIC) or hashlib.sha256(image).hexdigest() != image_sha256:
            raise StoreError(f"Image {name} is not the one that its record names.", code="image_damaged")
        return image

    def path(self, name: str) -> Path:
        """Where an image lies; folders of the first two letters keep listings short.

        Raises:
            StoreError: ``image_damaged``: not a name that ``seal`` makes.
        """
        if not (name.endswith(SUFFIX) and name.removesuffix(SUFFIX).isalnum()):
            raise StoreError(f"{name!r} is no name of a kept image.", code="image_damaged")
        return self.folder / name[:2] / name

    def require_owner(self, store: str, known: Callable[[], Collection[str]], *, claim: bool) -> None:
        """Make sure that the folder is this store's, and not another's.

        Args:
            store: digest of the first event of the store's chain.
            known: names of the images that the store knows; called only where the folder does not say whose it is.
            claim: write down that it is this store's where that is not said yet.
        Raises:
            StoreError: ``foreign_images``: it is another's; ``store_read_only``: it cannot be read or written.
        """
        require_owner(self.folder, f"*/*{SUFFIX}", store, known, claim=claim)

    def remove(self, name: str) -> None:
        """Delete a file, if it is there.

        Raises:
            StoreError: ``store_read_only``: it is there, and stays.
        """
        self._unlink(self.path(name))

    def remove_leftovers(self, unrecorded: Iterable[str]) -> int:
        """Delete what cannot be an image of anybody's record; returns how many files that were. Young ones stay.

        Those are files that were never written to their end, and ``unrecorded``: images that this program itself has
        written, and then not found in its database. No other file is deleted for being unknown, so a database that was
        brought back from a backup, or is the wrong one, does no harm to images that it does not know.

        Raises:
            StoreError: ``store_read_only``, as ``remove``.
        """
        oldest, count = time.time() - LEFTOVER_AGE_S, 0
        for path in (*self.folder.glob(f"*/*{_UNFINISHED}"), *map(self.path, unrecorded)):
            if path.exists() and path.stat().st_mtime < oldest:
                self._unlink(path)
                count += 1
        return count

    def count_unknown(self, known: Collection[str]) -> int:
        """How many images are not among the known ones, without young ones."""
        oldest, count = time.time() - LEFTOVER_AGE_S, 0
        for path in self.folder.glob(f"*/*{SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):  # erased meanwhile
                count += path.name not in known and path.stat().st_mtime < oldest
        return count

    def _unlink(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(
                f"The image {path.name} cannot be deleted from {self.folder}: {error}. Let the user of this program "
                "write there, and repeat.",
                code="store_read_only",
            ) from error

    def _require_key(self) -> ImageKey:
        if self.key is None:
            raise StoreError("Kept images need their key: name its file.", code="image_key")
        return self.key


def file_of(sealed: str) -> str:
    """The file's name in a fact that ``seal`` made."""
    return str(json.loads(sealed)["file"])


def _bound(request_id: str, image_sha256: str, name: str) -> bytes:
    return json.dumps(["lesion-image-1", request_id, image_sha256, name]).encode()
