"""The doctor finds what would keep a server from working, and says how to cure it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest

from lesion_core.processes import child_environment, free_port
from lesion_core.workspace import Workspace
from lesion_serve import doctor
from lesion_serve.deploy import deploy
from lesion_serve.deployment_store import DeploymentStore
from lesion_serve.doctor import Examined, Finding, Grade, examine
from lesion_serve.gateway.keys import ApiKeys, Role
from lesion_serve.gateway.settings import keys_file
from lesion_serve.store import PredictionStore, StoreError, default_anchors, default_url
from support.bundles import make_tiny_bundle
from support.stored import make_record, open_store


@pytest.fixture
def healthy(tmp_path: Path) -> Examined:
    """A workspace with a model, a key and a store, and free ports."""
    workspace = Workspace(tmp_path / "home")
    examined = Examined(workspace=workspace, port=free_port(), torchserve_port=free_port())
    bundle = make_tiny_bundle(tmp_path / "bundle")
    deploy(DeploymentStore.of(workspace, examined.port), str(bundle.folder), workspace=workspace)
    ApiKeys(keys_file(workspace)).create("a clinic", Role.CLINICIAN)
    return examined


def found(examined: Examined, *checks: str) -> Mapping[str, list[Finding]]:
    """Findings by check, of all or of some."""
    by_check: dict[str, list[Finding]] = {}
    for finding in examine(examined, checks) if checks else examine(examined):
        by_check.setdefault(finding.check, []).append(finding)
    return by_check


def test_where_all_is_well_every_check_says_so(healthy: Examined) -> None:
    """And none has a fix."""
    findings = found(healthy)

    assert set(findings) == {"java", "ports", "disk", "keys", "libraries", "model", "store", "clock"}
    assert {(one.grade, one.fix) for line in findings.values() for one in line} == {(Grade.OK, "")}


def test_what_is_wrong_is_found_with_its_fix(
    healthy: Examined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight faults at once: none hides another."""
    store = DeploymentStore.of(healthy.workspace, healthy.port)
    deployment = store.read()
    assert deployment is not None
    archive = store.archives / deployment.champion.archive
    archive.write_bytes(archive.read_bytes()[:-10] + b"0123456789")
    keys_file(healthy.workspace).chmod(0o644)
    open_store(healthy.workspace.root).close()
    monkeypatch.setattr(doctor, "LEAST_FREE_GIB", 1e9)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "timm.py").write_text("raise ImportError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path / "broken")  # other processes import it; this one has the real one already
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", healthy.torchserve_port))
        taken.listen()
        findings = found(attrs.evolve(healthy, java=tmp_path / "java", now=datetime(2001, 1, 1, tzinfo=UTC)))

    problems = {check for check, line in findings.items() if any(one.grade is Grade.PROBLEM for one in line)}
    assert problems == {"java", "ports", "disk", "keys", "libraries", "model", "store", "clock"}
    fixes = {check: " ".join(one.fix for one in line) for check, line in findings.items()}
    assert "--java" in fixes["java"]
    assert "--torchserve-port" in fixes["ports"]
    assert fixes["keys"].strip() == f"chmod 600 {keys_file(healthy.workspace)}"
    assert fixes["model"].endswith(f"lesion-serve deploy {deployment.champion.source} --port {healthy.port}")
    assert "nms does not exist" in findings["libraries"][0].message
    assert "requirements" in fixes["libraries"]
    assert "--anchors" in fixes["store"]
    assert "NTP" in fixes["clock"]


def test_every_version_is_examined_whatever_is_wrong_with_the_first(healthy: Examined, tmp_path: Path) -> None:
    """The champion is altered, the one before it is whole."""
    store = DeploymentStore.of(healthy.workspace, healthy.port)
    deploy(store, str(make_tiny_bundle(tmp_path / "other", seed=1).folder), workspace=healthy.workspace)
    deployment = store.read()
    assert deployment is not None
    archive = store.archives / deployment.champion.archive
    archive.write_bytes(archive.read_bytes()[:-10] + b"0123456789")

    assert [one.grade for one in found(healthy, "model")["model"]] == [Grade.PROBLEM, Grade.OK]


def test_files_that_lie_elsewhere_are_examined_there(healthy: Examined, tmp_path: Path) -> None:
    """As 'start' was told."""
    anchors, keys = tmp_path / "other-disk" / "heads.jsonl", tmp_path / "keys.json"
    PredictionStore.open(default_url(healthy.workspace), anchors=anchors).close()
    keys_file(healthy.workspace).rename(keys)

    findings = found(attrs.evolve(healthy, anchors=anchors, keys_file=keys), "store", "keys")

    assert [one.grade for one in (*findings["store"], *findings["keys"])] == [Grade.OK, Grade.OK]
    assert {one.grade for one in found(healthy, "store")["store"]} == {Grade.PROBLEM}


def test_a_store_that_the_server_would_refuse_is_a_problem(healthy: Examined, tmp_path: Path) -> None:
    """One that was brought back from a backup which is older than its anchors; neither is changed."""
    url, file = default_url(healthy.workspace), healthy.workspace.root / "predictions.db"
    anchors = default_anchors(url, healthy.workspace)
    PredictionStore.open(url, anchors=anchors).close()
    shutil.copy(file, tmp_path / "backup.db")
    with PredictionStore.open(url, anchors=anchors) as store:
        store.append(make_record(1))
    assert [one.grade for one in found(healthy, "store")["store"]] == [Grade.OK]
    shutil.copy(tmp_path / "backup.db", file)
    heads = anchors.read_bytes()

    (finding,) = found(healthy, "store")["store"]

    assert (finding.grade, "cut short" in finding.message) == (Grade.PROBLEM, True)
    assert anchors.read_bytes() == heads
    with pytest.raises(StoreError, match="cut short"):
        PredictionStore.open(url, anchors=anchors)


def test_disks_of_records_and_anchors_are_examined_where_they_are(
    healthy: Examined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The anchors need little; a database on another host is its own concern."""
    (tmp_path / "records").mkdir()
    (tmp_path / "heads").mkdir()
    elsewhere = attrs.evolve(
        healthy,
        store_url=f"sqlite:///{tmp_path}/records/store.db",
        anchors=tmp_path / "heads" / "anchors" / "heads.jsonl",
    )
    free = shutil.disk_usage(tmp_path)
    small = free._replace(free=2**29)
    monkeypatch.setattr(
        "shutil.disk_usage", lambda folder: small if folder.name in ("records", "heads") else free._replace(free=2**40)
    )

    grades = {one.message.partition(" the ")[2].split(" /")[0]: one.grade for one in found(elsewhere, "disk")["disk"]}

    assert grades == {
        "workspace": Grade.OK,
        "temporary folder": Grade.OK,
        "prediction store": Grade.PROBLEM,
        "anchors": Grade.OK,
    }
    away = attrs.evolve(elsewhere, store_url="postgresql://host/records")  # no user: nobody is asked
    assert len(found(away, "disk")["disk"]) == 3


def test_a_packaged_java_that_does_not_run_is_a_problem(healthy: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the last that is tried, and nobody would notice before the start."""
    monkeypatch.setattr("lesion_serve.engine.java.java_version", lambda java: 0)

    (finding,) = found(healthy, "java")["java"]

    assert finding.grade is Grade.PROBLEM
    assert "--java" in finding.fix


def test_old_keys_and_an_empty_workspace_are_warnings(healthy: Examined, tmp_path: Path) -> None:
    """It would work, but a person should look."""
    later = attrs.evolve(healthy, now=datetime.now(UTC) + timedelta(days=400))
    empty = attrs.evolve(healthy, workspace=Workspace(tmp_path / "empty"))

    assert [one.grade for one in found(later, "keys")["keys"]] == [Grade.WARNING, Grade.OK]
    grades = {check: line[0].grade for check, line in found(empty).items()}
    assert (grades["keys"], grades["model"], grades["store"]) == (Grade.WARNING, Grade.WARNING, Grade.OK)
    assert not (tmp_path / "empty").exists()


def test_the_exit_code_tells_whether_a_server_would_work(tmp_path: Path) -> None:
    """0 with warnings, 1 with a problem; --json is for programs."""
    command = [sys.executable, "-m", "lesion_serve", "doctor", "--json", "--port", str(free_port())]
    environment = child_environment({"LESION_HOME": str(tmp_path)})

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        ports = ("--torchserve-port", str(free_port()))
        return subprocess.run(
            [*command, *ports, *options], env=environment, capture_output=True, text=True, check=False
        )

    well, ill = run(), run("--java", "/nowhere/java")

    assert (well.returncode, ill.returncode) == (0, 1), well.stderr + ill.stderr
    assert {one["grade"] for one in json.loads(well.stdout)} == {"ok", "warning"}
    assert next(one for one in json.loads(ill.stdout) if one["check"] == "java")["grade"] == "problem"
