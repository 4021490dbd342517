"""History: search and filter what was answered, open a case again, export the list."""

from __future__ import annotations

import streamlit as st

from lesion_core.errors import LesionError
from lesion_core.taxonomy import ISIC_2019
from lesion_ui import session, shell
from lesion_ui.export import lines_csv
from lesion_ui.history_view import (
    BANDS,
    MOST_ROWS,
    PAGE_ROWS,
    REVIEWS,
    Filters,
    choice,
    diagnosis_name,
    fetch_all,
    rows,
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
        names = _names(here)
        filters = _filters(names, texts)
        key = repr(filters)
        if st.session_state.get("history_filters") != key:
            st.session_state["history_filters"] = key
            st.session_state["history_cursors"] = [None]
        _show_list(filters, names, here)


def _names(here: Visit) -> dict[str, str]:
    """Names of the classes that answers may have; the list is of use without them."""
    known = {one.code: one.name for one in ISIC_2019.diagnoses}
    try:
        return {one.code: one.name for one in here.client.label().diagnoses}
    except LesionError:
        return known


def _filters(names: dict[str, str], texts: Texts) -> Filters:
    everything = texts("word.all")
    with st.expander(texts("history.filters"), icon=":material/filter_alt:"):
        first = st.columns(4, gap="small")
        since = first[0].date_input(texts("history.since"), value=None, key="filter_since", format="YYYY-MM-DD")
        until = first[1].date_input(texts("history.until"), value=None, key="filter_until", format="YYYY-MM-DD")
        top = first[2].selectbox(
            texts("history.top"),
            [None, *names],
            format_func=lambda code: everything if code is None else diagnosis_name(code, names, texts),
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


def _show_list(filters: Filters, names: dict[str, str], here: Visit) -> None:
    texts = here.texts
    cursors: list[str | None] = st.session_state["history_cursors"]
    found = here.client.predictions(**filters.query(), limit=PAGE_ROWS, cursor=cursors[-1])
    if not found.items:
        st.info(texts("history.empty" if filters == Filters() else "history.nothing"))
        return
    first = (len(cursors) - 1) * PAGE_ROWS + 1
    st.caption(texts("history.shown", first=texts.number(first), last=texts.number(first + len(found.items) - 1)))
    table = rows(found.items, names, texts)
    st.dataframe(
        table, hide_index=True, key="history_table", height=min(36 * (len(table) + 1), 460), alt=texts("history.alt")
    )
    with st.container(horizontal=True):
        if st.button(texts("history.newer"), disabled=len(cursors) == 1, key="newer"):
            cursors.pop()
            st.rerun()
        if st.button(texts("history.older"), disabled=found.next is None, key="older"):
            cursors.append(found.next)
            st.rerun()
    lines = {line.request_id: line for line in found.items}
    with st.container(border=True, key="open_case"):
        wanted = st.selectbox(
            texts("history.case"),
            list(lines),
            format_func=lambda one: choice(lines[one], names, texts),
            key="case",
        )
        if st.button(texts("history.open"), type="primary", key="open", disabled=wanted is None):
            st.session_state[session.OPEN_RECORD] = wanted
            st.switch_page("screens/record.py")
    _show_export(filters, here)


def _show_export(filters: Filters, here: Visit) -> None:
    """The whole list as CSV: collected when it is asked for, since it may be long."""
    texts = here.texts
    with st.container(border=True, key="export_list"):
        if st.button(texts("history.collect"), key="collect"):
            with st.spinner(texts("history.collecting")):
                lines, is_cut = fetch_all(here.client, filters)
            st.session_state["history_export"] = (repr(filters), len(lines), lines_csv(lines), is_cut)
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
