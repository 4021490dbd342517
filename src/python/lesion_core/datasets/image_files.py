"""Which files lie in folders, and in all that is below them or linked into them."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import AnyStr

from lesion_core.imaging import FILE_SUFFIXES


def find_images(folders: Iterable[Path], problems: list[str]) -> dict[str, Path]:
    """All images in folders and their subfolders, by file name without its ending, in Unicode's form NFC.

    Two images of one name are a problem: which one a table means cannot be known. Links to folders are followed. A
    folder that is not there holds none.

    Raises:
        OSError: a folder cannot be listed.
    """
    found: dict[str, Path] = {}
    present = [str(folder) for folder in folders if folder.is_dir()]
    for path in map(Path, sorted(entry.path for entry in entries_below(present))):
        if path.suffix.lower() not in FILE_SUFFIXES:
            continue
        if (first := found.setdefault(unicodedata.normalize("NFC", path.stem), path)) is not path:
            problems.append(f"{path}: another image has this name: {first}. Remove one of them")
    return found


def entries_below(folders: Iterable[AnyStr]) -> Iterator[os.DirEntry[AnyStr]]:
    """Whatever is neither hidden nor a folder, in folders and in those below; in no order, and each folder's once.

    Links to folders are followed, but for those to a folder that they lie in. Of several ways to a folder one without
    a link is taken, else the first by name. Only names of folders are held in memory.

    Raises:
        OSError: a folder cannot be listed.
    """
    waiting, linked, seen = list(folders), list[AnyStr](), set[AnyStr]()
    while waiting or linked:
        if not waiting:
            linked.sort(reverse=True)
            waiting.append(linked.pop())
        folder = waiting.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        with os.scandir(folder) as entries:
            for entry in entries:
                if os.fsencode(entry.name).startswith(b"."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_dir():
                    target = os.path.realpath(entry.path)
                    if os.path.commonpath((real, target)) != target:
                        linked.append(entry.path)
                else:
                    yield entry
