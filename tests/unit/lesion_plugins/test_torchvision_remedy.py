"""The remedy for torchvision, each time in a fresh interpreter: what is imported first is the point."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch


def _run(code, *first_on_path):
    path = os.pathsep.join([*map(str, first_on_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_timm_can_be_imported_after_the_remedy():
    """Whether torchvision was sound or not; a second call declares nothing."""

    code = """
import sys
from lesion_plugins import torchvision_remedy
torchvision_remedy.apply()
print(len(torchvision_remedy.apply()))
import timm
print(len(torchvision_remedy.apply()), timm.is_model("vit_tiny_patch16_224"), "torchvision" in sys.modules)
"""

    assert _run(code) == ["0", "0", "True", "True"]


@pytest.mark.parametrize(
    ("extension", "declared"), [("sound", []), ("broken", ["nms", "qnms"]), ("missing", ["nms", "qnms"])]
)
def test_operators_are_declared_only_where_they_cannot_be_loaded(tmp_path, extension, declared):
    """A torchvision whose extension loads is left alone."""

    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").touch()
    if extension == "sound":
        (package / "_C.so").symlink_to(Path(torch.__file__).parent / "lib" / "libc10.so")
    elif extension == "broken":
        (package / "_C.so").write_bytes(b"not a library")

    code = "from lesion_plugins import torchvision_remedy; print(*torchvision_remedy.apply())"

    assert declared == _run(code, tmp_path)
