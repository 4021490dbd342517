"""Downloads through the program ``isic``: a stand-in notes what it was asked and writes as the real one does."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest

from lesion_core.datasets import isic_archive, read_dataset
from lesion_core.datasets.isic_archive import ArchiveQuery, IsicArchiveError, download, find_program, licence_counts
from lesion_core.errors import DatasetError
from support import layouts
from support.layouts import FakeImage

IMAGES = [FakeImage(name="ISIC_0000001", diagnosis="NV"), FakeImage(name="ISIC_0000002", diagnosis="MEL")]
STAND_IN = """#!{python} -I
import json, os, pathlib, shutil, sys
home = pathlib.Path(__file__).parent
seen = {{"arguments": sys.argv[1:], "answers": sys.stdin.read(), "path": os.environ.get("PYTHONPATH")}}
(home / "seen.json").write_text(json.dumps(seen))
if (home / "fail").exists():
    sys.exit(1)
if sys.argv[1] == "image":
    shutil.copytree(home / "files", sys.argv[-1], dirs_exist_ok=True)
else:
    shutil.copy(home / "files" / "metadata.csv", sys.argv[-1].removeprefix("--outfile="))
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in, and what it gives out."""
    folder = tmp_path / "bin"
    layouts.write_isic_archive(folder / "files", IMAGES)
    path = folder / "isic"
    path.write_text(STAND_IN.format(python=sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("PYTHONPATH", "/ours")
    return path


def seen(program: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((program.parent / "seen.json").read_text())
    return content


def test_a_download_asks_for_what_was_said_and_is_readable(program: Path, tmp_path: Path) -> None:
    """Search, licences, collections and limit."""
    query = ArchiveQuery(search="diagnosis_3:Nevus OR sex:male", collections=(2, 17), licences=("CC-0",), limit=5)

    download(query, tmp_path / "out")

    assert seen(program)["arguments"] == [
        "image",
        "download",
        '--search=(diagnosis_3:Nevus OR sex:male) AND (copyright_license:"CC-0")',
        "--collections=2,17",
        "--limit=5",
        str(tmp_path / "out"),
    ]
    assert [record.diagnosis for record in read_dataset(tmp_path / "out").records] == ["NV", "MEL"]
    assert licence_counts(tmp_path / "out") == {"CC-BY": 2}


def test_the_program_gets_neither_our_import_path_nor_any_answer(program: Path, tmp_path: Path) -> None:
    """It lives in an environment of its own, and never waits for a person."""
    download(ArchiveQuery(), tmp_path / "out")

    assert seen(program)["path"] is None
    assert seen(program)["answers"] == ""


def test_metadata_alone_can_be_asked_for(program: Path, tmp_path: Path) -> None:
    """To see how many images there are under which licence."""
    download(ArchiveQuery(licences=("CC-0", "CC-BY")), tmp_path / "out", metadata_only=True)

    assert seen(program)["arguments"] == [
        "metadata",
        "download",
        '--search=copyright_license:"CC-0" OR copyright_license:"CC-BY"',
        f"--outfile={tmp_path / 'out' / 'metadata.csv'}",
    ]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["metadata.csv"]


def test_an_image_that_did_not_arrive_is_named(program: Path, tmp_path: Path) -> None:
    """isic-cli 12.4 goes on silently when a file cannot be fetched."""
    (program.parent / "files" / "ISIC_0000002.jpg").unlink()

    download(ArchiveQuery(), tmp_path / "out")

    with pytest.raises(DatasetError, match=r"metadata\.csv row 3: ISIC_0000002\.jpg .*run it again\) is missing"):
        read_dataset(tmp_path / "out")


def test_a_program_that_fails_is_named_with_its_exit_code(program: Path, tmp_path: Path) -> None:
    """And what to do."""
    (program.parent / "fail").touch()

    with pytest.raises(IsicArchiveError, match=r"'isic image download' failed with exit code 1.*run the same command"):
        download(ArchiveQuery(), tmp_path / "out")


def test_a_search_without_results_is_named(program: Path, tmp_path: Path) -> None:
    """The program writes an empty table then."""
    table = program.parent / "files" / "metadata.csv"
    table.write_text("isic_id,attribution,copyright_license\n")

    with pytest.raises(IsicArchiveError, match="has no image for 'sex:male'"):
        download(ArchiveQuery(search="sex:male"), tmp_path / "out")


def test_a_missing_program_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is made before."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    with pytest.raises(IsicArchiveError, match=r"pip install 'lesion-core\[isic\]'") as caught:
        download(ArchiveQuery(), tmp_path / "out")

    assert caught.value.code == "isic_missing"
    assert not (tmp_path / "out").exists()


def test_a_program_beside_our_python_is_found(program: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment need not be active."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(program.parent / "python"))

    assert find_program() == str(program)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"licences": ("CC-BY", "MIT")}, "Unknown licence MIT. Possible: CC-0"),
        ({"search": "a&b"}, "cannot hold any of"),
    ],
)
def test_a_query_that_cannot_be_asked_is_refused(query: dict[str, object], message: str) -> None:
    """Before anything is started."""
    with pytest.raises(IsicArchiveError, match=message) as caught:
        ArchiveQuery(**query)  # type: ignore[arg-type]

    assert caught.value.code == "bad_query"


def test_the_classes_are_those_of_the_taxonomy() -> None:
    """Each of the eight has terms of the archive."""

    assert set(isic_archive.CODES.values()) == set(layouts.ISIC_2019.trained_codes)
