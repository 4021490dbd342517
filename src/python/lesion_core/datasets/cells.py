"""What one cell of a data set's table may say: an age, a sex, a body site, an id, or that it is not known."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping

# The vocabulary of the ISIC Archive's field ``anatom_site_general``.
ANATOMICAL_SITES = (
    "anterior torso",
    "head/neck",
    "lateral torso",
    "lower extremity",
    "oral/genital",
    "palms/soles",
    "posterior torso",
    "upper extremity",
)
SEXES = ("female", "male")
# As tables say that something is not known, pandas and R among those who wrote them; in small letters.
UNKNOWN = ("", "#n/a", "-", "<na>", "?", "n/a", "na", "nan", "none", "null", "unk", "unknown")
OLDEST_YEARS = 120


def id_of(text: str) -> str:
    """An id of a lesion or patient; blank where the cell says that it is not known: ``NA`` is nobody."""
    return "" if text.lower() in UNKNOWN else text


def age_of(text: str, what: str, problems: list[str]) -> float | None:
    """An age in years; ``None`` where the cell says that it is not known, or what it says is a problem.

    Args:
        text: of a cell.
        what: begins the line that is appended to ``problems``.
        problems: what is wrong is appended here.
    """
    return number_of(text, what, 0, OLDEST_YEARS, "an age in years", problems)


def sex_of(text: str, what: str, problems: list[str]) -> str | None:
    """One of ``SEXES``; as ``age_of``."""
    return _word(text, what, SEXES, {}, problems)


def site_of(text: str, what: str, problems: list[str], *, known: Mapping[str, str] | None = None) -> str | None:
    """One of ``ANATOMICAL_SITES``, by its own name or the source's (``known``); as ``age_of``."""
    return _word(text, what, ANATOMICAL_SITES, known or {}, problems)


def number_of(text: str, what: str, low: float, high: float, expected: str, problems: list[str]) -> float | None:
    """A number from ``low`` to ``high``; as ``age_of``."""
    if text.lower() in UNKNOWN:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        problems.append(f"{what} is {text!r}, not {expected} ({low:g} to {high:g})")
        return None
    return value


def _word(text: str, what: str, possible: tuple[str, ...], known: Mapping[str, str], problems: list[str]) -> str | None:
    word = known.get(text.lower(), text.lower())
    if word in UNKNOWN:
        return None
    if word not in possible:
        closest = difflib.get_close_matches(word, (*possible, *known), n=1)
        hint = f" Did you mean {closest[0]!r}?" if closest else ""
        problems.append(f"{what} is {text!r}.{hint} Possible: {', '.join(possible)}, or blank")
        return None
    return word
