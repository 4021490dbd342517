"""The reference archive, which ``./pants package //:mar`` builds, depends on nothing but the code."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from lesion_core.processes import child_environment


def build(out: Path, **variables: str) -> str:
    """Build it as Pants does; returns the digest."""
    done = subprocess.run(
        [sys.executable, "-m", "lesion_demo", "reference", str(out)],
        env=child_environment({"SOURCE_DATE_EPOCH": "315532800", "OMP_NUM_THREADS": "1", **variables}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return hashlib.sha256(out.read_bytes()).hexdigest()


def test_the_reference_archive_is_the_same_when_it_is_built_again(tmp_path: Path) -> None:
    """Trained, exported and packed anew: later, elsewhere, in another time zone, with other hashes of strings."""
    other = tmp_path / "another folder"
    other.mkdir()

    first = build(tmp_path / "one.mar", PYTHONHASHSEED="1", TZ="UTC")
    second = build(other / "two.mar", PYTHONHASHSEED="2", TZ="Asia/Tokyo")

    assert first == second
