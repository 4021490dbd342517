"""Numbers and lists as people read them, and foreign text as it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

SPACE = "\u00a0"  # no line break between a number and its unit
JOINER = "\u2060"  # nothing to be seen; keeps apart what Streamlit would read together

_BLANKS = re.compile("[^\\S\u00a0\u202f]+")
# Where addresses, icons and arrows are found in a text after its Markdown was read, so that a backslash does not help.
_READ_ALL_THE_SAME = re.compile(
    r"(?<=:)(?=//|material|streamlit)|(?<=www)(?=\.)|(?<=@)(?=\w)|(?<=[<>~=-])(?=[<>=-])", re.IGNORECASE
)


def percent(value: float, *, digits: int = 0) -> str:
    """A probability as people read it; never 0 % or 100 % unless it is exactly that.

    Args:
        value: in [0, 1].
        digits: after the decimal point.
    Returns:
        For example ``"62 %"``, ``"<1 %"``, ``">99 %"``, with a no-break space.
    """
    if value <= 0.0 or value >= 1.0:
        return f"{0 if value <= 0.0 else 100}{SPACE}%"
    smallest = 10.0 ** -(digits + 2)
    if value < smallest:
        return f"<{100 * smallest:.{digits}f}{SPACE}%"
    if value > 1.0 - smallest:
        return f">{100 - 100 * smallest:.{digits}f}{SPACE}%"
    return f"{100 * value:.{digits}f}{SPACE}%"


def percent_pair(first: float, second: float) -> tuple[str, str]:
    """Two probabilities with as many digits as it takes (at most three) to tell them apart."""
    for digits in range(4):
        texts = percent(first, digits=digits), percent(second, digits=digits)
        if texts[0] != texts[1]:
            break
    return texts


def markdown_text(text: str) -> str:
    """Text from elsewhere, so that Streamlit shows it letter by letter: no links, images, formulas, icons or markup."""
    line = _BLANKS.sub(" ", text).strip()
    escaped = re.sub(r"([\\`*_{}\[\]<>()#+\-!|$:~&^=@])", r"\\\1", _READ_ALL_THE_SAME.sub(JOINER, line))
    return re.sub(r"^(\d+)\.(?=\s|$)", r"\1\\.", escaped)  # else a list


def join_names(names: Sequence[str], last: str = "and") -> str:
    """``A``, ``A and B``, ``A, B and C``; ``last`` is the word before the last one."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def time_text(iso: str) -> str:
    """A time of the gateway, ISO 8601 in UTC, to the minute; what is no time as it is."""
    try:
        return datetime.fromisoformat(iso).astimezone(UTC).strftime(f"%Y-%m-%d{SPACE}%H:%M{SPACE}UTC")
    except ValueError:
        return iso
