"""History: search and filter what was answered, open a case again, export the list."""

from __future__ import annotations

import streamlit as st

from lesion_core.service import DiagnosisLine, Page
from lesion_ui import session, shell
from lesion_ui.export import lines_csv
from lesion_ui.history_view import (
    BANDS,
    MOST_ROWS,
    REVIEWS,
    Diagnoses,
    Filters,
    choice,
    diagnosis_name,
    fetch_all,
    fetch_page,
    learn_taxonomies,
    rows,
    served_diagnoses,
)
from lesion_ui.session import Visit
from lesion_ui.shell import visit
from lesion_ui.texts import Texts


def page() -> None:
    """Lay out the page."""
    here = visit()
    texts = here.texts
    with shell.told(texts):
        st.title(texts("history.title"), anchor=False)
        st.caption(texts("history.scope_all" if here.may("read_all") else "history.scope_own"))
        filters = _filters(_choices(here), texts)
        key = repr(filters)
        if st.session_state.get("history_filters") != key:
            st.session_state["history_filters"] = key
            st.session_state["history_starts"] = [(None, 0)]
        _show_list(filters, here)


def _taxonomies() -> dict[str, Diagnoses]:
    """What is known of the diagnoses of each version, in this session."""
    known: dict[str, Diagnoses] = st.session_state.setdefault(session.TAXONOMIES, {})
    return known


def _choices(here: Visit) -> Diagnoses:
    """Classes that answers may have: of the version that answers now, and of those that were seen in the list."""
    found: dict[str, DiagnosisLine] = {}
    for known in (served_diagnoses(here.client), *_taxonomies().values()):
        found |= {code: one for code, one in known.items() if code not in found}
    return found


def _filters(known: Diagnoses, texts: Texts) -> Filters:
    everything = texts("word.all")
    with st.expander(texts("history.filters"), icon=":material/filter_alt:"):
        first = st.columns(4, gap="small")
        since = first[0].date_input(texts("history.since"), value=None, key="filter_since", format="YYYY-MM-DD")
        until = first[1].date_input(texts("history.until"), value=None, key="filter_until", format="YYYY-MM-DD")
        top = first[2].selectbox(
            texts("history.top"),
            [None, *known],
            format_func=lambda code: everything if code is None else diagnosis_name(code, known, texts),
            key="filter_top",
        )
        band = first[3].selectbox(
            texts("history.band"),
            [None, *BANDS],
            format_func=lambda one: everything if one is None else texts(f"band.{one}"),
            key="filter_band",
        )
        second = st.columns(4, gap="small")
        review = second[0].selectbox(
            texts("history.review"),
            [None, *REVIEWS],
            format_func=lambda one: everything if one is None else texts(f"history.review_{one}"),
            key="filter_review",
        )
        version = second[1].text_input(texts("history.version"), key="filter_version", max_chars=64)
        subject = second[2].text_input(texts("history.subject"), key="filter_subject", max_chars=64, autocomplete="off")
    return Filters(
        since=since,
        until=until,
        top=top,
        band=band,
        review=review,
        version=version.strip() or None,
        subject=subject.strip() or None,
    )


def _show_list(filters: Filters, here: Visit) -> None:
    texts = here.texts
    starts: list[tuple[str | None, int]] = st.session_state["history_starts"]  # of the pages: cursor, lines before
    cursor, before = starts[-1]
    found = fetch_page(here.client, filters, cursor)
    if not found.items and found.next is None and not before:
        st.info(texts("history.empty" if filters == Filters() else "history.nothing"))
        return
    known = _taxonomies()
    learn_taxonomies(here.client, found.items, known)
    st.caption(_shown(found, before, texts))
    if found.items:
        table = rows(found.items, known, texts)
        height = min(36 * (len(table) + 1), 460)
        st.dataframe(table, hide_index=True, key="history_table", height=height, alt=texts("history.alt"))
    with st.container(horizontal=True):
        if st.button(texts("history.newer"), disabled=len(starts) == 1, key="newer"):
            starts.pop()
            st.rerun()
        if st.button(texts("history.older"), disabled=found.next is None, key="older"):
            starts.append((found.next, before + len(found.items)))
            st.rerun()
    if found.items:
        _show_choice(found, here)
    _show_export(filters, here)


def _shown(found: Page, before: int, texts: Texts) -> str:
    """Which lines of how many: as many as were counted on the way here, and whether there are more."""
    last = before + len(found.items)
    if not found.items:
        return texts("history.none_further" if found.next is None else "history.none_so_far")
    numbers = {"first": texts.number(before + 1), "last": texts.number(last)}
    return texts("history.shown" if found.next is None else "history.shown_of_more", **numbers)


def _show_choice(found: Page, here: Visit) -> None:
    texts, known = here.texts, _taxonomies()
    lines = {line.request_id: line for line in found.items}
    with st.container(border=True, key="open_case"):
        wanted = st.selectbox(
            texts("history.case"),
            list(lines),
            format_func=lambda one: choice(lines[one], known, texts),
            key="case",
        )
        if st.button(texts("history.open"), type="primary", key="open", disabled=wanted is None):
            st.session_state[session.OPEN_RECORD] = wanted
            st.switch_page("screens/record.py")


def _show_export(filters: Filters, here: Visit) -> None:
    """The whole list as CSV: collected when it is asked for, since it may be long."""
    texts = here.texts
    with st.container(border=True, key="export_list"):
        if st.button(texts("history.collect"), key="collect"):
            with st.spinner(texts("history.collecting")):
                lines, is_cut = fetch_all(here.client, filters)
                learn_taxonomies(here.client, lines, _taxonomies())
            made_of = (repr(filters), len(lines), lines_csv(lines, _taxonomies()), is_cut)
            st.session_state["history_export"] = made_of
        made = st.session_state.get("history_export")
        if made is None or made[0] != repr(filters):
            st.caption(texts("history.export_note", most=texts.number(MOST_ROWS)))
            return
        if made[3]:
            st.warning(texts("history.cut", most=texts.number(MOST_ROWS)))
        st.download_button(
            texts("history.download", rows=texts.number(made[1])),
            made[2],
            file_name="lesion-history.csv",
            mime="text/csv",
            on_click="ignore",
            key="download_history",
            icon=":material/download:",
        )


if __name__ == "__main__":
    page()
