"""The tables of modules in the packages' READMEs name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SOURCES = Path.cwd() / "src" / "python"
TABLE = re.compile(r"\| module \|.*?\n\n", re.DOTALL)
PACKAGES = ("lesion_core", "lesion_plugins", "lesion_serve", "lesion_ui")


def named(package: str) -> set[str]:
    """Modules in the first column of the table."""
    (table,) = TABLE.findall((SOURCES / package / "README.md").read_text(encoding="utf-8"))
    return {
        name.strip("/")
        for row in table.strip().splitlines()[2:]
        for name in re.findall(r"`([^`]+)`", row.split("|")[1])
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_of_a_table_exists(package: str) -> None:
    """Under its name, as a file or a folder."""
    folder = SOURCES / package
    missing = {
        name
        for name in named(package)
        if not (folder / f"{name.replace('.', '/')}.py").exists() and not (folder / name.replace(".", "/")).is_dir()
    }

    assert missing == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_of_a_package_is_in_its_table(package: str) -> None:
    """Those of the package itself; folders may be named as one."""
    modules = {path.stem for path in (SOURCES / package).glob("*.py") if not path.stem.startswith("__")}

    assert modules - {name.split("/")[0] for name in named(package)} == set()
