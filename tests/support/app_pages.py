"""The app's pages in Streamlit's own test harness: open one, read it, give it images."""

from __future__ import annotations

from typing import TypeVar

from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Table, Widget, WidgetList

import lesion_ui.app

W = TypeVar("W", bound=Widget)
TIMEOUT_S = 300  # ends what hangs; no test waits for it


def open_app(page: str = "assess", *, consent: bool = True, language: str = "en") -> AppTest:
    """A session on one page, with the note of the beginning read."""
    app = AppTest.from_file(lesion_ui.app.__file__, default_timeout=TIMEOUT_S)
    app.session_state["language"] = language
    if consent:
        app.session_state["has_consented"] = True
    app.run()
    return app if page == "assess" else go_to(app, page)


def go_to(app: AppTest, page: str) -> AppTest:
    """Another page in the same session."""
    return app.switch_page(f"screens/{page}.py").run()


def upload(app: AppTest, *files: tuple[str, bytes], mime: str = "image/png", key: str = "image") -> AppTest:
    """Put these files in place of the ones before."""
    uploader = app.file_uploader(key=key)
    uploader.clear()
    uploader.set_value([(name, data, mime) for name, data in files])
    return app.run()


def add(app: AppTest, name: str, data: bytes, *, key: str = "image") -> AppTest:
    """Put one more file beside those that are there; Streamlit's own way takes those away."""
    uploader = app.file_uploader(key=key)
    before = app.session_state[key]
    uploader.upload(name, data, "image/png")
    assert isinstance(uploader._files, list)
    uploader._files[:0] = [(one.file_id, one.name, one.getvalue(), one.type) for one in before]
    return app.run()


def field(widgets: WidgetList[W], name: str) -> W:
    """The widget of one draft or patient: the rest of its key is another one each time."""
    (found,) = [one for one in widgets if str(one.key).rpartition("-")[0] == name]
    return found


def text(app: AppTest) -> str:
    """Everything that can be read outside charts and tables; fails on a page that did not come to its end."""
    assert not app.exception, app.exception
    kinds = (app.title, app.markdown, app.caption, app.info, app.warning, app.error, app.success)
    return _read("\n".join(str(item.value) for kind in kinds for item in kind))


def column(table: Table, heading: str) -> list[str]:
    """The cells of a table under a heading, as they can be read."""
    return [_read(str(cell)) for cell in table.value[heading]]


def _read(shown: str) -> str:
    """As people read it, without escapes; an ordinary space for every other, and nothing that cannot be seen."""
    return shown.replace("\\", "").replace("\u00a0", " ").replace("\u202f", " ").replace("\u2060", "")
