"""Contrast of every colour that the app uses (WCAG 2.2 AA), and that eyes that see few colours tell them apart."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from lesion_core.taxonomy import Malignancy
from lesion_ui import palette
from lesion_ui.charts import PATTERNS
from lesion_ui.palette import DARK, LIGHT, Theme
from lesion_ui.view import NONE_SYMBOL, SYMBOLS

THEMES = pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
MARKS = [*palette.MALIGNANCY.values(), palette.NONE, palette.ACCENT, palette.ALARM, palette.BUTTON]
# What is left of red, green and blue light. Source: Machado et al. 2009, severity 1.0.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)
PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)


def linear(colour: str) -> np.ndarray:
    """Linear light of ``#RRGGBB``. Source: WCAG 2.2."""
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(first: str, second: str) -> float:
    weights = np.array([0.2126, 0.7152, 0.0722])
    lighter, darker = sorted((float(weights @ linear(one)) for one in (first, second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def mixed(text: str, background: str, share: float) -> str:
    pairs = [(int(text[i : i + 2], 16), int(background[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(share * a + (1 - share) * b):02X}" for a, b in pairs)


def test_black_on_white_is_the_contrast_that_the_standard_says() -> None:
    """The measure itself."""

    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)


@THEMES
def test_text_can_be_read(theme: Theme) -> None:
    """At least 4.5:1 (1.4.3): on the page, in the sidebar, on buttons, in notes, and the fainter captions."""
    pairs = [
        (theme.text, theme.background),
        (theme.text, theme.secondary_background),
        (palette.ON_BUTTON, palette.BUTTON),
    ]
    pairs += [(theme.primary, theme.background)]
    pairs += [(text, background) for background, text in theme.boxes.values()]
    pairs += [
        (mixed(theme.text, side, palette.CAPTION_OPACITY), side)
        for side in (theme.background, theme.secondary_background)
    ]

    assert [pair for pair in pairs if contrast(*pair) < 4.5] == []


@THEMES
def test_marks_of_charts_stand_out(theme: Theme) -> None:
    """At least 3:1 (1.4.11), and so does the ring around what the keyboard is on."""

    assert [colour for colour in MARKS if contrast(colour, theme.background) < 3] == []


def test_the_notice_can_be_read() -> None:
    """In both themes it is the same, and so are the cells of the confusion matrix."""

    assert contrast(palette.NOTICE_TEXT, palette.NOTICE_BACKGROUND) >= 4.5
    assert min(contrast(palette.ON_CELL, cell) for cell in palette.CELLS) >= 4.5


@pytest.mark.parametrize("loss", [np.eye(3), DEUTERANOPIA, PROTANOPIA], ids=["all", "deuteranopia", "protanopia"])
def test_groups_differ_also_to_eyes_that_see_few_colours(loss: np.ndarray) -> None:
    """In linear light, as such eyes see it."""
    seen = [loss @ linear(colour) for colour in palette.MALIGNANCY.values()]

    assert min(float(np.abs(a - b).max()) for a, b in combinations(seen, 2)) > 0.1


def test_no_group_is_known_by_its_colour_alone() -> None:
    """Each has a symbol and a pattern of its own."""

    assert len({*SYMBOLS.values(), NONE_SYMBOL}) == 4
    assert len({PATTERNS[group] for group in Malignancy}) == 3
