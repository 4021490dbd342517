"""The door of serving."""

from __future__ import annotations

import inspect
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App

from lesion_core.errors import LesionError
from lesion_core.processes import child_environment, free_port
from lesion_core.workspace import Endpoint, Workspace
from lesion_serve import cli
from lesion_serve.engine.java import find_java, java_version
from lesion_serve.start_cli import _forget, _forget_the_dead
from support.archives import altered
from support.bundles import make_tiny_bundle


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lesion_serve", *arguments],
        env=child_environment({"LESION_HOME": str(home)}),
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_names_every_command_and_says_research_use_only(tmp_path: Path) -> None:
    """Good enough to work from."""
    shown = run(tmp_path, "--help").stdout

    assert "Research use only" in shown
    for command in ("archive", "start", "ask", "predict", "inspect", "audit", "keys", "deploy"):
        assert command in shown
    assert "--port" in run(tmp_path, "start", "--help").stdout


def commands(app: App) -> Iterator[tuple[str, inspect.Signature]]:
    """Every command with its signature, those of groups too."""
    for name in app:
        if name.startswith("-"):
            continue
        below = app[name]
        if below.default_command is not None:
            yield " ".join((*app.name, name)), inspect.signature(below.default_command)
        yield from commands(below)


def test_every_command_that_prints_takes_json() -> None:
    """For programs; 'start' writes its addresses into files, and the lines of 'audit export' are JSON."""
    found = dict(commands(cli.app))

    without = {name.removeprefix("lesion-serve ") for name, given in found.items() if "as_json" not in given.parameters}
    assert without == {"start", "audit export"}
    assert len(found) > 20


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["start", "nowhere"], "is not a bundle"),
        (["start", "nowhere.mar"], "is not an archive"),
        (["start", "models:/skin-lesion@champion"], "lesion-train fit"),
        (["archive", "models:/odd@@name"], "models:/<name>@<alias>"),
        (["ask", "image.jpg"], "Start the server first"),
        (["ask", "absent.jpg"], "not exist"),
        (["ask", "."], "Only file"),
        (["ask"], "requires an argument"),
        (["predict"], "requires an argument"),
        (["predict", "image.jpg"], "lesion-serve ask IMAGE"),
        (["predict", "absent.jpg", "--out", "a.csv"], "not exist"),
        (["predict", "image.jpg", "--out", "a.csv"], "lesion-train fit"),
        (["predict", "image.jpg", "--out", "a.csv", "--model", "nowhere"], "is not a bundle"),
        (["predict", "image.jpg", "--out", "a.csv", "--model", "nowhere.mar"], "is not an archive"),
        (["start", "a.mar", "--workers", "0"], "Must be >= 1"),
        (["start", "a.mar", "--port", "99999"], "Must be <= 65535"),
        (["start", "a.mar", "--workers", "1.5"], "is no whole number"),
        (["start", "a.mar", "--management-port", "8080.6"], "is no whole number"),
        (["start", "a.mar", "--deadline-s", "inf"], "Must be < inf"),
        (["archive", "bundle", "--out", "/proc/no/a.mar"], "/proc/no"),
    ],
)
def test_a_named_error_is_one_sentence_and_exit_code_2(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    """No traceback."""
    (tmp_path / "image.jpg").write_bytes(b"never read")
    if "/proc/no/a.mar" in arguments:
        make_tiny_bundle(tmp_path / "bundle")
    done = run(tmp_path, *arguments)

    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_archives_and_bundles_are_verified_for_people_and_programs(tmp_path: Path) -> None:
    """0 where it could be served, 1 where it is not what it says, 2 where it is neither."""
    bundle = make_tiny_bundle(tmp_path / "bundle")
    packed = json.loads(run(tmp_path, "archive", "bundle", "--out", "a.mar", "--json").stdout)
    broken = altered(tmp_path / "a.mar", tmp_path / "broken.mar", "bundle/card.md", b"untrained", b"trained")
    (tmp_path / "text.mar").write_text("text")

    done = {
        name: run(tmp_path, "verify", name, "--json") for name in ("a.mar", "bundle", "broken.mar", "text.mar", ".")
    }

    assert {name: one.returncode for name, one in done.items()} == {
        **{"a.mar": 0, "bundle": 0},
        "broken.mar": 1,
        **{"text.mar": 2, ".": 2},
    }
    told = {name: json.loads(one.stdout) for name, one in done.items() if one.stdout}
    assert packed["version"] == told["a.mar"]["version"] == f"unregistered-{bundle.digest[:8]}"
    assert told["a.mar"]["bundle_digest"] == told["bundle"]["bundle_digest"] == bundle.digest
    assert "card.md does not match" in told["broken.mar"]["finding"]
    assert "NOT INTACT" in run(tmp_path, "verify", "broken.mar").stdout
    inspected = json.loads(run(tmp_path, "inspect", "broken.mar", "--json").stdout)
    assert (inspected["sha256"], "bundle/card.md" in inspected["files"]) == (broken.sha256, True)


def test_help_needs_neither_torch_nor_mlflow(tmp_path: Path) -> None:
    """They take seconds to import."""
    script = (
        "import sys, lesion_serve.cli\n"
        "sys.exit(', '.join({'torch', 'timm', 'mlflow', 'numpy'} & sys.modules.keys()) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=child_environment(), capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_a_server_that_stops_forgets_its_own_address_only(tmp_path: Path) -> None:
    """Another may have been started after it."""
    workspace = Workspace(tmp_path)
    ours, other = (Endpoint(url=f"http://127.0.0.1:{port}/predictions/skin_vit", token="t") for port in (1, 2))

    other.save(workspace.endpoint)
    _forget(workspace.endpoint, ours)
    assert Endpoint.load(workspace.endpoint) == other

    ours.save(workspace.endpoint)
    _forget(workspace.endpoint, ours)
    assert not workspace.endpoint.exists()


@pytest.mark.parametrize("left", ["an address", "half a file"])
def test_a_server_that_starts_forgets_one_that_was_killed(tmp_path: Path, left: str) -> None:
    """Programs would wait for its address, or believe it."""
    path = Workspace(tmp_path).endpoint
    Endpoint(url=f"http://127.0.0.1:{free_port()}/v1/predictions", token="t").save(path)
    if left == "half a file":
        path.write_text(path.read_text()[:20])

    _forget_the_dead(path)

    assert not path.exists()


def test_a_server_that_starts_leaves_the_address_of_another_that_runs(tmp_path: Path) -> None:
    """One for each port."""
    path = Workspace(tmp_path).endpoint
    with socket.create_server(("127.0.0.1", 0)) as running:
        Endpoint(url=f"http://127.0.0.1:{running.getsockname()[1]}/v1/predictions", token="t").save(path)

        _forget_the_dead(path)

    assert path.exists()


def test_a_java_runtime_is_there_without_one_on_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes with the Python packages."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)

    assert java_version(find_java()) >= 11


def test_a_java_that_does_not_run_is_refused(tmp_path: Path) -> None:
    """When it was named."""
    with pytest.raises(LesionError, match="11 or later"):
        find_java(tmp_path / "java")
