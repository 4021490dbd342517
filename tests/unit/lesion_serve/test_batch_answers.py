"""A batch with a real model: the same answers as the predictor's, through the program too."""

from __future__ import annotations

import csv
import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lesion_core.bundle import Bundle
from lesion_core.decision.metadata import PatientMetadata
from lesion_core.imaging import DEFAULT_LIMITS
from lesion_core.processes import child_environment
from lesion_core.workspace import Workspace
from lesion_serve.archive import ArchiveError, build_archive
from lesion_serve.batch.answering import Answer, Answerer, Model, Task
from lesion_serve.batch.layouts import layout_of
from lesion_serve.cli import app
from lesion_serve.predictor import Predictor
from lesion_serve.source import find_bundle
from support.archives import altered
from support.bundles import make_tiny_bundle, with_metadata_branch
from support.images import encoded_lesion


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    return with_metadata_branch(make_tiny_bundle(folder / "plain"), folder / "b", sites=("head/neck",))


@pytest.fixture(scope="module")
def predictor(bundle: Bundle) -> Predictor:
    return Predictor.load(bundle.folder, version="7")


@pytest.fixture(scope="module")
def answerer(bundle: Bundle, predictor: Predictor) -> Answerer:
    codes = bundle.manifest.taxonomy.codes
    return Answerer(Model(folder=str(bundle.folder), identity=predictor.identity, codes=codes, layout="full"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number in range(8):
        (folder / f"{number}.jpg").write_bytes(encoded_lesion(seed=number))
    (folder / "bad.jpg").write_text("no image")
    return folder


@pytest.mark.parametrize(
    "metadata", [None, PatientMetadata(age_approx=80, sex="male", anatom_site_general="head/neck")]
)
def test_a_row_is_what_the_predictor_says(
    answerer: Answerer, predictor: Predictor, images: Path, metadata: PatientMetadata | None
) -> None:
    """With what is known of the patient, and with the digest of the file; equal to the last bit."""
    path = images / "1.jpg"
    expected = predictor.predict(path.read_bytes(), metadata=metadata)
    answer = answerer.answer(Task(0, str(path), metadata))

    layout = layout_of("full", [item.code for item in expected.probabilities])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert answer == Answer(0, None, layout.cells(predictor.identity, digest, expected))
    assert Answer.from_json(answer.to_json()) == answer


def test_what_is_wrong_with_a_file_is_its_answer(answerer: Answerer, tmp_path: Path) -> None:
    """A stable code for each; a file that is too large is not read into memory."""
    large, absent, text = tmp_path / "large.jpg", tmp_path / "absent.jpg", tmp_path / "text.jpg"
    with large.open("wb") as stream:
        stream.truncate(DEFAULT_LIMITS.max_bytes + 1)
    text.write_text("no image")

    errors = [answerer.answer(Task(0, str(path))).error for path in (large, absent, text, tmp_path)]
    assert errors == ["too_many_bytes", "unreadable", "unsupported_format", "unreadable"]


def test_a_defect_of_ours_at_one_image_is_an_error_of_that_image(
    answerer: Answerer, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch goes on."""
    with monkeypatch.context() as broken:
        broken.setattr(answerer._predictor, "predict", lambda *_, **__: 1 / 0)
        assert answerer.answer(Task(0, str(images / "1.jpg"))).error == "prediction_failed"

    assert answerer.answer(Task(0, str(images / "1.jpg"))).error is None


def test_a_bundle_is_found_in_its_folder_and_in_an_archive(bundle: Bundle, tmp_path: Path) -> None:
    """Verified; what an archive holds is unpacked once."""
    workspace = Workspace(tmp_path / "home")
    archive = build_archive(bundle.folder, tmp_path / "a.mar", version="7")

    assert find_bundle(str(bundle.folder), workspace=workspace) == (bundle, f"unregistered-{bundle.digest[:8]}")
    found, version = find_bundle(str(archive.path), workspace=workspace)
    assert (found.digest, version) == (bundle.digest, "7")
    (found.folder / "card.md").write_text("altered")
    assert find_bundle(str(archive.path), workspace=workspace)[0].read("card.md") == bundle.read("card.md")

    lying = altered(archive.path, tmp_path / "b.mar", "lesion.json", bundle.digest.encode(), b"0" * 64)
    with pytest.raises(ArchiveError, match=r"not 0{64} as it says"):
        find_bundle(str(lying.path), workspace=workspace)

    data = bytearray(archive.path.read_bytes())
    data[data.index(bundle.read("card.md"))] ^= 1
    damaged = tmp_path / "damaged.mar"
    damaged.write_bytes(data)
    with pytest.raises(ArchiveError, match=r"damaged\.mar is damaged .*card\.md"):
        find_bundle(str(damaged), workspace=Workspace(tmp_path / "other"))


def start(home: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lesion_serve", "predict", *arguments],
        env=child_environment({"LESION_HOME": str(home)}),
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_program_answers_all_images_with_a_summary_and_exit_code_1_for_an_error(
    bundle: Bundle, answerer: Answerer, images: Path, tmp_path: Path
) -> None:
    """What it writes is what the predictor says; the archive's version is named."""
    archive = build_archive(bundle.folder, tmp_path / "a.mar", version="7")
    table = tmp_path / "patients.csv"
    table.write_text("image,age_approx,sex,anatom_site_general\n1,80,male,head/neck\n")
    options = ("--out", "out.csv", "--model", archive.path, "--metadata", table, "--workers", "1", "--json")
    program = start(tmp_path, images, *options)
    shown, log = program.communicate(timeout=180)

    assert program.returncode == 1, log
    summary = json.loads(shown)
    assert (summary["images"], summary["answered"], summary["errors"]) == (9, 8, {"unsupported_format": 1})
    assert summary["model"] == {"name": "skin-lesion", "version": "7"}
    assert "9 of 9 images, 1 with an error" in log
    with (tmp_path / "out.csv").open(newline="") as stream:
        rows = {Path(row["image"]).stem: row for row in csv.DictReader(stream)}
    codes = bundle.manifest.taxonomy.codes
    for name, patient in (
        ("1", PatientMetadata(age_approx=80, sex="male", anatom_site_general="head/neck")),
        ("2", None),
    ):
        expected = answerer.answer(Task(0, str(images / f"{name}.jpg"), patient)).cells
        said = [float(rows[name][f"probability_{code}"]) for code in codes]
        assert said == list(expected[6 : 6 + len(codes)])


def test_ctrl_c_ends_the_program_cleanly_and_the_same_command_goes_on(
    bundle: Bundle, images: Path, tmp_path: Path
) -> None:
    """Exit code 130, no traceback, and what was answered is kept."""
    command = (images, "--out", "out.csv", "--model", bundle.folder, "--workers", "1")
    program = start(tmp_path, *command)
    unfinished = tmp_path / "out.csv.unfinished"
    assert program.stderr is not None
    # Before it says so the run has not begun, and leaves no file.
    while not (line := program.stderr.readline()).startswith("0 of 9 images"):
        assert line, "ended before it began"
    program.send_signal(signal.SIGINT)
    _, log = program.communicate(timeout=60)

    assert program.returncode == 130, log
    assert "Repeat the command" in log
    assert "Traceback" not in log
    assert unfinished.exists()
    again = start(tmp_path, *command)
    assert "8 of 9 images answered" in again.communicate(timeout=180)[0]
    assert not unfinished.exists()


def test_a_run_that_replaces_a_table_goes_on_without_doing_so_again(
    bundle: Bundle, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command would begin anew, and discard what was answered."""

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lesion_serve.batch.run.run_batch", stopped)
    monkeypatch.setattr("lesion_serve.batch_cli.configure_logging", lambda **_: None)
    command = ["predict", str(images), "--out", str(tmp_path / "out.csv"), "--model", str(bundle.folder)]
    for more, sentence in (
        (["--overwrite"], "Repeat the command without --overwrite to go on"),
        ([], "command to go on"),
    ):
        with pytest.raises(KeyboardInterrupt, match=sentence):
            app([*command, *more])
