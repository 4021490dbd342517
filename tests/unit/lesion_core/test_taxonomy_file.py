"""A taxonomy of one's own, in TOML."""

from __future__ import annotations

from pathlib import Path

import pytest

from lesion_core.errors import TaxonomyError
from lesion_core.taxonomy import NONE_OF_THE_ABOVE, Malignancy
from lesion_core.taxonomy_file import read_taxonomy

EXAMPLE = Path.cwd() / "docs/taxonomy.example.toml"
TWO = """
name = "two"
[[diagnosis]]
code = "A"
name = "First"
malignancy = "malignant"
plain = "One."
[[diagnosis]]
code = "B"
name = "Second"
malignancy = "benign"
plain = "Two."
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "taxonomy.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_example_of_the_documentation_can_be_read() -> None:
    """With its codes, and its own words for none of the above."""
    taxonomy = read_taxonomy(EXAMPLE)

    assert taxonomy.codes == ("MEL", "NV", "OTHER", "UNK")
    assert [str(code) for code in taxonomy.trained[0].codes] == ["ICD-10 C43.9", "ICD-O-3 8720/3"]
    assert taxonomy.resolve("naevus").name == "Mole"
    assert taxonomy.none_of_the_above.name == "Not a lesion of these"


def test_none_of_the_above_is_added(tmp_path: Path) -> None:
    """And keys that may be left out are."""
    taxonomy = read_taxonomy(written(tmp_path, TWO))

    assert taxonomy.none_of_the_above == NONE_OF_THE_ABOVE
    assert taxonomy.trained[0].malignancy is Malignancy.MALIGNANT
    assert (taxonomy.trained[0].synonyms, taxonomy.trained[0].codes) == ((), ())


def test_all_problems_are_listed_with_table_and_key(tmp_path: Path) -> None:
    """Never the first only."""
    text = TWO.replace("plain", "plane", 1).replace('"benign"', '"harmless"').replace('name = "two"', "nam = 2")
    text += '[[diagnosis]]\ncode = "C"\ncodes = [{ system = "ICD-10", code = "melanoma", display = "x" }]\n'

    with pytest.raises(TaxonomyError) as caught:
        read_taxonomy(written(tmp_path, text))

    message = caught.value.message
    for part in (
        "no key named 'nam'. Did you mean 'name'?",
        "name: a word for the whole taxonomy is missing",
        "[[diagnosis]] 1: no key named 'plane'. Did you mean 'plain'?",
        "[[diagnosis]] 2: ",
        "harmless",
        "[[diagnosis]] 3: ",
        "'melanoma' is not a code of ICD-10",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name = ", "not a taxonomy in TOML"),
        ('name = "one"', "at least two are needed"),
        (TWO.replace("First", "second"), "'second' names both A and B"),
        (TWO + "[none_of_the_above]\ncode = 1", "[none_of_the_above]"),
        (TWO.replace('code = "A"', 'code = "A B"'), "code"),
        (TWO.replace('name = "First"', ""), "name"),
        (TWO.replace('"One."', "5"), "[[diagnosis]] 1: a text in quotes is needed, got 5 at plain"),
        (TWO + "synonyms = [1]", "[[diagnosis]] 2: a text in quotes is needed, got 1 at synonyms[0]"),
        (TWO + 'synonyms = "abc"', "[[diagnosis]] 2: synonyms: a list in brackets is needed, got 'abc'"),
        (TWO + 'codes = "C43"', "[[diagnosis]] 2: codes: a list in brackets is needed, got 'C43'"),
        (TWO + 'codes = ["C43"]', "[[diagnosis]] 2: codes: { system = …, code = …, display = … } is needed, got 'C43'"),
        (
            TWO + "codes = [{ system = 1, code = 2, display = 3 }]",
            "a text in quotes is needed, got 3 at codes[0].display",
        ),
        ('name = "x"\ndiagnosis = [1, 2]', "[[diagnosis]] 1: not a table"),
        (f"name = {'9' * 5000}", "taxonomy.toml is not a taxonomy in TOML"),
        (f"name = {'[' * 5000}{']' * 5000}", "taxonomy.toml is not a taxonomy in TOML"),
    ],
)
def test_a_bad_file_is_a_named_error(tmp_path: Path, text: str, reason: str) -> None:
    """Which says where."""
    with pytest.raises(TaxonomyError) as caught:
        read_taxonomy(written(tmp_path, text))

    assert reason in caught.value.message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With its path."""
    with pytest.raises(TaxonomyError, match=r"nowhere\.toml"):
        read_taxonomy(tmp_path / "nowhere.toml")
