"""Batch: files, a folder or a zip in; a table with small pictures and a CSV out, with progress and cancel."""

from __future__ import annotations

from typing import Any

import streamlit as st

from lesion_core.imaging import DEFAULT_LIMITS, FILE_SUFFIXES
from lesion_ui import session, shell
from lesion_ui.archive import is_image_name, read_zip
from lesion_ui.asking import Upload
from lesion_ui.batch_job import MOST_IMAGES, BatchJob, results_csv, rows
from lesion_ui.session import Visit
from lesion_ui.shell import visit
from lesion_ui.texts import Texts
from lesion_ui.view import Question, asked_text
from lesion_ui.wording import markdown_text

SOURCES = ("files", "folder", "zip")
MAX_FILE_MB = DEFAULT_LIMITS.max_bytes // 2**20
MAX_ZIP_MB = 500
LOOK_S = 1.0
QUESTION = Question(heat_map=False)


def page() -> None:
    """Lay out the page."""
    here = visit()
    texts = here.texts
    with shell.told(texts):
        st.title(texts("batch.title"), anchor=False)
        if not shell.consented(texts):
            return
        st.markdown(texts("batch.intro"))
        job: BatchJob | None = st.session_state.get(session.BATCH)
        if job is None:
            _choose(here)
        elif job.is_running:
            _watch(texts)
        else:
            _show_done(job, here)


def _choose(here: Visit) -> None:
    texts = here.texts
    source = st.segmented_control(
        texts("batch.source"),
        SOURCES,
        default="files",
        required=True,
        format_func=lambda one: texts(f"batch.source_{one}"),
        key="batch_source",
    )
    st.caption(texts("batch.limits", count=texts.number(MOST_IMAGES), mb=MAX_FILE_MB))
    uploads, skipped = _uploads(source, texts)
    if skipped:
        names = ", ".join(skipped[:5]) + (" …" if len(skipped) > 5 else "")
        st.caption(markdown_text(texts("batch.skipped", count=len(skipped), names=names)))
    if not uploads:
        return
    if len(uploads) > MOST_IMAGES:
        st.error(texts("batch.too_many", count=texts.number(len(uploads)), most=texts.number(MOST_IMAGES)))
        return
    st.markdown(texts("batch.found", count=len(uploads)))
    if st.button(texts("batch.start", count=len(uploads)), type="primary", key="batch_start"):
        st.session_state[session.BATCH] = BatchJob(here.client, uploads, QUESTION)
        st.rerun()


def _uploads(source: str, texts: Texts) -> tuple[list[Upload], list[str]]:
    """Images to send, and names of what is left out."""
    if source == "zip":
        packed = st.file_uploader(texts("batch.zip"), type=["zip"], max_upload_size=MAX_ZIP_MB, key="batch_zip")
        if packed is None:
            return [], []
        unpacked = read_zip(packed.getvalue())
        images = [Upload(id=str(n), name=name, data=data) for n, (name, data) in enumerate(unpacked.images)]
        return images, list(unpacked.skipped)
    many: Any = True if source == "files" else "directory"
    files = st.file_uploader(
        texts("batch.files" if source == "files" else "batch.folder"),
        type=list(FILE_SUFFIXES),
        accept_multiple_files=many,
        max_upload_size=MAX_FILE_MB,
        key=f"batch_{source}",
    )
    images = [Upload(id=one.file_id, name=one.name, data=one.getvalue()) for one in files if is_image_name(one.name)]
    return images, [one.name for one in files if not is_image_name(one.name)]


@st.fragment(run_every=LOOK_S)
def _watch(texts: Texts) -> None:
    """Looks at the job every second, and goes on once it has ended."""
    job: BatchJob | None = st.session_state.get(session.BATCH)
    if job is None or not job.is_running:
        st.rerun()
        return
    session.touch(st.session_state)  # a long batch is no idle session
    done = len(job.results)
    st.progress(done / job.total, text=texts("batch.progress", done=done, total=job.total))
    if st.button(texts("batch.cancel"), key="batch_cancel"):
        job.cancel()
    _show_table(job, texts)


def _show_done(job: BatchJob, here: Visit) -> None:
    texts = here.texts
    results = job.results
    failed = sum(one.prediction is None for one, _ in results)
    if job.is_cancelled:
        st.warning(texts("batch.cancelled", done=len(results), total=job.total))
    elif failed:
        st.warning(texts("batch.finished", total=job.total, failed=failed))
    else:
        st.success(texts("batch.finished", total=job.total, failed=0), icon=":material/check:")
    with st.container(horizontal=True):
        st.download_button(
            texts("batch.download"),
            results_csv(results),
            file_name="lesion-batch.csv",
            mime="text/csv",
            on_click="ignore",
            key="batch_download",
            icon=":material/download:",
        )
        if st.button(texts("batch.again"), key="batch_again"):
            del st.session_state[session.BATCH]
            st.rerun()
    _show_table(job, texts)
    ids = {one.prediction.request_id: one.name for one, _ in results if one.prediction is not None}
    if ids and here.may("read_own"):
        with st.container(border=True, key="batch_open_case"):
            wanted = st.selectbox(
                texts("batch.open"), list(ids), format_func=lambda one: f"{ids[one]} · {one}", key="batch_case"
            )
            if st.button(texts("history.open"), key="batch_open"):
                st.session_state[session.OPEN_RECORD] = wanted
                st.switch_page("screens/record.py")


def _show_table(job: BatchJob, texts: Texts) -> None:
    table = rows(job.results, texts)
    if not table:
        return
    st.caption(f"{asked_text(QUESTION, texts)} {texts('batch.order')}")
    st.dataframe(
        table,
        hide_index=True,
        row_height=64,
        alt=texts("batch.alt"),
        column_config={texts("batch.thumbnail"): st.column_config.ImageColumn(width="small")},
    )


if __name__ == "__main__":
    page()
