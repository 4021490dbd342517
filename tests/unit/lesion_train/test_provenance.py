"""What a run says of the code that made it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from lesion_core.datasets import read_dataset
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.splits import split_by_lesion
from lesion_train import provenance
from lesion_train.provenance import RunFacts
from lesion_train.starting_weights import StartingWeights

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def revision_recorded(folder: Path) -> str:
    dataset = read_dataset(write_synthetic_dataset(folder / "data", images_per_class=4, side_px=32))
    split = split_by_lesion(dataset.records, dataset.taxonomy, validation_fraction=0.5, seed=0)
    return RunFacts.of(dataset, split, weights=StartingWeights(origin="none", license="none")).git_revision


def commit(folder: Path) -> str:
    """Make a repository of a folder; returns its revision."""
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first", "--allow-empty"]):
        subprocess.run([*git, *arguments], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def test_the_revision_of_another_repository_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever trains may stand in the checkout of a paper."""
    (tmp_path / "paper").mkdir()
    theirs = commit(tmp_path / "paper")
    monkeypatch.chdir(tmp_path / "paper")

    assert theirs not in revision_recorded(tmp_path)


def test_the_revision_is_that_of_the_checkout_whose_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the code was unpacked to: Pants runs it from a folder of its own. Changes are marked."""
    copy = tmp_path / "checkout" / "src" / "python" / "lesion_train" / "provenance.py"
    copy.parent.mkdir(parents=True)
    shutil.copy(provenance.__file__, copy)
    ours = commit(tmp_path / "checkout")
    monkeypatch.chdir(tmp_path / "checkout")

    assert revision_recorded(tmp_path) == ours
    tag = ["-c", "user.name=x", "-c", "user.email=x@example.org", "tag", "-a", "v1.0", "-m", "a release"]
    subprocess.run(["git", "-C", str(tmp_path / "checkout"), *tag], check=True)
    assert revision_recorded(tmp_path / "tagged") == ours
    (copy.parent / "other.py").write_text("x = 1\n")
    commit(tmp_path / "checkout")
    (copy.parent / "other.py").write_text("x = 2\n")
    assert revision_recorded(tmp_path / "again").endswith("-dirty")
