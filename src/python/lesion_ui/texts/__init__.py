"""Every word that the app shows, one TOML file for each language; ``en.toml`` is the original.

All languages have the same keys with the same placeholders: a test holds them together.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import attrs

from lesion_core.interval import Interval
from lesion_core.taxonomy import Malignancy
from lesion_ui.wording import SPACE, join_names, percent, percent_pair

LANGUAGES = {"en": "English", "de": "Deutsch"}
ORIGINAL = "en"


@attrs.frozen
class Texts:
    """The words of one language: ``texts("assess.title")``. Numbers are written as people of the language do."""

    language: str
    entries: Mapping[str, str] = attrs.field(repr=False)

    def __call__(self, key: str, /, **values: object) -> str:
        """The text of ``key`` with its placeholders filled; a key that is not there is our mistake: KeyError."""
        text = self.entries[key]
        return text.format(**values) if values else text

    def find(self, key: str) -> str | None:
        """The text of ``key``, or ``None``: for codes that come from elsewhere."""
        return self.entries.get(key)

    def number(self, value: float, digits: int = 0) -> str:
        """With the decimal mark of the language, and a thin space between thousands."""
        text = f"{value:,.{digits}f}".replace(",", "\u202f")
        return self._marked(text)

    def percent(self, value: float, *, digits: int = 0) -> str:
        """A probability as ``wording.percent`` writes it."""
        return self._marked(percent(value, digits=digits))

    def percent_pair(self, first: float, second: float) -> tuple[str, str]:
        """Two probabilities as ``wording.percent_pair`` writes them."""
        texts = percent_pair(first, second)
        return self._marked(texts[0]), self._marked(texts[1])

    def interval(self, interval: Interval | None, *, as_percent: bool = False) -> str:
        """A measured number with its confidence interval; a dash where there is none."""
        if interval is None:
            return "–"
        if as_percent:
            value, low, high = (self.percent(one) for one in (interval.value, interval.low, interval.high))
        else:
            value, low, high = (self.number(one, 3) for one in (interval.value, interval.low, interval.high))
        return f"{value} ({self.percent(interval.confidence)} {self('word.interval')} {low}–{high})".replace(
            f"{SPACE}%–", "–"
        )

    def join(self, names: Sequence[str]) -> str:
        """``A, B and C``."""
        return join_names(names, self("word.and"))

    def diagnosis(self, code: str, name: str) -> str:
        """The name of a diagnosis in this language, where it is one of ours; a taxonomy's own name as it is."""
        return self._translated(f"diagnosis.{code}", name)

    def plain(self, code: str, sentence: str) -> str:
        """What a diagnosis means; a taxonomy's own sentence as it is."""
        return self._translated(f"plain.{code}", sentence)

    def site(self, code: str) -> str:
        """Where a lesion is, for a site of ``ANATOMICAL_SITES``; another as it is."""
        return self.find(f"site.{re.sub('[ /]', '_', code)}") or code

    def malignancy(self, group: Malignancy) -> str:
        """The word for a group."""
        return self(f"malignancy.{group.value}")

    def _translated(self, key: str, original: str) -> str:
        is_ours = texts_for(ORIGINAL).find(key) == original
        return (self.find(key) or original) if is_ours else original

    def _marked(self, text: str) -> str:
        return text.replace(".", self("word.decimal_mark"))


@lru_cache(maxsize=len(LANGUAGES))
def texts_for(language: str) -> Texts:
    """The words of a language of ``LANGUAGES``."""
    content = tomllib.loads((Path(__file__).parent / f"{language}.toml").read_text(encoding="utf-8"))
    entries = {f"{section}.{key}": text for section, rows in content.items() for key, text in rows.items()}
    return Texts(language, entries)


def language_of(locale: str | None) -> str:
    """The language for a browser's locale such as ``de-CH``; the original where there is none of ours."""
    tag = (locale or "").split("-")[0].lower()
    return tag if tag in LANGUAGES else ORIGINAL
