"""What we ask of the ISIC Archive's program is what its locked version understands. Nothing is fetched."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lesion_core.datasets.isic_archive import CODES, COLUMNS, ArchiveQuery

OFFICIAL = Path.cwd() / "isic-cli.pex"
pytestmark = pytest.mark.skipif(not OFFICIAL.exists(), reason="needs isic-cli.pex, which ./pants test packs")

QUERY = ArchiveQuery(search="diagnosis_3:Nevus", collections=(2, 17), licences=("CC-0", "CC-BY"), limit=3)
PARSE = """
import json, sys, click, importlib
module, *arguments = sys.argv[1:]
command = importlib.import_module(f"isic_cli.cli.{module}").download
parsed, left, _ = command.make_parser(click.Context(command)).parse_args(args=arguments)
print(json.dumps([{key: str(value) for key, value in parsed.items()}, left]))
"""
COLUMNS_OF_AN_IMAGE = """
import json
from isic_cli.cli.utils import _extract_metadata
image = {"isic_id": "I", "attribution": "A", "copyright_license": "CC-0"}
image["metadata"] = {"acquisition": {}, "clinical": {}}
print(json.dumps(_extract_metadata([image])[0]))
"""
TERMS = """
import json
from isic_metadata.diagnosis_hierarchical import DiagnosisEnum
print(json.dumps(sorted({term for one in DiagnosisEnum for term in DiagnosisEnum.levels(one) if term})))
"""


def ask(code: str, *arguments: str) -> Any:
    """Run Python in the program's own environment, and read the JSON that it prints."""
    environment = {**os.environ, "PEX_INTERPRETER": "1"}
    done = subprocess.run(
        [str(OFFICIAL), "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("module", "last", "where"),
    [("image", "/out", {"outdir": "/out"}), ("metadata", "--outfile=/out.csv", {"outfile": "/out.csv"})],
)
def test_the_program_understands_our_arguments(module: str, last: str, where: dict[str, str]) -> None:
    """Every option by its name, and nothing is left over."""
    parsed, left = ask(PARSE, module, *QUERY.arguments, last)

    assert parsed == {
        "search": '(diagnosis_3:Nevus) AND (copyright_license:"CC-0" OR copyright_license:"CC-BY")',
        "collections": "2,17",
        "limit": "3",
        **where,
    }
    assert left == []


def test_the_table_of_a_download_has_the_columns_that_we_recognise_it_by() -> None:
    """They are there even where an image has no metadata at all."""

    assert tuple(ask(COLUMNS_OF_AN_IMAGE)) == COLUMNS


def test_our_classes_are_terms_of_the_diagnosis_hierarchy() -> None:
    """A term that was renamed would silently leave its images out."""

    assert set(CODES) <= set(ask(TERMS))
