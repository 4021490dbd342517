"""Assess: one or several images of one lesion in, an honest answer out."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from functools import partial

import streamlit as st

from lesion_core.datasets.cells import ANATOMICAL_SITES
from lesion_core.imaging import ALLOWED_FORMATS, DEFAULT_LIMITS, FILE_SUFFIXES
from lesion_core.service import SUBJECT_PATTERN
from lesion_ui import session, shell, show
from lesion_ui.asking import Asked, Upload, ask
from lesion_ui.combine import combine, combined_view
from lesion_ui.session import Visit
from lesion_ui.shell import show_problem, visit
from lesion_ui.similar import show_similar
from lesion_ui.texts import Texts
from lesion_ui.view import Question, answer_view, asked_text, problem_view
from lesion_ui.wording import markdown_text

MAX_UPLOAD_MB = DEFAULT_LIMITS.max_bytes // 2**20
MOST_IMAGES = 8
# The fields that are about the patient, each with what it is while nothing is said.
PATIENT_FIELDS: Mapping[str, object] = {"age": None, "sex": None, "site": None, "subject": ""}


def page() -> None:
    """Lay out the page."""
    here = visit()
    texts = here.texts
    with shell.told(texts):
        st.title(texts("assess.title"), anchor=False)
        if not shell.consented(texts):
            return
        st.markdown(texts("assess.intro"))
        left, right = st.columns([2, 3], gap="medium")
        with left:
            question = _question(texts)
            uploads = _uploads(texts)
        st.session_state[session.CHOSEN] = frozenset(one.id for one in uploads)
        asked = _answers(here, uploads, question, right)
        if not asked:
            with right, st.container(key="instruction"):
                st.info(texts("assess.instruction"))
                show.prepare_chart()
        elif len(asked) == 1:
            _show_one(asked[0], here, left, right)
        else:
            with right:
                _show_several(asked, here)


def _question(texts: Texts) -> Question | None:
    """What is known of the patient; ``None`` where the pseudonym cannot be one."""
    with st.expander(texts("assess.patient")):
        age = st.number_input(
            texts("assess.age"), min_value=0, max_value=120, value=None, step=1, key=_patient_key("age")
        )
        sex = st.selectbox(
            texts("assess.sex"),
            ["female", "male"],
            index=None,
            placeholder=texts("word.unknown"),
            format_func=lambda code: texts(f"assess.{code}"),
            key=_patient_key("sex"),
        )
        site = st.selectbox(
            texts("assess.site"),
            ANATOMICAL_SITES,
            index=None,
            placeholder=texts("word.unknown"),
            format_func=texts.site,
            key=_patient_key("site"),
        )
        subject = st.text_input(
            texts("assess.subject"),
            help=texts("assess.subject_help"),
            max_chars=64,
            key=_patient_key("subject"),
            autocomplete="off",
        )
        heat_map = st.toggle(texts("assess.heat_map"), value=True, key="heat_map")
    known = {"age_approx": age, "sex": sex, "anatom_site_general": site}
    metadata = {name: value for name, value in known.items() if value is not None}
    with st.container(key="patient_note"):  # in any case, so that what is below stays in its place
        if st.session_state.get(session.PATIENT_CLEARED) and not metadata and not subject:
            st.info(texts("assess.patient_cleared"))
    if subject and not re.match(SUBJECT_PATTERN, subject):
        st.error(texts("assess.subject_bad"))
        return None
    return Question(metadata=metadata, heat_map=heat_map, subject=subject or None)


def _uploads(texts: Texts) -> list[Upload]:
    sources = ("files", "camera")
    source = st.segmented_control(
        texts("assess.source"),
        sources,
        default="files",
        required=True,
        format_func=lambda one: texts(f"assess.source_{one}"),
        key="source",
        on_change=_leave_images,
    )
    if source == "camera":
        taken = st.camera_input(texts("assess.camera"), key="camera", on_change=_forget_answers)
        files = [] if taken is None else [taken]
    else:
        files = st.file_uploader(
            texts("assess.image"),
            type=list(FILE_SUFFIXES),
            accept_multiple_files=True,
            help=texts("assess.formats", formats=", ".join(ALLOWED_FORMATS)),
            max_upload_size=MAX_UPLOAD_MB,
            key="image",
            on_change=_forget_answers,
        )
    if len(files) > MOST_IMAGES:
        st.warning(texts("assess.too_many", count=MOST_IMAGES))
    return [Upload(id=one.file_id, name=one.name, data=one.getvalue()) for one in files[:MOST_IMAGES]]


def _forget_answers() -> None:
    """What was chosen has changed: nothing of another image, nor of its patient, may stay beside it."""
    held: dict[str, Asked] = st.session_state.get(session.ASSESSMENT, {})
    files = st.session_state.get("image") or []
    taken = st.session_state.get("camera")
    ids = {one.file_id for one in [*files, *([taken] if taken is not None else [])]}
    st.session_state[session.ASSESSMENT] = {name: one for name, one in held.items() if name in ids}
    if st.session_state.get(session.CHOSEN, frozenset()) - ids:  # where one was only added, it is the same lesion
        _forget_patient()


def _leave_images() -> None:
    """Images of the other source are no longer chosen."""
    if st.session_state.get(session.CHOSEN):
        _forget_patient()


def _forget_patient() -> None:
    """What is known of a patient goes with the images that were chosen for them, or it would be said of the next."""
    given = [part for part, empty in PATIENT_FIELDS.items() if st.session_state.get(_patient_key(part), empty) != empty]
    st.session_state[session.PATIENT_CLEARED] = bool(given)
    session.leave_patient(st.session_state)


def _patient_key(part: str) -> str:
    """Of a field about the patient. Each patient's are others: a browser sends again what it still has under a key."""
    patient = st.session_state.setdefault(session.PATIENT, secrets.token_hex(4))
    return f"{part}-{patient}"


def _new_lesion() -> None:
    st.session_state[session.ASSESSMENT] = {}
    _forget_patient()


def _forget_answer(upload_id: str) -> None:
    """It is asked for again with this run of the page."""
    st.session_state.get(session.ASSESSMENT, {}).pop(upload_id, None)


def _answers(here: Visit, uploads: Sequence[Upload], question: Question | None, place: object) -> list[Asked]:
    """Ask once for each upload; drawing the page again shows the same answers, and so does coming back to it."""
    held: dict[str, Asked] = st.session_state.setdefault(session.ASSESSMENT, {})
    texts = here.texts
    with place:  # type: ignore[attr-defined]
        if not uploads:
            if held:
                with st.container(key="kept", horizontal=True, vertical_alignment="center"):
                    st.caption(texts("assess.kept"))
                    st.button(texts("assess.new_lesion"), key="new_lesion", on_click=_new_lesion)
            return list(held.values())
        changed = question is not None and any(
            held[one.id].question != question for one in uploads if one.id in held and held[one.id].prediction
        )
        if changed:
            with st.container(key="changed"):
                st.warning(texts("assess.changed"))
                if st.button(texts("assess.ask_again"), key="ask_again"):
                    held.clear()
        if question is not None:
            endpoint = here.client.endpoint
            waiting = [one for one in uploads if one.id not in held or not held[one.id].is_settled(question, endpoint)]
            if waiting:
                with st.spinner(texts("assess.looking")):
                    held |= {asked.id: asked for asked in ask(here.client, waiting, question)}
    return [held[one.id] for one in uploads if one.id in held]


def _show_one(asked: Asked, here: Visit, left: object, right: object) -> None:
    texts = here.texts
    with left:  # type: ignore[attr-defined]
        if asked.image is not None and st.session_state.get("camera") is None:  # the camera's field shows its picture
            show.show_image(asked.image, texts("assess.alt", name=asked.name))
    if asked.prediction is None:
        with right:  # type: ignore[attr-defined]
            _show_error(asked, texts)
        return
    answer = answer_view(asked.prediction, texts)
    with left:  # type: ignore[attr-defined]
        show.show_quality(answer, texts)
    with right:  # type: ignore[attr-defined]
        show.show_question(asked.question, texts)
        show.show_answer(answer, asked.prediction, texts)
        show_similar(asked.prediction, here)
        _record_button(asked, texts)


def _show_several(asked: Sequence[Asked], here: Visit) -> None:
    """The combined answer first, then each image by itself."""
    texts = here.texts
    answered = [one for one in asked if one.prediction is not None]
    predictions = [one.prediction for one in answered if one.prediction is not None]
    combined = combine(predictions) if len(predictions) > 1 else None
    if combined is not None:
        view = combined_view(combined, texts)
        with st.container(border=True, key="combined"):
            st.markdown(f"#### {texts('combined.title')}")
            st.warning(texts("combined.how"), icon=":material/science:")
            if len(questions := {asked_text(one.question, texts) for one in answered}) > 1:
                st.error(texts("combined.questions"))
            else:
                st.caption(markdown_text(questions.pop()))
            if combined.is_doubtful:
                st.error(texts("combined.none_usable"))
            elif combined.left_out:
                names = [markdown_text(answered[n].name) for n in combined.left_out]
                st.warning(texts("combined.left_out", names=texts.join(names)))
            show.show_alerts(view, suffix="-combined")
            st.caption(view.headline.kicker)
            st.markdown(f"## {markdown_text(view.headline.name)}")
            st.markdown(f"**{markdown_text(view.headline.probability_text)}**")
            st.markdown(f"**{texts('answer.set_title')}** {markdown_text(view.conformal)}")
            show.show_probabilities(view, texts, suffix="-combined")
            show.show_risk(view, suffix="-combined")
            if combined.worst is not None:
                st.caption(texts("combined.worst", name=markdown_text(answered[combined.worst].name)))
    elif len(predictions) > 1:
        versions = sorted({one.model.version for one in predictions})
        st.error(texts("combined.versions", versions=", ".join(versions)))
    if len(answered) < len(asked):
        st.error(texts("combined.failed", count=len(asked) - len(answered)))
    st.markdown(f"#### {texts('assess.each_title')}")
    columns = st.columns(min(len(asked), 3), gap="small")
    for number, one in enumerate(asked):
        with columns[number % len(columns)]:
            _show_card(number, one, texts)
    for number, one in enumerate(asked):
        if one.prediction is not None:
            with st.expander(texts("assess.details", number=number + 1, name=markdown_text(one.name))):
                show.show_answer(answer_view(one.prediction, texts), one.prediction, texts, suffix=f"-{number}")
                show_similar(one.prediction, here, suffix=f"-{number}")


def _show_card(number: int, asked: Asked, texts: Texts) -> None:
    with st.container(border=True, key=f"card-{number}"):
        if asked.image is not None:
            show.show_image(asked.image, texts("assess.alt", name=asked.name), key=f"lesion-{number}")
        st.caption(markdown_text(asked.name))
        if asked.prediction is None:
            _show_error(asked, texts, number)
            return
        show.show_question(asked.question, texts, suffix=f"-{number}")
        answer = answer_view(asked.prediction, texts)
        for note in answer.quality:
            lead = texts("answer.photo_reject" if note.is_reject else "answer.photo_warn")
            st.markdown(f":small[**{'✕' if note.is_reject else '⚠'} {lead}:** {markdown_text(note.sentence)}]")
        st.markdown(f"**{markdown_text(answer.headline.name)}**")
        st.markdown(markdown_text(answer.headline.probability_text))
        st.markdown(markdown_text(answer.risk.title))
        _record_button(asked, texts, number)


def _show_error(asked: Asked, texts: Texts, number: int = 0) -> None:
    assert asked.error is not None
    show_problem(problem_view(asked.error, texts), texts, number=number, forget=partial(_forget_answer, asked.id))


def _record_button(asked: Asked, texts: Texts, number: int = 0) -> None:
    assert asked.prediction is not None
    if not visit().may("read_own"):
        return
    label = texts("assess.open_record")
    if st.button(label, key=f"open_record-{number}", icon=":material/clinical_notes:"):
        st.session_state[session.OPEN_RECORD] = asked.prediction.request_id
        st.switch_page("screens/record.py")


if __name__ == "__main__":
    page()
