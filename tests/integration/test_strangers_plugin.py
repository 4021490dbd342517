"""A stranger's backbone, installed beside our wheels, trains, is packed and is served without a change to our code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lesion_core.processes import free_port
from support.images import encoded_lesion

PACKAGES = ("lesion_core", "lesion_plugins", "lesion_train", "lesion_serve")
PLUGIN = Path(__file__).parents[2] / "examples/lesion-backbone-plainnet"
OFFLINE = ("--quiet", "--no-index", "--no-deps", "--disable-pip-version-check")
COMMAND = "pip install 'lesion-backbone-plainnet==1.0.0'"


@pytest.fixture(scope="module")
def wheels() -> list[Path]:
    """Our wheels, as ``./pants package ::`` builds them; Pants lays them into the folder of this test."""
    found = [path for name in PACKAGES for path in Path.cwd().rglob(f"{name}-*.whl")]
    if len(found) != len(PACKAGES):
        pytest.skip("needs the wheels of the packages: run it with ./pants test")
    return found


class Installation:
    """A virtual environment with our wheels and a plugin; third-party libraries are those of this interpreter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{key: value for key, value in os.environ.items() if key != "PYTHONPATH" and not key.startswith("PEX_")},
            "LESION_HOME": str(folder / "home"),
            "OMP_NUM_THREADS": "1",
        }

    def run(self, program: str, *arguments: object, expected: int = 0) -> str:
        """Run one of its programs; returns what it wrote to both streams."""
        done = subprocess.run(
            [str(self.folder / "bin" / program), *map(str, arguments)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == expected, done.stdout
        return done.stdout

    def install(self, *wheels: Path) -> None:
        """Add wheels as they are."""
        self.run("pip", "install", *OFFLINE, *wheels)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, wheels: list[Path]) -> Installation:
    """A fresh environment, made and filled without a network."""
    made = Installation(tmp_path_factory.mktemp("stranger") / "venv")
    subprocess.run(
        [sys.executable, "-m", "virtualenv", "--quiet", "--no-download", "--setuptools", "bundle", str(made.folder)],
        check=True,
    )
    (site,) = made.folder.glob("lib/python3.*/site-packages")
    third_party = [path for path in sys.path if Path(path).name == "site-packages" and Path(path).is_dir()]
    (site / "third_party.pth").write_text("\n".join(third_party))
    built = made.folder / "wheels"
    made.run("pip", "wheel", *OFFLINE, "--no-build-isolation", "--wheel-dir", built, PLUGIN)
    made.install(*wheels, *built.glob("*.whl"))
    where = made.run("python", "-c", "import lesion_plugins; print(lesion_plugins.__file__)").strip()
    assert where.startswith(str(site)), f"{where} is not the installed wheel"
    return made


@pytest.fixture(scope="module")
def archive(installation: Installation) -> Path:
    """The stranger's backbone, trained on a few drawn images, registered and packed."""
    data, path = installation.folder / "data", installation.folder / "plainnet.mar"
    installation.run("lesion-train", "synthetic", data, "--images-per-class", 20)
    options = ("--pretrained", "none", "--epochs", 1, "--input-size-px", 64, "--threads", 1)
    installation.run("lesion-train", "fit", "--data", data, "--backbone", "plainnet", *options)
    installation.run("lesion-serve", "archive", "models:/skin-lesion@champion", "--out", path)
    return path


@pytest.fixture
def server(installation: Installation, archive: Path) -> Iterator[None]:
    """A real TorchServe with the archive."""
    log = installation.folder / "serve.log"
    process = subprocess.Popen(
        [
            str(installation.folder / "bin/lesion-serve"),
            "start",
            str(archive),
            "--port",
            str(free_port()),
            "--torchserve-port",
            str(free_port()),
        ],
        env=installation.environment,
        stdout=log.open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        deadline = time.monotonic() + 300
        while "Serving: " not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_the_table_names_the_strangers_backbone_and_its_distribution(installation: Installation) -> None:
    """As it names ours."""
    (line,) = [line for line in installation.run("lesion-train", "backbones").splitlines() if "plainnet " in line]

    assert line.split()[:2] == ["plainnet", "plainnet"]
    assert line.endswith("lesion-backbone-plainnet 1.0.0")


def test_a_model_of_a_strangers_backbone_is_served(installation: Installation, archive: Path, server: None) -> None:
    """The archive names the plugin that it needs, and answers."""
    image = installation.folder / "image.jpg"
    image.write_bytes(encoded_lesion())

    assert "backbone plainnet of lesion-backbone-plainnet 1.0.0" in installation.run("lesion-serve", "inspect", archive)
    answer = installation.run("lesion-serve", "ask", image)

    assert "skin-lesion version 1" in answer
    assert answer.count("%") == 9


@pytest.fixture
def without_plugin(installation: Installation, archive: Path) -> Iterator[None]:
    """The plugin, which the archive was made with, is gone, and is back for the other tests."""
    installation.run("pip", "uninstall", "--quiet", "--yes", "lesion-backbone-plainnet")
    yield
    installation.install(*(installation.folder / "wheels").glob("*.whl"))


@pytest.mark.usefixtures("without_plugin")
def test_without_the_plugin_serving_is_refused_at_the_start(installation: Installation, archive: Path) -> None:
    """With the command that installs it; the archive and the bundle alike."""
    (bundle,) = (installation.folder / "home/runs").glob("*/bundle")

    from_archive = installation.run(
        "lesion-serve", "start", archive, "--port", free_port(), "--torchserve-port", free_port(), expected=2
    )
    from_bundle = installation.run(
        "lesion-serve", "start", bundle, "--port", free_port(), "--torchserve-port", free_port(), expected=2
    )

    for said in (from_archive, from_bundle):
        assert "This model's backbone 'plainnet' comes from lesion-backbone-plainnet 1.0.0; it is not installed" in said
        assert COMMAND in said
