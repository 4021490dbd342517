"""A taxonomy of one's own, as a TOML file. ``docs/taxonomy.example.toml`` is one to start from.

    name = "my-clinic"

    [[diagnosis]]
    code = "MEL"
    name = "Melanoma"
    malignancy = "malignant"                       # or "benign", "indeterminate"
    plain = "A cancer of the pigment-making cells."
    synonyms = ["malignant melanoma"]              # optional: names of folders
    codes = [{ system = "ICD-10", code = "C43.9", display = "Malignant melanoma of skin, unspecified" }]   # optional

At least two diagnoses; their order is that of the probabilities. *None of the above* is added last; a table
``[none_of_the_above]`` with the same keys replaces its words.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import cattrs
import cattrs.v

from lesion_core.errors import TaxonomyError
from lesion_core.taxonomy import NONE_OF_THE_ABOVE, ClinicalCode, Diagnosis, Taxonomy

_TABLES = ("name", "diagnosis", "none_of_the_above")


def _text(value: object, kind: type[str]) -> str:
    """A text as it is; also one of an enumeration, whose members are texts as well."""
    if not isinstance(value, str):
        raise ValueError(f"a text in quotes is needed, got {value!r}")
    return kind(value)


_converter = cattrs.Converter(forbid_extra_keys=True)
_converter.register_structure_hook(str, _text)


def read_taxonomy(path: Path) -> Taxonomy:
    """Read a taxonomy from a TOML file.

    Raises:
        TaxonomyError: the file cannot be read; or lists everything that is wrong in it, each with table and key.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # also of numbers too long to read, and of deep nesting
        raise TaxonomyError(f"{path} is not a taxonomy in TOML ({error}).") from error
    problems = [_unknown_key(key, _TABLES, "the file") for key in data if key not in _TABLES]
    name, tables = data.get("name"), data.get("diagnosis", [])
    if not isinstance(name, str) or not name:
        problems.append("name: a word for the whole taxonomy is missing")
    if not isinstance(tables, list) or len(tables) < 2:
        problems.append("[[diagnosis]]: at least two are needed")
        tables = []
    trained = [_diagnosis(table, f"[[diagnosis]] {n}", problems) for n, table in enumerate(tables, start=1)]
    none = NONE_OF_THE_ABOVE
    if "none_of_the_above" in data:
        none = _diagnosis(data["none_of_the_above"], "[none_of_the_above]", problems) or none
    if not problems:
        try:
            return Taxonomy(name=str(name), trained=tuple(filter(None, trained)), none_of_the_above=none)
        except TaxonomyError as error:
            problems.append(error.message)
    listed = "\n".join(f"  - {problem}" for problem in problems)
    raise TaxonomyError(f"{path}: {len(problems)} problem{'s' if len(problems) > 1 else ''}:\n{listed}")


def _diagnosis(table: object, where: str, problems: list[str]) -> Diagnosis | None:
    if not isinstance(table, Mapping):
        problems.append(f"{where}: not a table")
        return None
    before = len(problems)
    _look_for_unknown_keys(table, Diagnosis, where, problems)
    lists = {key: table.get(key, []) for key in ("synonyms", "codes")}
    problems += [
        f"{where}: {key}: a list in brackets is needed, got {value!r}"
        for key, value in lists.items()
        if not isinstance(value, list)
    ]
    for code in lists["codes"] if isinstance(lists["codes"], list) else []:
        if isinstance(code, Mapping):
            _look_for_unknown_keys(code, ClinicalCode, f"{where} codes", problems)
        else:
            problems.append(f"{where}: codes: {{ system = …, code = …, display = … }} is needed, got {code!r}")
    if len(problems) > before:
        return None
    try:
        return _converter.structure(dict(table), Diagnosis)
    except cattrs.BaseValidationError as error:
        found = cattrs.transform_error(error, path="", format_exception=_reason)
        problems += [f"{where}: {text.replace(' @ .', ' at ')}" for text in found]
        return None


def _reason(error: BaseException, expected: type[Any] | None) -> str:
    """The reason in words: cattrs' own names Python types."""
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    return str(error) if isinstance(error, ValueError) and error.args else cattrs.v.format_exception(error, expected)


def _look_for_unknown_keys(table: Mapping[str, object], kind: type[Any], where: str, problems: list[str]) -> None:
    known = tuple(field.name for field in attrs.fields(kind))
    problems += [_unknown_key(key, known, where) for key in table if key not in known]


def _unknown_key(key: str, known: tuple[str, ...], where: str) -> str:
    closest = difflib.get_close_matches(key, known, n=1)
    hint = f" Did you mean {closest[0]!r}?" if closest else ""
    return f"{where}: no key named {key!r}.{hint} Known: {', '.join(known)}"
