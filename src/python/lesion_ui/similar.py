"""Reference images beside an answer: what the model finds like the image, with the diagnoses that these have."""

from __future__ import annotations

import base64
from collections import Counter

import streamlit as st
import structlog

from lesion_core.errors import LesionError
from lesion_core.service import SimilarCases
from lesion_core.wire import Prediction
from lesion_ui import session
from lesion_ui.session import Visit
from lesion_ui.wording import markdown_text

COLUMNS = 3

log = structlog.get_logger(__name__)


def show_similar(prediction: Prediction, here: Visit, *, suffix: str = "") -> None:
    """The reference images, where an atlas was built for the model; nothing without one.

    ``suffix`` ends the key of the element; several on a page need different ones.
    """
    texts = here.texts
    try:
        similar = _similar(prediction.request_id, here)
    except LesionError as error:
        log.warning("similar_failed", code=error.code)
        st.caption(texts("similar.failed"))
        return
    if similar is None or not similar.cases:
        return
    names = {one.code: texts.diagnosis(one.code, one.name) for one in prediction.probabilities}
    counts = Counter(case.diagnosis for case in similar.cases)
    listed = [f"{names.get(code, code)} ({texts.number(count)})" for code, count in counts.most_common()]
    with st.container(border=True, key=f"similar{suffix}"):
        st.markdown(f"##### {texts('similar.title')}")
        st.markdown(
            markdown_text(texts("similar.what", count=texts.number(len(similar.cases)), names=texts.join(listed)))
        )
        for first in range(0, len(similar.cases), COLUMNS):  # row by row, so that a narrow screen keeps the order
            row = similar.cases[first : first + COLUMNS]
            for number, (column, case) in enumerate(
                zip(st.columns(COLUMNS, gap="small"), row, strict=False), first + 1
            ):
                name = names.get(case.diagnosis, case.diagnosis)
                with column:
                    st.image(
                        base64.b64decode(case.jpeg_base64),
                        width="stretch",
                        alt=texts("similar.alt", number=number, name=name),
                    )
                    st.caption(markdown_text(f"{number}. {name}"))
        st.markdown(texts("similar.warning", share=texts.percent(similar.agreement)))
        st.caption(markdown_text(texts("similar.source", count=texts.number(similar.images), source=similar.source)))


def _similar(request_id: str, here: Visit) -> SimilarCases | None:
    """Asked for once a session."""
    held: dict[str, SimilarCases | None] = st.session_state.setdefault(session.SIMILAR, {})
    if request_id not in held:
        held[request_id] = here.client.similar(request_id)
    return held[request_id]
