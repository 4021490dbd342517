"""What a package pulls in, seen from a fresh interpreter: import rules see direct imports only."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from lesion_core.processes import child_environment


def modules_of(package: str) -> list[str]:
    folder = Path(str(import_module(package).__file__)).parent
    found = pkgutil.walk_packages([str(folder)], prefix=f"{package}.")
    return [package, *(module.name for module in found if not module.name.endswith("__main__"))]


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        (
            "lesion_core",
            {"torch", "mlflow", "streamlit", "timm", "ts", "lesion_plugins", "lesion_train", "lesion_serve"},
        ),
        ("lesion_ui", {"torch", "mlflow", "timm", "ts", "lesion_plugins", "lesion_train", "lesion_serve"}),
    ],
)
def test_a_package_pulls_in_nothing_heavy(package: str, forbidden: set[str]) -> None:
    """All of its modules, imported in one fresh interpreter."""
    modules = modules_of(package)
    assert len(modules) > 4
    load = "".join(f"import {name}\n" for name in modules)
    code = f"{load}import sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"

    done = subprocess.run(
        [sys.executable, "-c", code], env=child_environment(), capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert not forbidden & set(done.stdout.split())
