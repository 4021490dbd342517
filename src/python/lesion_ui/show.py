"""Layout of an answer, for every page that shows one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from lesion_core.wire import Prediction
from lesion_ui.charts import CONFIG, empty_chart, probability_chart
from lesion_ui.heat import overlay
from lesion_ui.texts import Texts
from lesion_ui.view import AnswerView, Question, asked_text, legend
from lesion_ui.wording import markdown_text

SHOWN_SIDE_PX = 1200

RISK_BOXES = {
    "high": (st.error, ":material/priority_high:"),
    "intermediate": (st.warning, ":material/priority_high:"),
    "low": (st.info, ":material/info:"),
    "none": (st.info, ":material/info:"),
}


def shown_image(pixels: NDArray[np.uint8]) -> Image.Image:
    """An image as the page shows it: no side longer than ``SHOWN_SIDE_PX``."""
    image = Image.fromarray(pixels)
    image.thumbnail((SHOWN_SIDE_PX, SHOWN_SIDE_PX))
    return image


def show_image(image: Image.Image, alt: str, *, key: str = "lesion") -> None:
    """The image, with its text alternative."""
    with st.container(key=key):
        st.image(image, width="stretch", alt=alt, output_format="JPEG")


def show_quality(answer: AnswerView, texts: Texts, *, key: str = "quality") -> None:
    """What is wrong with the photograph, and what to do about it."""
    with st.container(key=key):
        for note in answer.quality:
            box, lead = (st.error, "answer.photo_reject") if note.is_reject else (st.warning, "answer.photo_warn")
            box(
                f"**{texts(lead)}:** {markdown_text(note.sentence)}  \n:small[{markdown_text(note.numbers)}]",
                icon=":material/photo_camera:",
            )
        if not answer.quality:
            st.caption(texts("answer.photo_ok"))


def show_answer(answer: AnswerView, prediction: Prediction | None, texts: Texts, *, suffix: str = "") -> None:
    """The answer in reading order; ``suffix`` keeps several on one page apart. ``prediction`` for its heat map."""
    show_alerts(answer, suffix=suffix)
    with st.container(border=True, key=f"diagnosis{suffix}", gap="xsmall"):
        st.caption(answer.headline.kicker)
        st.markdown(f"## {markdown_text(answer.headline.name)}")
        st.markdown(f"**{markdown_text(answer.headline.probability_text)}**")
        st.markdown(markdown_text(answer.headline.plain))
        if answer.headline.codes:
            st.caption(markdown_text(texts("answer.codes", codes=answer.headline.codes)))
    st.markdown(f"**{texts('answer.set_title')}** {markdown_text(answer.conformal)}")
    show_probabilities(answer, texts, suffix=suffix)
    show_risk(answer, suffix=suffix)
    if prediction is not None and prediction.heat_map is not None:
        _show_heat_map(prediction, texts, suffix)
    with st.expander(texts("answer.how_title")):
        st.markdown(texts("answer.how"))
        st.markdown(markdown_text(answer.distance))
        if prediction is not None and prediction.heat_map is None:
            st.markdown(texts("heat.absent"))
    with st.container(key=f"model{suffix}"):
        st.caption(markdown_text(answer.model))
        if answer.notice != texts("word.notice") and texts.language == "en":
            st.caption(markdown_text(answer.notice))


def show_question(question: Question, texts: Texts, *, suffix: str = "") -> None:
    """What was said of the patient when the answer was asked for."""
    with st.container(key=f"asked{suffix}"):
        st.caption(markdown_text(asked_text(question, texts)))


def show_alerts(answer: AnswerView, *, suffix: str = "") -> None:
    """What comes before every number."""
    if answer.quality_alert is not None:
        with st.container(key=f"quality-alert{suffix}"):
            st.error(f"**{markdown_text(answer.quality_alert)}**", icon=":material/block:")
    if answer.alert is not None:
        with st.container(key=f"alert{suffix}"):
            st.warning(f"**{markdown_text(answer.alert)}**", icon=":material/warning:")


def show_risk(answer: AnswerView, *, suffix: str = "") -> None:
    """The malignancy risk and its band."""
    with st.container(key=f"risk{suffix}"):
        box, icon = RISK_BOXES[answer.risk.band]
        box(f"**{markdown_text(answer.risk.title)}**  \n{markdown_text(answer.risk.sentence)}", icon=icon)


def show_probabilities(answer: AnswerView, texts: Texts, *, suffix: str = "") -> None:
    """All classes, as a chart and as a table."""
    with st.container(key=f"chart{suffix}"):
        st.markdown(f"##### {texts('answer.chart_title')}")
        st.plotly_chart(
            probability_chart(answer.bars), config=CONFIG, alt=answer.chart_text, key=f"probabilities{suffix}"
        )
        st.markdown(f":small[{legend(texts)}]")
    with st.expander(texts("answer.table_title")):
        rows = [
            {
                texts("answer.column_diagnosis"): f"{bar.label} ({bar.code})",
                texts("answer.column_probability"): bar.text,
                texts("answer.column_group"): bar.grouping,
            }
            for bar in answer.bars
        ]
        show_table(rows)


def show_table(rows: Sequence[Mapping[str, str]]) -> None:
    """A table of text, which is shown as it is: in a table of Streamlit's own, cells and headings are Markdown."""
    shown = [{markdown_text(heading): markdown_text(cell) for heading, cell in row.items()} for row in rows]
    st.table(shown, hide_index=True, border="horizontal")


def prepare_chart() -> None:
    """An empty chart that nobody sees: the browser fetches what draws charts before the first answer, not after it."""
    with st.container(key="prepared-chart"):
        st.plotly_chart(empty_chart(), config=CONFIG, key="prepared")


@st.fragment
def _show_heat_map(prediction: Prediction, texts: Texts, suffix: str) -> None:
    """The heat map with its opacity: drawn again alone, without asking anybody."""
    heat_map = prediction.heat_map
    assert heat_map is not None
    names = {one.code: texts.diagnosis(one.code, one.name) for one in prediction.probabilities}
    with st.container(border=True, key=f"heat{suffix}"):
        st.markdown(f"##### {texts('heat.title')}")
        picture, words = st.columns([2, 3], gap="medium")
        with words:
            opacity = st.slider(texts("heat.opacity"), 0, 100, 50, step=5, format="%d %%", key=f"opacity{suffix}")
            st.markdown(texts("heat.what", name=markdown_text(names.get(heat_map.code, heat_map.code))))
            st.markdown(texts("heat.warning"))
            if heat_map.method == "opinion_of_places":
                st.markdown(texts("heat.places"))
            if heat_map.highest <= 0:
                st.markdown(texts("heat.nothing"))
        with picture:
            st.image(overlay(heat_map.png, opacity / 100), width="stretch", alt=texts("heat.alt"))
