"""The .mar file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import attrs
import pytest
from model_archiver.manifest_components.manifest import Manifest
from model_archiver.manifest_components.model import Model

from lesion_core.errors import BundleError
from lesion_core.processes import child_environment
from lesion_plugins.errors import PluginMissingError
from lesion_serve.archive import ArchiveError, build_archive, copy_archive, read_archive, require_plugin
from support.archives import altered
from support.bundles import make_tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b").folder


def test_a_worker_logs_a_failure_without_what_is_known_of_the_patient(bundle: Path, tmp_path: Path) -> None:
    """Its log has the traceback, and no values of variables."""
    info = build_archive(bundle, tmp_path / "a.mar", version="1")
    zipfile.ZipFile(info.path).extractall(tmp_path / "unpacked")
    script = """
import lesion_handler

class Broken:
    def predict(self, body, *, metadata, heat_map, features, request_id):
        raise RuntimeError("strange")

class Context:
    def get_request_id(self, index): return "r-1"
    def get_all_request_header(self, index): return {"X-Lesion-Metadata": '{"age_approx": 83.25}'}
    def set_response_content_type(self, index, value): pass
    def set_response_status(self, code, phrase, idx): pass

handler = lesion_handler.LesionHandler()
handler._predictor = Broken()
handler.handle([{"body": b"bytes of an image"}], Context())
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=child_environment(),
        cwd=tmp_path / "unpacked",
        capture_output=True,
        text=True,
    )

    log = done.stdout + done.stderr
    assert "RuntimeError: strange" in log
    assert "Traceback" in log
    assert "83.25" not in log
    assert "bytes of an image" not in log


def test_a_copy_that_is_to_run_is_what_was_read(bundle: Path, tmp_path: Path) -> None:
    """Its code runs, and of that nothing else looks after it."""
    info = build_archive(bundle, tmp_path / "a.mar", version="1")
    copy_archive(info, tmp_path / "copy.mar")
    assert read_archive(tmp_path / "copy.mar").sha256 == info.sha256

    altered(info.path, tmp_path / "b.mar", "lesion_handler.py", b"import os", b"import oz").path.replace(info.path)

    with pytest.raises(ArchiveError, match="altered"):
        copy_archive(info, tmp_path / "copy.mar")
    assert not (tmp_path / "copy.mar").exists()


def test_two_builds_are_equal_byte_for_byte(bundle: Path, tmp_path: Path) -> None:
    """Whatever the time stamps and the order of the files."""
    first = build_archive(bundle, tmp_path / "first.mar", version="1")
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    for path in copy.iterdir():
        os.utime(path, (1, 1))

    second = build_archive(copy, tmp_path / "second.mar", version="1")

    assert first.sha256 == second.sha256
    assert build_archive(bundle, tmp_path / "third.mar", version="2").sha256 != first.sha256


def test_an_archive_says_what_it_holds(bundle: Path, tmp_path: Path) -> None:
    """Name, version and bundle."""
    info = build_archive(bundle, tmp_path / "a.mar", version="12", serving_name="other-name")

    assert read_archive(tmp_path / "a.mar") == info
    assert (info.serving_name, info.version, info.model_name) == ("other-name", "12", "skin-lesion")
    assert {"bundle/bundle.json", "lesion_core/wire.py", "lesion_serve/handler.py"} <= set(info.files)
    assert not [name for name in info.files if "__pycache__" in name or "BUILD" in name]


def test_an_archive_names_the_plugin_that_it_needs(bundle: Path, tmp_path: Path) -> None:
    """The built-in one travels inside; a stranger's has to be installed, and nothing is started without it."""
    info = build_archive(bundle, tmp_path / "a.mar", version="1")
    stranger = attrs.evolve(info.backbone, name="acme_net", plugin="acme-lesion", plugin_version="1.2.0")

    require_plugin(info)
    require_plugin(attrs.evolve(info, backbone=attrs.evolve(info.backbone, plugin_version="99.0")))
    with pytest.raises(PluginMissingError, match=r"pip install 'acme-lesion==1\.2\.0'"):
        require_plugin(attrs.evolve(info, backbone=stranger))


def test_the_manifest_has_the_keys_of_the_official_archiver(bundle: Path, tmp_path: Path) -> None:
    """So that TorchServe's tools understand it."""
    import json

    path = build_archive(bundle, tmp_path / "a.mar", version="1").path
    ours = json.loads(zipfile.ZipFile(path).read("MAR-INF/MANIFEST.json"))
    official = Manifest("python", Model("skin_vit", None, "lesion_handler.py", model_version="1")).manifest_dict

    assert ours.keys() == official.keys()
    assert ours["model"] == official["model"]


def test_torchserves_own_loader_runs_the_code_of_the_archive(bundle: Path, tmp_path: Path) -> None:
    """Not the code of the environment, which a worker finds earlier on its import path."""
    path = build_archive(bundle, tmp_path / "a.mar", version="1").path
    model = tmp_path / "model"
    zipfile.ZipFile(path).extractall(model)
    script = (
        "import sys; sys.path.append(sys.argv[1])\n"
        "from ts.model_loader import ModelLoaderFactory\n"
        "loader = ModelLoaderFactory.get_model_loader()\n"
        "service = loader.load('skin_vit', sys.argv[1], handler='lesion_handler.py', batch_size=1)\n"
        "import lesion_core.wire, lesion_plugins.registry, lesion_serve.predictor\n"
        "for module in (lesion_core.wire, lesion_plugins.registry, lesion_serve.predictor):\n"
        "    assert module.__file__.startswith(sys.argv[1]), module.__file__\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, str(model)], env=child_environment(), capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_an_altered_bundle_is_not_packed(bundle: Path, tmp_path: Path) -> None:
    """And nothing is written."""
    broken = tmp_path / "broken"
    shutil.copytree(bundle, broken)
    (broken / "card.md").write_text("other")

    with pytest.raises(BundleError, match="altered"):
        build_archive(broken, tmp_path / "out" / "a.mar", version="1")

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["..", "a/b", "é", "-a", "", "a b"])
def test_a_serving_name_is_safe_in_an_address_and_a_path(bundle: Path, tmp_path: Path, name: str) -> None:
    """It becomes both."""
    with pytest.raises(ArchiveError, match="serving name"):
        build_archive(bundle, tmp_path / "a.mar", version="1", serving_name=name)


@pytest.mark.parametrize("name", ["a.zip", "a"])
def test_an_archive_has_to_end_in_mar(bundle: Path, tmp_path: Path, name: str) -> None:
    """TorchServe takes nothing else."""
    with pytest.raises(ArchiveError, match=r"\.mar"):
        build_archive(bundle, tmp_path / name, version="1")


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_a_file_that_is_no_archive_is_named(tmp_path: Path, content: bytes | None) -> None:
    """With the command that makes one."""
    path = tmp_path / "x.mar"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ArchiveError, match="lesion-serve archive"):
        read_archive(path)
