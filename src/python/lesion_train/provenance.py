"""What a run's result depends on, beside its settings: data, split, code, environment, starting weights."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import subprocess
from pathlib import Path

import attrs

from lesion_core.records import Dataset, data_digest
from lesion_core.splits import Split
from lesion_train.starting_weights import StartingWeights


@attrs.frozen(kw_only=True)
class RunFacts:
    """The facts of one run; digests are sha256 in hexadecimal.

    ``git_revision`` is ``unknown`` outside a checkout of this code. ``lock_digest`` is over the names and versions of
    all installed distributions: what the lock decides, and what was really there.
    """

    dataset: str
    data_digest: str
    split_digest: str
    git_revision: str
    lock_digest: str
    weights_origin: str
    weights_license: str

    @classmethod
    def of(cls, dataset: Dataset, split: Split, *, weights: StartingWeights) -> RunFacts:
        """Facts of a run that starts here and now."""
        return cls(
            dataset=dataset.name,
            data_digest=data_digest((*dataset.records, *dataset.test)),
            split_digest=split.digest,
            git_revision=_git_revision(),
            lock_digest=_environment_digest(),
            weights_origin=weights.origin,
            weights_license=weights.license,
        )


def _git_revision() -> str:
    """Of the checkout that is the current folder or holds this code, if its copy of this file is the one that runs."""
    own = Path(__file__).read_bytes()
    for folder in (Path.cwd(), Path(__file__).parent):
        root = _git(folder, "rev-parse", "--show-toplevel")
        copy = Path(root, "src", "python", *__name__.split(".")).with_suffix(".py")
        if root and copy.is_file() and copy.read_bytes() == own:
            return _git(folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") or "unknown"
    return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    """What git says, or nothing where it is not installed, too slow, or finds no repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


@functools.cache
def _environment_digest() -> str:
    """sha256 over the names and versions of all installed distributions."""
    installed = (item.metadata for item in importlib.metadata.distributions())
    found = {f"{one['Name'].lower()}=={one['Version']}" for one in installed if one["Name"]}
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()
