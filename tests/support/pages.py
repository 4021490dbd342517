"""The app's page as a user meets it, for tests that drive a real browser."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import attrs
import pytest
from playwright.sync_api import Browser, Locator, Page, Playwright, expect

# A busy machine draws slowly; waits end as soon as what they wait for is there.
TIMEOUT_MS = 120_000
NAMES = ("chromium", "chromium-browser", "google-chrome")
# No sandbox, because tests may run as root; the rest keeps the browser from asking anybody but the app.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A camera that shows a moving picture, and needs no permission.
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


def find_chromium() -> str | None:
    """Path of the browser: ``LESION_CHROMIUM``, else the first of ``NAMES`` on PATH."""
    found = (shutil.which(name) for name in NAMES)
    return os.environ.get("LESION_CHROMIUM") or next((path for path in found if path), None)


def launch_chromium(playwright: Playwright) -> Browser:
    """Start a headless browser; skips the test, with the reason, where there is none."""
    path = find_chromium()
    if path is None:
        pytest.skip(f"needs a browser: install one of {', '.join(NAMES)}, or set LESION_CHROMIUM to its path")
    return playwright.chromium.launch(executable_path=path, args=list(FLAGS))


def wait_until_idle(page: Page) -> None:
    """Until Streamlit has run the page's script to its end."""
    page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for()


@attrs.frozen
class AssessPage:
    """The page that assesses one image. ``upload`` returns when the answer, or the reason for none, is complete."""

    page: Page
    url: str

    def open(self) -> AssessPage:
        """Load the page, accept what the program is for, and wait until it takes an image."""
        self.page.set_default_timeout(TIMEOUT_MS)
        self.page.goto(self.url)
        self.page.locator(".st-key-consent button").click()
        self.page.locator("input[type=file]").wait_for(state="attached")
        return self

    def upload(self, path: Path) -> AssessPage:
        """Choose an image, after taking back the one before, so that no old answer is mistaken for the new one."""
        remove = self.page.locator('[data-testid="stFileChipDeleteBtn"] button')
        if remove.count():
            remove.first.click()
            self.wait_until_empty()
        self.page.set_input_files("input[type=file]", path)
        # The model line is drawn last.
        self._wait_for(self._answer, self.page.locator(".st-key-instruction"))
        return self

    def wait_until_empty(self) -> None:
        """The page asks for an image, and the answer to the one before is taken away."""
        self._wait_for(self.page.locator(".st-key-instruction"), self._answer)

    @property
    def _answer(self) -> Locator:
        return self.page.locator(".st-key-model, .st-key-problem")

    def _wait_for(self, new: Locator, old: Locator) -> None:
        """Until the script is done, ``new`` is there and ``old`` taken away, which Streamlit does some time later."""
        expect(new).to_have_count(1, timeout=TIMEOUT_MS)
        expect(old).to_have_count(0, timeout=TIMEOUT_MS)
        wait_until_idle(self.page)

    def shows_diagnosis(self) -> bool:
        """Whether any diagnosis is on the page."""
        return self.page.locator(".st-key-diagnosis").count() > 0

    def diagnosis(self) -> str:
        """Name of the top diagnosis."""
        return self.page.locator(".st-key-diagnosis h2").inner_text().strip()

    def numbers(self) -> list[str]:
        """Probabilities as they stand at the bars, from top to bottom."""
        self.page.locator(".st-key-chart .bartext").first.wait_for()
        return self.page.locator(".st-key-chart .bartext").all_text_contents()

    def problem(self) -> str:
        """The message in place of an answer."""
        return self.page.locator(".st-key-problem").inner_text()

    def notice(self) -> str:
        """The notice, where it is in view."""
        notice = self.page.locator(".st-key-notice p")
        box, size = notice.bounding_box(), self.page.viewport_size
        if box is None or size is None or box["y"] < 0 or box["y"] + box["height"] > size["height"]:
            return ""
        return notice.inner_text()
