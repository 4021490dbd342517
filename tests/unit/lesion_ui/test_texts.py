"""The catalogue of words: every language says the same, and nothing is said outside of it."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path

import pytest

import lesion_ui
from lesion_core.interval import Interval
from lesion_core.quality import LIMITS
from lesion_core.taxonomy import ISIC_2019
from lesion_ui.texts import LANGUAGES, ORIGINAL, language_of, texts_for

SOURCES = Path(str(lesion_ui.__file__)).parent
OTHERS = [language for language in LANGUAGES if language != ORIGINAL]
# Errors keep their own English sentence under the page's words; the door speaks to whoever starts the app.
NOT_THE_PAGE = {"client.py", "refusals.py", "cli.py", "session.py", "archive.py"}


def placeholders(text: str) -> list[str]:
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


@pytest.mark.parametrize("language", OTHERS)
def test_every_language_has_the_same_keys_and_placeholders(language: str) -> None:
    """A missing one would be an error on the page."""
    original, other = texts_for(ORIGINAL).entries, texts_for(language).entries

    assert sorted(original) == sorted(other)
    assert {key: placeholders(text) for key, text in original.items()} == {
        key: placeholders(text) for key, text in other.items()
    }


@pytest.mark.parametrize("language", OTHERS)
def test_a_language_is_translated(language: str) -> None:
    """Whole sentences are nowhere the English ones."""
    original, other = texts_for(ORIGINAL).entries, texts_for(language).entries

    assert [key for key, text in original.items() if len(text) > 60 and other[key] == text] == []


def test_the_words_for_diagnoses_and_findings_are_those_of_core() -> None:
    """So that another taxonomy's own names are told from them."""
    texts = texts_for(ORIGINAL)

    for diagnosis in ISIC_2019.diagnoses:
        assert texts(f"diagnosis.{diagnosis.code}") == diagnosis.name
        assert texts(f"plain.{diagnosis.code}") == diagnosis.plain
    for limit in LIMITS:
        assert texts(f"quality.{limit.code}") == limit.message


def test_a_taxonomys_own_name_is_not_translated() -> None:
    """Though its code may be one of ours."""
    german = texts_for("de")

    assert german.diagnosis("MEL", "Melanoma") == "Melanom"
    assert german.diagnosis("MEL", "Mel. in situ") == "Mel. in situ"


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(SOURCES.rglob("*.py")) if path.name not in NOT_THE_PAGE],
    ids=lambda path: path.name,
)
def test_no_sentence_of_the_page_stands_outside_the_catalogue(path: Path) -> None:
    """Two words in a row, in a string that is neither a docstring nor the name of an event."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    found = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]

    assert [text for text in found if re.search(r"\b[A-Z][a-z]+ [a-z]+ [a-z]+", text)] == []


def test_every_key_that_the_code_asks_for_is_there() -> None:
    """Keys that are put together are tried by the tests of the pages."""
    asked = set()
    for path in SOURCES.rglob("*.py"):
        asked |= set(re.findall(r'texts\(\s*"([a-z_]+\.[A-Za-z_]+)"', path.read_text(encoding="utf-8")))

    assert len(asked) > 100
    assert sorted(asked - set(texts_for(ORIGINAL).entries)) == []


@pytest.mark.parametrize(
    ("locale", "language"), [("de-CH", "de"), ("de", "de"), ("en-GB", "en"), ("fr-FR", "en"), (None, "en"), ("", "en")]
)
def test_the_language_is_the_browsers_where_there_is_one(locale: str | None, language: str) -> None:
    """Else English."""

    assert language_of(locale) == language


def test_numbers_are_written_as_people_of_the_language_do() -> None:
    """Decimal mark, and no grouping that could be one."""
    interval = Interval(value=0.647, low=0.582, high=0.717)

    assert texts_for("de").interval(interval).replace("\u00a0", " ") == "0,647 (95 % KI 0,582–0,717)"
    assert texts_for("en").interval(interval).replace("\u00a0", " ") == "0.647 (95 % CI 0.582–0.717)"
    assert texts_for("de").number(1234567.5, 1) == "1\u202f234\u202f567,5"
    assert texts_for("en").interval(None) == "–"
