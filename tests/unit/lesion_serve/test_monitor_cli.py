"""The commands of monitoring, from a filled store to files."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np
import pytest

from lesion_core import logs
from lesion_core.bundle import Bundle
from lesion_core.datasets import read_dataset
from lesion_core.datasets.isic import IMAGES
from lesion_core.drift_reference import DRIFT
from lesion_core.errors import BundleError, LesionError
from lesion_core.monitoring import MonitoringReport
from lesion_core.service import from_json
from lesion_core.workspace import GATEWAY_PORT, Workspace
from lesion_serve.archive import build_archive
from lesion_serve.cli import app
from lesion_serve.deploy import deploy
from lesion_serve.deployment_store import DeploymentStore
from lesion_serve.monitor.cases import export_cases
from lesion_serve.monitor.errors import MonitorError
from lesion_serve.monitor.reference import baseline_of
from lesion_serve.store import ImageKey, ImageStore, PredictionRecord, Source, Window, create_key
from support.bundles import make_tiny_bundle, with_drift
from support.images import encoded_lesion
from support.monitored import answer_like, fill, review
from support.samples import draw_sample
from support.stored import CLINICIAN, START, anchors_in, open_store, url_in

Command = Callable[..., int]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with a sample to compare with."""
    folder = tmp_path_factory.mktemp("bundle")
    return with_drift(make_tiny_bundle(folder / "plain"), folder / "whole")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command on the store in the folder; returns its exit code."""
    monkeypatch.setenv("LESION_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(logs, "configure_logging", lambda: None)  # it would keep this test's terminal for the next one

    def call(*arguments: object) -> int:
        where = ["--store", url_in(tmp_path), "--anchors", str(anchors_in(tmp_path).path)]
        try:
            app(["monitor", *map(str, arguments), *where], exit_on_error=False, print_error=False)
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return call


def fill_for(folder: Path, bundle: Bundle, *, shift: float = 0.0) -> None:
    """Sixty answers of a bundle."""
    sample = draw_sample(60, seed=3, shift=shift)
    with open_store(folder) as store:
        for number in range(len(sample)):
            answer = answer_like(sample, number, number=number)
            answer = attrs.evolve(answer, model=attrs.evolve(answer.model, bundle_digest=bundle.digest))
            facts = {"principal": CLINICIAN, "image_sha256": f"{number:064x}", "image_bytes": 1, "at": START}
            store.append(PredictionRecord.of(answer, **facts))


def test_a_report_compares_with_a_bundle_and_tells_alarms_by_its_exit_code(
    tmp_path: Path, bundle: Bundle, run: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """1 where a check alarms; the same as JSON, in files, and for people."""
    fill_for(tmp_path, bundle, shift=3.0)

    code = run("report", "--bundle", bundle.folder, "--json", "--out", tmp_path / "out")

    report = from_json(capsys.readouterr().out.strip().splitlines()[-1], MonitoringReport)
    assert code == 1
    assert {check.name for check in report.checks if check.is_alarm} == {"embedding"}
    assert from_json((tmp_path / "out" / "report.json").read_text(), MonitoringReport) == report
    assert run("report", "--bundle", bundle.folder) == 1
    assert "ALARM embedding (auc): A classifier tells" in capsys.readouterr().out


def test_a_window_may_be_compared_with_an_earlier_one(tmp_path: Path, bundle: Bundle, run: Command) -> None:
    """What differs from the training images from the first day on is no news then."""
    fill_for(tmp_path, bundle, shift=3.0)

    assert run("report", "--bundle", bundle.folder, "--against-since", "2026-01-01") == 0
    with pytest.raises(MonitorError, match="has features"):
        run("report", "--bundle", bundle.folder, "--against-until", "2026-01-01")
    with pytest.raises(MonitorError, match="--bundle"):
        run("report", "--against-since", "2026-01-01")


def test_a_report_without_a_bundle_says_so(
    tmp_path: Path, bundle: Bundle, run: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is deployed here; the rest of the report is there."""
    fill_for(tmp_path, bundle)

    assert run("report", "--last", "10") == 0
    said = capsys.readouterr().out
    assert "10 predictions of version 1" in said
    assert "reference (none)" in said


def test_the_sample_of_an_archive_is_its_bundle_s(tmp_path: Path, bundle: Bundle) -> None:
    """Without unpacking it; one without a sample has none, and an altered one is refused."""
    packed = build_archive(bundle.folder, tmp_path / "model.mar", version="1")
    plain = make_tiny_bundle(tmp_path / "plain")

    found = baseline_of(packed.path)

    assert found is not None
    assert found.bundle_digest == bundle.digest
    np.testing.assert_array_equal(found.sample.strangeness, draw_sample(120, seed=1).strangeness)
    assert baseline_of(plain.folder) is None
    assert baseline_of(build_archive(plain.folder, tmp_path / "plain.mar", version="1").path) is None
    with pytest.raises(LesionError):
        baseline_of(tmp_path / "nowhere")
    (bundle.folder / DRIFT).chmod(0o600)
    whole = (bundle.folder / DRIFT).read_bytes()
    (bundle.folder / DRIFT).write_bytes(whole[:-1] + b"x")
    try:
        with pytest.raises(BundleError):
            baseline_of(bundle.folder)
    finally:
        (bundle.folder / DRIFT).write_bytes(whole)


def test_one_round_of_watching_writes_its_files(
    tmp_path: Path, bundle: Bundle, run: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """For a timer of the system; the second round alerts, by the default rules."""
    fill_for(tmp_path, bundle, shift=3.0)

    for _ in range(2):
        assert run("watch", "--once", "--out", tmp_path / "watched", "--bundle", bundle.folder) == 0

    assert "firing: drift is firing" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "watched").iterdir()} == {"report.json", "report.html", "state.json"}
    with open_store(tmp_path) as store:
        assert [alert.name for alert in store.alerts()] == ["drift"]


def test_the_champion_is_watched_and_a_new_one_may_have_answered_nothing_yet(
    tmp_path: Path, bundle: Bundle, run: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not whoever answered last; a timer that runs right after a promotion does not fail for it."""
    fill_for(tmp_path, bundle)
    workspace = Workspace(tmp_path / "home")
    packed = build_archive(bundle.folder, tmp_path / "2.mar", version="2")
    deploy(DeploymentStore.of(workspace, GATEWAY_PORT), str(packed.path), workspace=workspace)

    assert run("watch", "--once", "--out", tmp_path / "watched") == 0
    assert "Version 2 has answered nothing yet" in capsys.readouterr().out
    assert run("watch", "--once", "--out", tmp_path / "watched", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"model_version": "2", "predictions": 0}
    with pytest.raises(MonitorError, match="version 2 in this window"):
        run("report")
    with pytest.raises(MonitorError, match="version 3"):
        run("watch", "--once", "--out", tmp_path / "watched", "--version", "3")
    assert run("report", "--version", "1") == 0
    assert "60 predictions of version 1" in capsys.readouterr().out


def test_corrected_cases_are_a_data_set_that_training_reads(tmp_path: Path) -> None:
    """With the images as they came, one patient's as one lesion, and no pseudonym in any file."""
    key = tmp_path / "keys" / "images.key"
    create_key(key)
    images = ImageStore(folder=tmp_path / "images", key=ImageKey.load(key, images=tmp_path / "images"))
    sample = draw_sample(4, seed=3)
    with open_store(tmp_path, images=images) as store:
        for number in range(4):
            image = encoded_lesion(seed=number)
            answer = answer_like(sample, number, number=number)
            subject = "patient-x" if number < 2 else "patient-y"
            digest = hashlib.sha256(image).hexdigest()
            facts = {"principal": CLINICIAN, "image_sha256": digest, "image_bytes": len(image), "subject": subject}
            store.append(PredictionRecord.of(answer, **facts), image)
            other = "BCC" if answer.top.code != "BCC" else "NV"
            review(store, answer.request_id, other, source=Source.HISTOLOGY if number else Source.CLINICAL)

        done = export_cases(store, Window(), tmp_path / "cases")
        histology = export_cases(store, Window(), tmp_path / "histology", histology_only=True)

    dataset = read_dataset(tmp_path / "cases")
    assert (done.cases, done.images, histology.cases) == (4, 4, 3)
    assert {record.diagnosis for record in dataset.records} <= {"BCC", "NV"}
    assert len({record.lesion_id for record in dataset.records}) == 2
    written = {path.read_bytes() for path in (tmp_path / "cases" / IMAGES).iterdir()}
    assert written == {encoded_lesion(seed=number) for number in range(4)}
    assert not any(b"patient-" in path.read_bytes() for path in (tmp_path / "cases").rglob("*") if path.is_file())
    assert (tmp_path / "cases").stat().st_mode & 0o077 == 0


def test_cases_without_images_are_a_table(tmp_path: Path, run: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """By the fingerprints of the images, and it is said how to keep images."""
    with open_store(tmp_path) as store:
        requests = fill(store, draw_sample(3, seed=3))
        review(store, requests[0])
        review(store, requests[1], "UNK")

    assert run("cases", "--out", tmp_path / "cases") == 0

    assert "--keep-images" in capsys.readouterr().out
    (row,) = csv.DictReader((tmp_path / "cases" / "cases.csv").open())
    assert (row["request_id"], row["diagnosis"], row["file"]) == (requests[1], "UNK", "")
    assert len(row["image_sha256"]) == 64
    assert [path.name for path in (tmp_path / "cases").iterdir()] == ["cases.csv"]
    with pytest.raises(MonitorError, match="exists"):
        run("cases", "--out", tmp_path / "cases")
    with pytest.raises(MonitorError, match="--agreed"):
        run("cases", "--out", tmp_path / "none", "--histology-only")
    assert run("cases", "--out", tmp_path / "all", "--agreed") == 0
    assert len(list(csv.DictReader((tmp_path / "all" / "cases.csv").open()))) == 2
