"""The charts: readable without colour and in a light or dark theme."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from lesion_core.taxonomy import Malignancy
from lesion_ui import palette
from lesion_ui.view import Bar

PATTERNS = {Malignancy.MALIGNANT: "/", Malignancy.INDETERMINATE: ".", Malignancy.BENIGN: ""}
CONFIG = {"staticPlot": True, "displayModeBar": False, "responsive": True}
_BAR_PX = 34
_MARGIN_PX = 8


def probability_chart(bars: Sequence[Bar]) -> go.Figure:
    """Draw probabilities, first bar on top, with the number at each bar and a symbol and pattern for its group."""
    rows = list(range(len(bars)))
    colours = [palette.NONE if bar.is_none_of_the_above else palette.MALIGNANCY[bar.malignancy] for bar in bars]
    patterns = ["" if bar.is_none_of_the_above else PATTERNS[bar.malignancy] for bar in bars]
    figure = go.Figure(
        # The track behind each bar: where 100 % would be.
        go.Bar(orientation="h", x=[100] * len(bars), y=rows, marker={"color": palette.TRACK, "line": {"width": 0}})
    )
    figure.add_trace(
        go.Bar(
            orientation="h",
            x=[100 * bar.probability for bar in bars],
            y=rows,
            text=[bar.text for bar in bars],
            textposition="outside",
            textfont={"size": 14},
            cliponaxis=False,
            marker={
                "color": colours,
                "line": {"width": 0},
                "pattern": {"shape": patterns, "fillmode": "overlay", "fgcolor": "#FFFFFF", "size": 7},
            },
        )
    )
    figure.update_layout(
        height=_BAR_PX * len(bars) + 2 * _MARGIN_PX,
        margin={"l": 0, "r": 0, "t": _MARGIN_PX, "b": _MARGIN_PX},
        barmode="overlay",
        bargap=0.35,
        showlegend=False,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    # 118: room for ">99 %" behind a full bar.
    figure.update_xaxes(range=[0, 118], visible=False, fixedrange=True)
    figure.update_yaxes(
        autorange="reversed",
        tickvals=rows,
        ticktext=[escaped(bar.label) for bar in bars],
        tickfont={"size": 14},
        automargin=True,
        showgrid=False,
        zeroline=False,
        fixedrange=True,
    )
    return figure


def empty_chart() -> go.Figure:
    """Nothing to see."""
    return go.Figure(layout={"height": _BAR_PX})


def escaped(text: str) -> str:
    """Plotly reads a little HTML in labels; names are shown as they are."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
