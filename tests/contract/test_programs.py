"""The programs as Pants packs them: each with all that it needs, which a run from the source tree would not notice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lesion_core.processes import child_environment
from lesion_serve.archive import build_archive
from support.bundles import make_tiny_bundle

PROGRAMS = ("lesion_train/train", "lesion_serve/serve", "lesion_ui/ui")


def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    package, name = program.split("/")
    pex = Path.cwd() / f"src.python.{package}" / f"{name}.pex"
    command = [pex / "__main__.py" if pex.is_dir() else pex, *arguments]
    return subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False)


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_starts(program: str) -> None:
    """And says which version it is."""
    done = run(program, "--version")

    assert (done.returncode, done.stdout.strip()) == (0, "0.1.0"), done.stderr


def test_serve_packs_the_archive_that_the_source_tree_packs(tmp_path: Path) -> None:
    """Byte for byte, so with the code that only a TorchServe worker imports."""
    bundle = make_tiny_bundle(tmp_path / "bundle")

    done = run("lesion_serve/serve", "archive", bundle.folder, "--out", tmp_path / "packed.mar")

    assert done.returncode == 0, done.stderr
    expected = build_archive(bundle.folder, tmp_path / "expected.mar", version=f"unregistered-{bundle.digest[:8]}")
    assert (tmp_path / "packed.mar").read_bytes() == expected.path.read_bytes()


def test_their_bills_of_materials_name_what_they_hold(tmp_path: Path) -> None:
    """The server carries TorchServe with its jar, and the app no torch."""
    command = [sys.executable, "build-support/supply/sbom.py", str(Path.cwd()), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    bills = {name: json.loads((tmp_path / f"{name}.pex.cdx.json").read_text()) for name in ("train", "serve", "ui")}
    held = {name: {part["name"] for part in bill["components"]} for name, bill in bills.items()}
    assert {"torch", "torchserve", "torchserve/model-server.jar", "netty-common"} <= held["serve"]
    assert "mlflow" in held["train"]
    assert "streamlit" in held["ui"]
    assert "torch" not in held["ui"]
