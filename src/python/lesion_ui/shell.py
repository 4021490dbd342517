"""What is around every page: the notice, the sidebar, signing in, and that whatever happens is told in a sentence."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import streamlit as st
import structlog

from lesion_core.errors import LesionError
from lesion_core.service import Caller
from lesion_ui import palette, session
from lesion_ui.client import GatewayClient
from lesion_ui.session import Visit
from lesion_ui.texts import LANGUAGES, Texts
from lesion_ui.view import ProblemView, problem_view, unexpected
from lesion_ui.wording import markdown_text

WATCH_S = 20

log = structlog.get_logger(__name__)


def visit() -> Visit:
    """The visit that ``app`` has begun for this run of a page."""
    found: Visit = st.session_state[session.VISIT]
    return found


def dress(texts: Texts) -> None:
    """The notice and the style, on every page."""
    css = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    values = {
        "NOTICE_BACKGROUND": palette.NOTICE_BACKGROUND,
        "NOTICE_TEXT": palette.NOTICE_TEXT,
        "FOCUS": palette.ACCENT,
        "BUTTON": palette.BUTTON,
        "ON_BUTTON": palette.ON_BUTTON,
        "CAPTION_OPACITY": palette.CAPTION_OPACITY,
    }
    for name, value in values.items():
        css = css.replace(f"@{name}@", str(value))
    st.html(f"<style>{css}</style>")
    with st.container(key="notice"):
        st.markdown(texts("word.notice"))


def begin(texts: Texts) -> Visit | None:
    """Begin a run of the page: whom to ask and who is asking, or what hinders it on the page and ``None``."""
    minutes = session.idle_minutes(os.environ)
    if session.has_ended(st.session_state, minutes=minutes):
        _show_end(texts, minutes)
        return None
    session.touch(st.session_state)
    _watch(minutes)
    try:
        client = session.connect(st.session_state)
        caller = session.caller(st.session_state, client)
    except LesionError as error:
        log.warning("sign_in_failed", code=error.code)
        if error.code in ("no_key", "refused"):
            _sign_in(texts, problem_view(error, texts) if error.code == "refused" else None)
        else:
            show_problem(problem_view(error, texts), texts)
        return None
    found = Visit(texts=texts, client=client, caller=caller)
    st.session_state[session.VISIT] = found
    return found


@contextmanager
def told(texts: Texts) -> Iterator[None]:
    """Whatever fails within is a sentence on the page, and never a stack trace."""
    try:
        yield
    except LesionError as error:
        log.warning("page_failed", code=error.code, reason=error.message)
        if error.code == "refused":
            st.session_state.pop(session.CALLER, None)
        show_problem(problem_view(error, texts), texts)
    except Exception:
        log.exception("page_failed")
        show_problem(unexpected(texts), texts)


def show_problem(
    problem: ProblemView, texts: Texts, *, number: int = 0, forget: Callable[[], None] | None = None
) -> None:
    """An error in place of an answer.

    Args:
        problem: in words.
        texts: of the user's language.
        number: keeps several on one page apart.
        forget: called where the user tries again, before the page is drawn anew.
    """
    with st.container(key=f"problem-{number}" if number else "problem"):
        lines = [f"**{problem.title}**", problem.advice]
        if problem.message:
            lines.append(f":small[{markdown_text(problem.message)}]")
        st.error("  \n".join(line for line in lines if line), icon=":material/error:")
        if problem.can_retry:
            st.button(texts("word.retry"), key=f"retry-{number}", on_click=forget)


def show_sidebar(texts: Texts, caller: Caller | None) -> None:
    """Language, and who is signed in."""
    with st.sidebar:
        st.selectbox(
            texts("shell.language"),
            list(LANGUAGES),
            index=list(LANGUAGES).index(texts.language),
            format_func=LANGUAGES.__getitem__,
            key="language_choice",
            on_change=_choose_language,
        )
        if caller is None:
            return
        if caller.name:
            role = texts.find(f"role.{caller.role}") or caller.role
            st.caption(markdown_text(texts("shell.account", name=caller.name, role=role)))
        else:
            st.caption(texts("shell.account_local"))
        with st.expander(texts("shell.other_key")):
            _key_form(texts, "sidebar_key")
        if st.button(texts("shell.sign_out"), key="sign_out"):
            session.forget(st.session_state, "signed_out")
            st.rerun()


def consented(texts: Texts) -> bool:
    """Whether this session has read what the program is for; if not, it is asked to."""
    if st.session_state.get(session.CONSENT):
        return True
    with st.container(border=True, key="consent_note"):
        st.markdown(f"#### {texts('consent.title')}")
        st.markdown(texts("consent.text"))
        if st.button(texts("consent.accept"), type="primary", key="consent"):
            st.session_state[session.CONSENT] = True
            st.rerun()
    return False


def _choose_language() -> None:
    st.session_state[session.LANGUAGE] = st.session_state["language_choice"]


def _show_end(texts: Texts, minutes: float) -> None:
    with st.container(key="ended"):
        if st.session_state[session.ENDED] == "idle":
            st.info(f"**{texts('shell.ended_title')}**  \n{texts('shell.ended', minutes=f'{minutes:g}')}")
        else:
            st.info(texts(f"shell.ended_{st.session_state[session.ENDED]}"))
        if st.button(texts("shell.begin"), type="primary", key="begin"):
            del st.session_state[session.ENDED]
            st.rerun()


@st.fragment(run_every=WATCH_S)
def _watch(minutes: float) -> None:
    """Looks by itself whether the session has ended, so that no patient's image stays on an unattended screen."""
    if session.has_ended(st.session_state, minutes=minutes):
        st.rerun()


def _sign_in(texts: Texts, problem: ProblemView | None) -> None:
    with st.container(key="sign_in", width=560):
        st.title(texts("shell.sign_in_title"), anchor=False)
        if problem is not None:
            with st.container(key="problem"):
                st.error(f"**{problem.title}**  \n{problem.advice}", icon=":material/error:")
        st.markdown(texts("shell.sign_in_text"))
        _key_form(texts, "key_entry")


def _key_form(texts: Texts, name: str) -> None:
    with st.form(f"{name}_form", clear_on_submit=True, border=False):
        key = st.text_input(
            texts("shell.key"), type="password", key=name, help=texts("shell.key_help"), autocomplete="off"
        )
        sent = st.form_submit_button(texts("shell.sign_in"), type="primary")
    if not sent or not key.strip():
        return
    try:
        known = session.connect({session.KEY: key.strip()})
        found = GatewayClient(known.endpoint).caller()
    except LesionError as error:
        log.warning("sign_in_refused", code=error.code)
        problem = problem_view(error, texts)
        st.error(f"**{problem.title}**  \n{problem.advice}", icon=":material/error:")
        return
    log.info("signed_in", key_id=found.key_id, role=found.role)
    session.go_on_with(st.session_state, key.strip())
    st.rerun()
