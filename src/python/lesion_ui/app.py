"""The app: Streamlit runs this file, ``lesion-ui`` starts it. Pages for what the caller's role may do.

Only the frame is here: ``screens/`` lays out, ``view`` and its like say what is said, ``client`` asks.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import attrs
import streamlit as st
import structlog

from lesion_core.service import Caller
from lesion_ui import shell
from lesion_ui.screens import assess, batch, history, models, monitor, record
from lesion_ui.screens import help as help_page
from lesion_ui.session import current_texts, leave_patient
from lesion_ui.texts import Texts

log = structlog.get_logger(__name__)


@attrs.frozen
class Entry:
    """One page of the navigation: its name in addresses and texts, and the permission that it needs, if any."""

    name: str
    module: ModuleType
    icon: str
    needs: str | None

    def page(self, texts: Texts, *, is_default: bool) -> st.Page:
        """As Streamlit takes it."""
        path = Path(str(self.module.__file__))
        title = texts(f"shell.{self.name}")
        return st.Page(path, title=title, icon=self.icon, url_path=self.name, default=is_default)


ENTRIES = (
    Entry("assess", assess, ":material/dermatology:", "predict"),
    Entry("record", record, ":material/clinical_notes:", "read_own"),
    Entry("history", history, ":material/history:", "read_own"),
    Entry("batch", batch, ":material/grid_view:", "predict"),
    Entry("monitor", monitor, ":material/monitoring:", "monitor"),
    Entry("models", models, ":material/model_training:", "models"),
    Entry("help", help_page, ":material/help:", None),
)


def entries_for(caller: Caller) -> tuple[Entry, ...]:
    """The pages that a role may see."""
    return tuple(entry for entry in ENTRIES if entry.needs is None or entry.needs in caller.permissions)


def main() -> None:
    """Lay out one run. Whatever happens, the user reads a sentence and never a stack trace."""
    texts = current_texts(st.session_state, st.context.locale)
    st.set_page_config(page_title=texts("shell.page_title"), page_icon="🔬", layout="wide")
    shell.dress(texts)
    run: Callable[[], None] | None = None
    with shell.told(texts):
        visit = shell.begin(texts)
        entries = ENTRIES if visit is None else entries_for(visit.caller)
        pages = [one.page(texts, is_default=one is entries[0]) for one in entries]
        page = st.navigation(pages, position="sidebar" if visit is not None else "hidden")
        if entries[pages.index(page)].module is not assess:
            leave_patient(st.session_state)  # as the images stay behind with their page
        shell.show_sidebar(texts, None if visit is None else visit.caller)
        run = page.run if visit is not None else None
    if run is not None:
        run()


if __name__ == "__main__":
    main()
