"""What a run's result depends on, beside its settings: data, split, code, environment, starting weights."""

from __future__ import annotations

import hashlib
import importlib.metadata
import subprocess

import attrs

from lesion_core.records import Dataset, data_digest
from lesion_core.splits import Split


@attrs.frozen(kw_only=True)
class RunFacts:
    """The facts of one run; digests are sha256 in hexadecimal. ``git_revision`` is ``unknown`` outside a checkout."""

    dataset: str
    data_digest: str
    split_digest: str
    git_revision: str
    lock_digest: str
    weights_origin: str

    @classmethod
    def of(cls, dataset: Dataset, split: Split, *, weights_origin: str) -> RunFacts:
        """Facts of a run that starts here and now."""
        return cls(
            dataset=dataset.name,
            data_digest=data_digest((*dataset.records, *dataset.test)),
            split_digest=split.digest,
            git_revision=_git_revision(),
            lock_digest=_environment_digest(),
            weights_origin=weights_origin,
        )


def _git_revision() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def _environment_digest() -> str:
    """sha256 over the names and versions of all installed distributions."""
    found = {f"{item.name.lower()}=={item.version}" for item in importlib.metadata.distributions() if item.name}
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()
