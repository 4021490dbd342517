"""The page: one image in, an honest answer out. Streamlit runs this file; ``lesion-ui`` starts it.

Only layout is here: what is said is in ``view``, how it is drawn in ``charts``, who is asked in ``client``.
"""

from __future__ import annotations

import os

import numpy as np
import streamlit as st
import structlog
from numpy.typing import NDArray
from PIL import Image
from streamlit.runtime.uploaded_file_manager import UploadedFile

from lesion_core.errors import LesionError
from lesion_core.imaging import ALLOWED_FORMATS, DEFAULT_LIMITS, FILE_SUFFIXES, decode_image
from lesion_core.wire import Prediction
from lesion_core.workspace import Workspace
from lesion_ui.charts import CONFIG, probability_chart
from lesion_ui.client import PredictionClient, find_endpoint
from lesion_ui.view import (
    LEGEND,
    NOTICE,
    UNEXPECTED,
    AnswerView,
    ProblemView,
    answer_view,
    problem_view,
)
from lesion_ui.wording import markdown_text

MAX_UPLOAD_MB = DEFAULT_LIMITS.max_bytes // 2**20
SHOWN_SIDE_PX = 1200

RISK_BOXES = {
    "high": (st.error, ":material/priority_high:"),
    "intermediate": (st.warning, ":material/priority_high:"),
    "low": (st.info, ":material/info:"),
    "none": (st.info, ":material/info:"),
}

log = structlog.get_logger(__name__)

HOW_TO_READ = """
- **Probabilities** of the trained diagnoses are calibrated: among validation images given 70 %, about 70 in 100 had
  that diagnosis. **None of the above** says how unlike the training images this one is; it is not such a frequency.
- **Malignancy risk** is the sum over the malignant diagnoses before any share goes to none of the above, so that an
  unusual image does not look safer for being unusual.
- The numbers were measured on images of the data set that the model learned from. Other devices, other skin types and
  other diagnoses may give other results.
"""

# Streamlit has no setting for these: the notice stays in sight while scrolling, and the chart's words have the full
# colour of the theme's text instead of a faint grey.
STYLE = """
<style>
.st-key-notice { position: fixed; top: 0; left: 0; right: 0; width: 100%; height: 2.4rem; z-index: 1000000;
                 display: flex; align-items: center; justify-content: center; background: #16404D; padding: 0 0.75rem; }
.st-key-notice [data-testid="stMarkdownContainer"] { margin: 0; }
.st-key-notice p { color: #FFFFFF; text-align: center; font-weight: 600; margin: 0;
                   font-size: clamp(0.75rem, 3.3vw, 0.95rem); line-height: 1.2; }
[data-testid="stHeader"] { top: 2.4rem; background: transparent; }
[data-testid="stMainBlockContainer"] { max-width: 76rem; padding-top: 3.6rem; padding-bottom: 3rem; }
.st-key-diagnosis h2 { padding: 0 0 0.4rem; }
.st-key-lesion img { max-height: 26rem; object-fit: contain; }
@media (max-width: 640px) { .st-key-lesion img { max-height: 15rem; } }
.st-key-chart svg text { fill: currentColor !important; }
</style>
"""


def page() -> None:
    """Lay out the page. Whatever happens, the user reads a sentence and never a stack trace."""
    st.set_page_config(page_title="Lesion – research use only", page_icon="🔬", layout="wide")
    st.html(STYLE)
    with st.container(key="notice"):
        st.markdown(NOTICE)
    st.title("Lesion", anchor=False)
    st.markdown("Classification of one skin lesion from a dermoscopic or close-up photograph.")
    left, right = st.columns([2, 3], gap="medium")
    with left:
        uploaded = st.file_uploader(
            "Image of one lesion",
            type=list(FILE_SUFFIXES),
            help=f"{', '.join(ALLOWED_FORMATS)}; for DICOM, one photograph or secondary capture.",
            max_upload_size=MAX_UPLOAD_MB,
            key="image",
        )
        shown = st.container()
    try:
        client = PredictionClient(find_endpoint(os.environ, Workspace.default()))
        if uploaded is None:
            with right:
                _show_instruction()
            return
        data = uploaded.getvalue()
        pixels = decode_image(data, shortest_side_px=SHOWN_SIDE_PX // 2)
        with shown:
            _show_image(pixels)
        with right:
            answer = answer_view(_predict(client, uploaded, data))
        with shown:
            _show_quality(answer)
        with right:
            _show_answer(answer)
    except LesionError as error:
        log.warning("prediction_failed", code=error.code, reason=error.message)
        with right:
            _show_problem(problem_view(error))
    except Exception:
        log.exception("page_failed")
        with right:
            _show_problem(UNEXPECTED)


def _predict(client: PredictionClient, uploaded: UploadedFile, data: bytes) -> Prediction:
    """Ask once for each upload; drawing the page again shows the same answer."""
    key = (uploaded.file_id, client.endpoint.url)
    if st.session_state.get("answered") != key:
        with st.spinner("Looking at the image …"):
            st.session_state["prediction"] = client.predict(data)
        st.session_state["answered"] = key
        log.info("prediction_received", request_id=st.session_state["prediction"].request_id)
    prediction: Prediction = st.session_state["prediction"]
    return prediction


def _show_instruction() -> None:
    with st.container(key="instruction"):
        st.info(
            "**Choose an image to begin.** One lesion, in focus, filling much of the frame, without marks or rulers. "
            "Use the original file: screenshots and photographs of a screen give worse answers.\n\n"
            "The app sends the image to its own prediction service only, and keeps no copy."
        )


def _show_image(pixels: NDArray[np.uint8]) -> None:
    image = Image.fromarray(pixels)
    image.thumbnail((SHOWN_SIDE_PX, SHOWN_SIDE_PX))
    with st.container(key="lesion"):
        st.image(image, width="stretch", alt="The uploaded image", output_format="JPEG")


def _show_quality(answer: AnswerView) -> None:
    with st.container(key="quality"):
        for note in answer.quality:
            box, lead = (st.error, "Photograph not usable") if note.is_reject else (st.warning, "Photograph")
            box(
                f"**{lead}:** {markdown_text(note.sentence)}  \n:small[{markdown_text(note.numbers)}]",
                icon=":material/photo_camera:",
            )
        if not answer.quality:
            st.caption("Photograph: no problem found.")


def _show_answer(answer: AnswerView) -> None:
    if answer.quality_alert is not None:
        with st.container(key="quality-alert"):
            st.error(f"**{markdown_text(answer.quality_alert)}**", icon=":material/block:")
    if answer.alert is not None:
        with st.container(key="alert"):
            st.warning(f"**{markdown_text(answer.alert)}**", icon=":material/warning:")
    with st.container(border=True, key="diagnosis", gap="xsmall"):
        st.caption(answer.headline.kicker)
        st.markdown(f"## {markdown_text(answer.headline.name)}")
        st.markdown(f"**{markdown_text(answer.headline.probability_text)}**")
        st.markdown(markdown_text(answer.headline.plain))
        if answer.headline.codes:
            st.caption(f"Codes of this class: {markdown_text(answer.headline.codes)}")
    with st.container(key="risk"):
        box, icon = RISK_BOXES[answer.risk.band]
        box(f"**{markdown_text(answer.risk.title)}**  \n{markdown_text(answer.risk.sentence)}", icon=icon)
    st.markdown(f"**Cannot be ruled out:** {markdown_text(answer.conformal)}")
    with st.container(key="chart"):
        st.markdown("##### Probabilities")
        st.plotly_chart(probability_chart(answer.bars), config=CONFIG, alt=answer.chart_text)
        st.markdown(f":small[{LEGEND}]")
    with st.expander("The same numbers as a table"):
        rows = [
            {"Diagnosis": f"{bar.label} ({bar.code})", "Probability": bar.text, "Group": bar.grouping}
            for bar in answer.bars
        ]
        st.table(rows, hide_index=True, border="horizontal")
    with st.expander("How to read this"):
        st.markdown(HOW_TO_READ)
        st.markdown(markdown_text(answer.distance))
    with st.container(key="model"):
        st.caption(markdown_text(answer.model))
        if answer.notice != NOTICE:
            st.caption(markdown_text(answer.notice))


def _show_problem(problem: ProblemView) -> None:
    with st.container(key="problem"):
        st.error(f"**{problem.title}**  \n{markdown_text(problem.message)}", icon=":material/error:")
        if problem.can_retry:
            st.button("Try again")


if __name__ == "__main__":
    page()
