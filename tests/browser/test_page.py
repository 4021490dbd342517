"""The page in a real browser: what the user sees, not what the server sent."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from support.fake_service import TOKEN
from support.pages import TIMEOUT_MS, AssessPage, wait_until_idle


def test_the_diagnosis_of_an_uploaded_image_can_be_read(assess: AssessPage, image: Path) -> None:
    """With the number at every bar."""
    assess.upload(image)

    assert assess.diagnosis() == "Melanoma"
    shown = [text.replace("\u00a0", " ") for text in assess.numbers()]
    assert shown == ["62 %", "21 %", "9 %", "3 %", "2 %", "1 %", "1 %", "<1 %", "<1 %"]


def test_a_second_image_gets_its_own_answer(assess: AssessPage, image: Path, tmp_path: Path) -> None:
    """Broken here: the message replaces the diagnosis, and the diagnosis the message."""
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 no more than a beginning")

    assert assess.upload(image).diagnosis() == "Melanoma"
    assert "This image cannot be read" in assess.upload(broken).problem()
    assert not assess.shows_diagnosis()
    assert assess.upload(image).diagnosis() == "Melanoma"


def test_the_notice_stays_in_view_down_to_the_end_of_the_page(assess: AssessPage, image: Path) -> None:
    """Before an upload, and after it at both ends of the page."""
    before = assess.notice()
    assess.upload(image)
    top = assess.notice()
    assess.page.locator(".st-key-model").scroll_into_view_if_needed()

    assert {before, top, assess.notice()} == {"Research use only. Not a medical device; not a diagnosis."}


def test_nothing_is_cut_off_at_the_side(assess: AssessPage, image: Path) -> None:
    """No element is wider than the screen; the table stays readable too."""
    assess.upload(image)
    assess.page.get_by_text("The same numbers as a table").click()
    assess.page.locator("table").wait_for()

    width = "document.querySelector('{0}').scrollWidth - document.querySelector('{0}').clientWidth"
    assert assess.page.evaluate(width.format('[data-testid="stMain"]')) == 0
    assert assess.page.evaluate(width.format('[data-testid="stTable"]')) <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_words_of_the_chart_have_the_colour_of_the_text(
    browser: Browser, app_url: str, image: Path, scheme: Literal["light", "dark"]
) -> None:
    """In light and dark: faint numbers are missed."""
    context = browser.new_context(color_scheme=scheme)
    try:
        assess = AssessPage(context.new_page(), app_url).open().upload(image)
        assess.numbers()
        fill = "element => getComputedStyle(element).fill"
        colour = "element => getComputedStyle(element).color"
        text = assess.page.locator(".st-key-diagnosis h2").evaluate(colour)
        assert assess.page.locator(".st-key-chart .bartext").first.evaluate(fill) == text
        assert assess.page.locator(".st-key-chart .ytick text").first.evaluate(fill) == text
    finally:
        context.close()


def test_the_page_asks_nobody_but_the_app(browser: Browser, app_url: str, image: Path) -> None:
    """No fonts, no statistics, no script from elsewhere."""
    context = browser.new_context()
    asked: list[str] = []
    try:
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        AssessPage(page, app_url).open().upload(image).numbers()
    finally:
        context.close()

    assert asked
    assert [url for url in asked if not url.startswith((app_url, "data:", "blob:"))] == []


def test_a_photograph_is_taken_with_the_camera(browser: Browser, app_url: str) -> None:
    """The page asks for it, shows it, and answers; another picture takes the answer away."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, permissions=["camera"])
    try:
        assess = AssessPage(context.new_page(), app_url).open()
        assess.page.get_by_text("Camera", exact=True).click()
        assess.page.wait_for_function("document.querySelector('video')?.readyState === 4")
        assess.page.get_by_role("button", name="Take Photo").click()
        assess.page.locator(".st-key-model").wait_for()
        assert assess.diagnosis() == "Melanoma"
        assess.page.get_by_role("button", name="Clear photo").click()
        assess.wait_until_empty()
        assert not assess.shows_diagnosis()
    finally:
        context.close()


def test_a_folder_of_images_becomes_a_table_and_a_csv(
    browser: Browser, app_url: str, image: Path, tmp_path: Path
) -> None:
    """With its folders; what is no image is left out."""
    folder = tmp_path / "patients"
    for name in ("a/1.png", "a/2.png", "b/3.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, folder / name)
    (folder / "notes.txt").write_text("no image")
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    try:
        page = context.new_page()
        AssessPage(page, app_url).open()
        page.get_by_role("link", name="Batch").click()
        page.get_by_text("Folder", exact=True).click()
        page.locator("input[type=file][webkitdirectory]").set_input_files(folder)
        page.locator(".st-key-batch_start button").click()
        with page.expect_download() as download:
            page.locator(".st-key-batch_download button").click()
        table = tmp_path / "table.csv"
        download.value.save_as(table)
    finally:
        context.close()

    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3, rows


def test_a_whole_visit_from_the_image_to_the_history(
    browser: Browser, app_url: str, image: Path, tmp_path: Path
) -> None:
    """Upload, answer, correct, report, history, monitor: as a clinician does it."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    try:
        page = context.new_page()
        AssessPage(page, app_url).open().upload(image)
        page.get_by_role("button", name="Judge, report, export").click()
        page.get_by_text("It is another diagnosis").click()
        page.get_by_role("combobox", name="Diagnosis").click()
        page.get_by_role("option", name="Melanocytic nevus (NV)").click()
        page.get_by_role("button", name="Save").click()
        page.get_by_text("Saved.").wait_for()
        assert page.get_by_text("another diagnosis – Melanocytic nevus").is_visible()
        wait_until_idle(page)  # the report is made anew
        with page.expect_download() as download:
            page.get_by_role("button", name="PDF report").click()
        report = tmp_path / download.value.suggested_filename
        download.value.save_as(report)
        assert report.name == "lesion-req-0001.pdf"
        assert report.read_bytes().startswith(b"%PDF-")
        page.get_by_role("link", name="History").click()
        page.get_by_text("1–12 of 12, newest first").wait_for()
        page.get_by_role("link", name="Monitor").click()
        page.get_by_text("The mix of diagnoses has changed.").wait_for()
    finally:
        context.close()


def test_a_draft_is_saved_for_its_request_and_stays_there(browser: Browser, app_url: str) -> None:
    """Typed and saved in one go; what is not saved is under no other answer, and still there on coming back."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    try:
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.goto(f"{app_url}/record")
        _open_request(page, "req-0003")
        page.get_by_role("textbox", name="Comment").fill("said of the third")
        page.get_by_role("button", name="Save").click()
        page.get_by_text("Saved.").wait_for()
        page.get_by_text("“said of the third”").wait_for()
        expect(page.get_by_role("textbox", name="Comment")).to_have_value("")

        page.get_by_role("textbox", name="Comment").fill("not yet said")
        page.get_by_text("Open another").click()
        _open_request(page, "req-0004")
        expect(page.get_by_role("textbox", name="Comment")).to_have_value("")
        _open_request(page, "req-0003")
        expect(page.get_by_role("textbox", name="Comment")).to_have_value("not yet said")
    finally:
        context.close()


def test_what_is_known_of_a_patient_goes_with_the_image(assess: AssessPage, image: Path, tmp_path: Path) -> None:
    """The fields are empty for the next one, which is not asked with them."""
    assess.page.get_by_text("Patient and options").click()
    age = assess.page.get_by_role("spinbutton", name="Age in years")
    age.fill("55")
    age.press("Tab")
    assess.upload(image)
    assert assess.page.locator(".st-key-asked").inner_text() == "Asked with: age 55."

    assess.upload(Path(shutil.copy(image, tmp_path / "next.png")))
    assert assess.page.locator(".st-key-asked").inner_text() == "Asked without age, sex and site."
    expect(age).to_have_value("")


def test_another_key_finds_nothing_of_the_one_before(browser: Browser, app_url: str, image: Path) -> None:
    """Not even what the browser still has in its fields."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    try:
        assess = AssessPage(context.new_page(), app_url).open()
        page = assess.page
        page.get_by_text("Patient and options").click()
        page.get_by_role("textbox", name="Your pseudonym").fill("P-1")
        page.get_by_role("textbox", name="Your pseudonym").press("Tab")
        assess.upload(image)
        page.get_by_text("Use another key").click()
        page.get_by_role("textbox", name="API key").fill(TOKEN)
        page.locator(".st-key-sidebar_key").locator("xpath=ancestor::*[@data-testid='stForm']").get_by_role(
            "button", name="Sign in"
        ).click()
        page.get_by_text("You are signed in with another key.").wait_for()
        page.locator(".st-key-begin button").click()
        page.locator(".st-key-consent button").click()
        page.locator(".st-key-instruction").wait_for()
        page.get_by_text("Patient and options").click()
        expect(page.get_by_role("textbox", name="Your pseudonym")).to_have_value("")
        assert not assess.shows_diagnosis()
        assert page.locator('[data-testid="stFileChipDeleteBtn"]').count() == 0
    finally:
        context.close()


def _open_request(page: Page, request_id: str) -> None:
    number = page.get_by_role("textbox", name="Request number")
    number.fill(request_id)
    number.press("Enter")
    page.get_by_text(f"Request {request_id} ·").wait_for()


def test_everything_is_reached_by_keyboard(browser: Browser, app_url: str) -> None:
    """Tab alone comes to every control of the first page, each with a ring around it, and Enter accepts the note."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    try:
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.goto(app_url)
        page.locator(".st-key-consent button").wait_for()
        _tab_to(page, lambda: page.locator(".st-key-consent button:focus").count() == 1)
        page.keyboard.press("Enter")
        page.locator("input[type=file]").wait_for(state="attached")
        wait_until_idle(page)
        reached = _tab_through(page)
    finally:
        context.close()

    for name in ("Assess", "Record", "History", "Batch", "Monitor", "Models", "Help", "Sign out", "Files"):
        assert any(name in label for label, _ in reached), f"{name} is not reached: {reached}"
    assert [label for label, outline in reached if outline == "none"] == []


def _tab_to(page: Page, is_there: Callable[[], bool]) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        if is_there():
            return
    raise AssertionError("60 times Tab did not come there")


def _tab_through(page: Page) -> list[tuple[str, str]]:
    """Words and outline of everything that Tab stops at."""
    look = """() => { const e = document.activeElement; const s = getComputedStyle(e);
        return [(e.getAttribute('aria-label') || '') + ' ' + (e.innerText || e.value || e.tagName),
                s.outlineStyle !== 'none' || s.boxShadow !== 'none' || e.tagName === 'INPUT' || e.tagName === 'BODY'
                ? 'ring' : 'none'] }"""
    found: list[tuple[str, str]] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        label, outline = page.evaluate(look)
        found.append((label, outline))
    return found
