"""Record: one kept answer – judge it, add the histology, comment, export."""

from __future__ import annotations

import streamlit as st
from PIL import Image

from lesion_core.service import Record
from lesion_ui import session, shell, show
from lesion_ui.asking import Asked
from lesion_ui.draft import KINDS, draft_of, forget_draft
from lesion_ui.export import file_name, record_csv, record_json
from lesion_ui.report import feedback_text, report_pdf
from lesion_ui.session import Visit
from lesion_ui.shell import visit
from lesion_ui.similar import show_similar
from lesion_ui.texts import Texts
from lesion_ui.view import answer_view
from lesion_ui.wording import markdown_text, time_text

LONGEST_COMMENT = 2000


def page() -> None:
    """Lay out the page."""
    here = visit()
    texts = here.texts
    with shell.told(texts):
        st.title(texts("record.title"), anchor=False)
        request_id = _chosen(texts)
        if request_id is None:
            with st.container(key="instruction"):
                st.info(texts("record.instruction"))
            return
        record = here.client.record(request_id)
        _show(record, here)


def _chosen(texts: Texts) -> str | None:
    """The request that was opened on another page, else the one that is named here."""
    opened: str | None = st.session_state.get(session.OPEN_RECORD)
    with st.expander(texts("record.other"), expanded=opened is None), st.form("open_form", border=False):
        named = st.text_input(texts("record.request_id"), key="request_id", max_chars=128, autocomplete="off")
        sent = st.form_submit_button(texts("record.open"))
    if sent and named.strip():
        st.session_state[session.OPEN_RECORD] = opened = named.strip()
    return opened


def _show(record: Record, here: Visit) -> None:
    texts = here.texts
    answer = answer_view(record.prediction, texts)
    asked = None if record.is_erased else _asked(record.request_id)
    image = None if asked is None else asked.image
    with st.container(key="record"):
        st.caption(
            markdown_text(
                texts(
                    "record.facts",
                    request_id=record.request_id,
                    at=time_text(record.at),
                    subject=record.subject or texts("word.none"),
                    key=record.key_id,
                )
            )
        )
    left, right = st.columns([2, 3], gap="medium")
    with left:
        if image is not None:
            show.show_image(image, texts("assess.alt", name=record.request_id))
        elif not record.is_erased:
            st.caption(texts("record.no_image"))
        show.show_quality(answer, texts)
        _show_feedback(record, here)
        _show_exports(record, texts, image)
    with right:
        if asked is not None:
            show.show_question(asked.question, texts)
        show.show_answer(answer, record.prediction, texts)
        show_similar(record.prediction, here)


def _asked(request_id: str) -> Asked | None:
    """The image and what was asked with it, while this session still has them: nobody else keeps them."""
    held: dict[str, Asked] = st.session_state.get(session.ASSESSMENT, {})
    return next((one for one in held.values() if one.prediction and one.prediction.request_id == request_id), None)


def _show_feedback(record: Record, here: Visit) -> None:
    texts = here.texts
    names = {one.code: texts.diagnosis(one.code, one.name) for one in record.prediction.probabilities}
    with st.container(border=True, key="feedback"):
        st.markdown(f"##### {texts('record.feedback')}")
        if st.session_state.pop("feedback_saved", None) == record.request_id:
            st.success(texts("word.saved"), icon=":material/check:")
        for one in record.feedback:
            st.markdown(f"- {markdown_text(feedback_text(one, names, texts))}")
        if not record.feedback:
            st.caption(texts("record.no_feedback"))
        if record.is_erased:
            forget_draft(st.session_state, record.request_id)
            st.info(texts("record.erased"))
        elif here.may("feedback"):
            _feedback_form(record, names, here)


def _feedback_form(record: Record, names: dict[str, str], here: Visit) -> None:
    """Fields for a judgement: no form, since what is typed into one is not known here before it is sent."""
    texts, draft = here.texts, draft_of(st.session_state, record.request_id)
    kind = st.radio(
        texts("record.what"),
        KINDS,
        index=draft.position("kind", KINDS) or 0,
        format_func=lambda one: texts(f"record.kind_{one}"),
        **draft.field("kind"),
    )
    diagnosis: str | None = None
    if kind in ("other", "histology"):
        diagnosis = st.selectbox(
            texts("record.diagnosis"),
            list(names),
            index=draft.position("diagnosis", list(names)),
            placeholder=texts("record.choose"),
            format_func=lambda code: f"{names[code]} ({code})",
            **draft.field("diagnosis"),
        )
    comment = st.text_area(
        texts("record.comment"),
        value=draft.comment,
        max_chars=LONGEST_COMMENT,
        help=texts("record.comment_help"),
        **draft.field("comment"),
    )
    sent = st.button(texts("record.save"), type="primary", key=draft.key("save"))
    if not sent:
        return
    comment = comment.strip()
    if kind in ("other", "histology") and diagnosis is None:
        st.error(texts("record.diagnosis_needed"))
        return
    if kind == "comment" and not comment:
        st.error(texts("record.comment_needed"))
        return
    top = record.prediction.top.code
    is_agreed = kind == "agree" or (kind == "histology" and diagnosis == top)
    here.client.give_feedback(
        record.request_id,
        verdict="comment" if kind == "comment" else "agree" if is_agreed else "other",
        diagnosis=None if kind == "comment" or is_agreed else diagnosis,
        comment=comment or None,
        is_histology=kind == "histology",
    )
    forget_draft(st.session_state, record.request_id)
    st.session_state["feedback_saved"] = record.request_id
    st.rerun()


def _show_exports(record: Record, texts: Texts, image: Image.Image | None) -> None:
    with st.container(border=True, key="exports"):
        st.markdown(f"##### {texts('record.export')}")
        files = (
            ("pdf", "application/pdf", report_pdf(record, texts, image=image)),
            ("json", "application/json", record_json(record)),
            ("csv", "text/csv", record_csv(record)),
        )
        with st.container(horizontal=True):
            for suffix, mime, data in files:
                st.download_button(
                    texts(f"record.{suffix}"),
                    data,
                    file_name=file_name(record.request_id, suffix),
                    mime=mime,
                    on_click="ignore",
                    key=f"download_{suffix}",
                    icon=":material/download:",
                )
        st.caption(texts("record.export_note"))


if __name__ == "__main__":
    page()
