"""Charts of monitoring and of models; each stands beside its numbers in words."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from lesion_core.monitoring import Day
from lesion_ui import palette
from lesion_ui.charts import escaped
from lesion_ui.evaluation_view import Bin
from lesion_ui.texts import Texts

_ROW_PX, _MARGIN_PX = 32, 8
_CLEAR = "rgba(0,0,0,0)"
_GRID = "rgba(128, 128, 128, 0.25)"
_DAY_MS = 86_400_000
_FEW_DAYS = 7
_FEW_PREDICTIONS = 6


def volume_chart(days: Sequence[Day]) -> go.Figure:
    """Predictions by day, as bars; a day without one is a gap."""
    figure = go.Figure(
        go.Bar(
            x=[day.date for day in days],
            y=[day.predictions for day in days],
            width=0.8 * _DAY_MS,
            marker={"color": palette.ACCENT},
        )
    )
    _dress(figure, height=240)
    figure.update_xaxes(type="date")
    if len(days) <= _FEW_DAYS:  # else Plotly writes hours between them, and microseconds around a single one
        figure.update_xaxes(tickvals=[day.date for day in days], tickformat="%b %-d\n%Y")
    figure.update_yaxes(rangemode="tozero", gridcolor=_GRID)
    if max((day.predictions for day in days), default=0) < _FEW_PREDICTIONS:  # else Plotly marks halves of one
        figure.update_yaxes(dtick=1)
    return figure


def count_chart(names: Sequence[str], counts: Sequence[int], texts: Texts) -> go.Figure:
    """Horizontal bars with the number at each, first on top."""
    rows = list(range(len(names)))
    figure = go.Figure(
        go.Bar(
            orientation="h",
            x=list(counts),
            y=rows,
            text=[texts.number(count) for count in counts],
            textposition="outside",
            cliponaxis=False,
            marker={"color": palette.ACCENT},
        )
    )
    _dress(figure, height=_ROW_PX * len(names) + 2 * _MARGIN_PX)
    figure.update_xaxes(visible=False, range=[0, 1.2 * max([*counts, 1])])
    figure.update_yaxes(
        autorange="reversed", tickvals=rows, ticktext=[escaped(name) for name in names], automargin=True
    )
    return figure


def reliability_chart(bins: Sequence[Bin], texts: Texts) -> go.Figure:
    """What came true beside what was said; points on the dashed line keep their word. Larger points: more images."""
    figure = go.Figure(
        go.Scatter(x=[0, 100], y=[0, 100], mode="lines", line={"color": palette.NONE, "dash": "dash"}, hoverinfo="skip")
    )
    most = max([one.count for one in bins] or [1])
    figure.add_trace(
        go.Scatter(
            x=[100 * one.predicted for one in bins],
            y=[100 * one.observed for one in bins],
            mode="lines+markers",
            line={"color": palette.ACCENT},
            marker={"size": [8 + 14 * (one.count / most) ** 0.5 for one in bins], "color": palette.ACCENT},
        )
    )
    _dress(figure, height=380)
    figure.update_xaxes(title=f"{texts('models.predicted')} (%)", range=[0, 102], gridcolor=_GRID)
    figure.update_yaxes(title=f"{texts('models.observed')} (%)", range=[0, 102], gridcolor=_GRID)
    return figure


def confusion_chart(names: Sequence[str], matrix: Sequence[Sequence[int]], texts: Texts) -> go.Figure:
    """Counts in cells; darker is a larger share of the row. The number stands in each."""
    shares = [[cell / max(sum(row), 1) for cell in row] for row in matrix]
    ticks = [escaped(name) for name in names]
    figure = go.Figure(
        go.Heatmap(
            z=shares,
            x=ticks,
            y=ticks,
            text=[[texts.number(cell) for cell in row] for row in matrix],
            texttemplate="%{text}",
            textfont={"color": palette.ON_CELL},
            colorscale=[[0, palette.CELLS[0]], [1, palette.CELLS[1]]],
            zmin=0,
            zmax=1,
            showscale=False,
            xgap=2,
            ygap=2,
        )
    )
    _dress(figure, height=90 + 40 * len(names))
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(automargin=True, tickangle=-40)
    return figure


def _dress(figure: go.Figure, *, height: int) -> None:
    figure.update_layout(
        height=height,
        margin={"l": 0, "r": 8, "t": _MARGIN_PX, "b": _MARGIN_PX},
        showlegend=False,
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
    )
    figure.update_xaxes(fixedrange=True)
    figure.update_yaxes(fixedrange=True)
