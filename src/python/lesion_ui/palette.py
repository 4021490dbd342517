"""Colours of the app, for light and dark; a test computes their contrast (WCAG 2.2 AA).

The hues are Okabe & Ito's, which people tell apart who see few colours; darkened where needed. No meaning is carried by
a colour alone: each has a symbol or a pattern beside it.
"""

from __future__ import annotations

import attrs

from lesion_core.taxonomy import Malignancy

# Marks of charts: at least 3:1 to both backgrounds.
MALIGNANCY = {
    Malignancy.MALIGNANT: "#D55E00",
    Malignancy.INDETERMINATE: "#B3568F",
    Malignancy.BENIGN: "#2F86C1",
}
NONE = "#808080"
ACCENT = "#2F86C1"
ALARM = "#D55E00"
TRACK = "rgba(128, 128, 128, 0.13)"
CAPTION_OPACITY = 0.85
# Cells of tables of counts, from none of a row to all of it, and the number in each.
CELLS, ON_CELL = ("#FFFFFF", "#7FB8C6"), "#1A2B31"
# Buttons that do the main thing, in both themes.
BUTTON, ON_BUTTON = "#2B7F95", "#FFFFFF"
# The notice that is always in sight: at least 4.5:1.
NOTICE_BACKGROUND, NOTICE_TEXT = "#16404D", "#FFFFFF"


@attrs.frozen(kw_only=True)
class Theme:
    """Colours of Streamlit's theme. Boxes: background and text of its notes of the four kinds."""

    background: str
    secondary_background: str
    text: str
    primary: str
    boxes: dict[str, tuple[str, str]]


LIGHT = Theme(
    background="#FFFFFF",
    secondary_background="#EEF4F6",
    text="#1A2B31",
    primary="#1B6B80",
    boxes={
        "blue": ("#E3EEFA", "#153E75"),
        "yellow": ("#FFF6D6", "#614700"),
        "red": ("#FDE8E4", "#8A1C0C"),
        "green": ("#E2F3E8", "#14532D"),
    },
)
DARK = Theme(
    background="#11191C",
    secondary_background="#1C282D",
    text="#EEF3F5",
    primary="#5DB3C9",
    boxes={
        "blue": ("#16304D", "#CFE3FA"),
        "yellow": ("#3D3206", "#FBE7A3"),
        "red": ("#4A1A12", "#FBD0C8"),
        "green": ("#12361F", "#C4EBD1"),
    },
)
