"""Numbers and foreign text, as people read them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesion_ui.wording import JOINER, SPACE, markdown_text, percent, percent_pair

UNIT = st.floats(0, 1)


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [
        (0.0, 0, "0 %"),
        (1e-320, 0, "<1 %"),
        (0.0099, 0, "<1 %"),
        (0.01, 0, "1 %"),
        (0.624, 0, "62 %"),
        (0.99, 0, "99 %"),
        (0.9901, 0, ">99 %"),
        (1 - 1e-16, 0, ">99 %"),
        (1.0, 0, "100 %"),
        (0.0004, 1, "<0.1 %"),
        (0.1236, 1, "12.4 %"),
        (0.9999, 1, ">99.9 %"),
    ],
)
def test_a_percentage_reads_as_people_write_it(value: float, digits: int, expected: str) -> None:
    """At the edges above all."""

    assert plain(percent(value, digits=digits)) == expected


@given(UNIT, st.integers(0, 3))
def test_only_exact_values_read_as_certain_or_impossible(value: float, digits: int) -> None:
    """0 % and 100 % are promises."""
    text = plain(percent(value, digits=digits))

    assert (text == "0 %") == (value == 0)
    assert (text == "100 %") == (value == 1)
    assert not re.fullmatch(r"(0|100)\.0+ %", text)


@given(UNIT, st.integers(0, 3))
def test_a_percentage_is_no_further_from_the_value_than_its_last_digit(value: float, digits: int) -> None:
    """The number is the value, whatever is written before it."""
    number = float(re.sub(r"[^0-9.]", "", percent(value, digits=digits)))

    assert number == pytest.approx(100 * value, abs=1.0001 * 10**-digits)


@given(UNIT, UNIT)
def test_two_percentages_read_alike_only_when_they_nearly_are(first: float, second: float) -> None:
    """A risk of 12.3 % under a threshold of 12.4 % must not read as 12 % under 12 %."""
    texts = percent_pair(first, second)

    assert texts[0] != texts[1] or abs(first - second) < 1e-4


def words(text: str) -> list[str]:
    """Without what cannot be seen."""
    return text.replace(JOINER, "").split()


@given(st.text())
def test_foreign_text_has_no_markup_left(text: str) -> None:
    """Every character that Markdown may read is escaped, and nothing is lost but white space."""
    shown = markdown_text(text)

    assert words(re.sub(r"\\(.)", r"\1", shown)) == words(text)
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]<>()#$:!~|]", shown)


def test_a_number_stays_with_its_unit() -> None:
    """The space between them lets no line break in."""

    assert markdown_text(f"95{SPACE}%\n of  all ") == f"95{SPACE}% of all"


@pytest.mark.parametrize(
    "text",
    ["http://a.b/c", "www.a.b", "a@b.c", ":material/check:", "a -> b", "a >= b", "1. a", ":streamlit:"],
)
def test_what_is_read_in_spite_of_a_backslash_is_kept_apart(text: str) -> None:
    """Addresses, icons, arrows and lists: a browser test looks at what becomes of them."""
    shown = markdown_text(text)

    assert JOINER in shown or "1\\." in shown
    assert words(shown.replace("\\", "")) == words(text)
