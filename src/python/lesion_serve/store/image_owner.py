"""A folder of kept images belongs to one store, and says to which, so that no other one writes there or deletes.

It says so in ``store.json``, by the digest of the first event of the store's chain. Backups share it with
what they were made of, so what was restored goes on with its own images.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path

from filelock import FileLock

from lesion_core.durable import FOR_OWNER, write_whole
from lesion_serve.store.errors import StoreError

OWNER = "store.json"
WAIT_S = 30.0


def require_owner(folder: Path, pattern: str, store: str, known: Callable[[], Collection[str]], *, claim: bool) -> None:
    """Make sure that a folder of images is a store's own.

    One of an earlier release does not say whose it is. It belongs to whoever knows an image in it, and an empty one to
    whoever comes first.

    Args:
        folder: of images; need not be there.
        pattern: of the images in it.
        store: digest of the first event of the store's chain.
        known: names of the images that the store knows; called only where the folder does not say whose it is.
        claim: write down that it is this store's where that is not said yet.
    Raises:
        StoreError: ``foreign_images``: it is another's; ``store_read_only``: it cannot be read or written.
    """
    path = folder / OWNER
    try:
        owner = _owner_in(path)
        if owner is None:
            here = {image.name for image in folder.glob(pattern)}
            if here and here.isdisjoint(known()):
                raise _foreign(folder, f"holds {len(here)} images, none of which this store knows")
            if not claim:
                return
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            owner = _claimed(path, store)
    except OSError as error:
        raise StoreError(
            f"The folder of images {folder} cannot be used: {error}. Let the user of this program read and write "
            "there.",
            code="store_read_only",
        ) from error
    if owner != store:
        raise _foreign(folder, "belongs to another prediction store")


def _owner_in(path: Path) -> str | None:
    """The store that a folder says it belongs to; ``None`` where it says nothing."""
    try:
        return str(json.loads(path.read_bytes())["store"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(
            f"{path} does not say which prediction store its images belong to. Bring it back from a backup; where the "
            "folder is this store's for certain, remove the file, and the store takes the folder over.",
            code="foreign_images",
        ) from error


def _claimed(path: Path, store: str) -> str:
    """Write down whose the folder is, and return whose it is: of two who come at once, the first."""
    with FileLock(path.with_name(f"{path.name}.lock"), timeout=WAIT_S, mode=0o600):
        if (owner := _owner_in(path)) is not None:
            return owner
        write_whole(path, json.dumps({"store": store}), mode=FOR_OWNER)
    return store


def _foreign(folder: Path, what: str) -> StoreError:
    return StoreError(
        f"The folder of images {folder} {what}. Name the folder and the --store that belong together, or give this "
        "store an empty folder.",
        code="foreign_images",
    )
