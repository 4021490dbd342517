"""The app before a real gateway with a tiny bundle: what a clinician and an engineer do on one day."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from playwright.sync_api import Browser, Page

from lesion_core.processes import free_port
from lesion_core.workspace import Workspace
from lesion_serve.archive import build_archive
from lesion_serve.gateway.keys import ApiKeys, Role
from lesion_serve.gateway.settings import keys_file
from lesion_ui.client import GatewayClient
from support.app_programs import running_app
from support.bundles import make_tiny_bundle
from support.evaluated import evaluated
from support.gateway_programs import GatewayProgram, run_command, running_gateway
from support.pages import TIMEOUT_MS, AssessPage


@attrs.frozen
class Ward:
    """A gateway that serves version 2 and has served 1, and the app, in which users sign in."""

    gateway: GatewayProgram
    app_url: str

    def key(self, role: Role) -> str:
        """A new one."""
        return ApiKeys(keys_file(Workspace(self.gateway.home))).create(role.value, role)

    @property
    def champion(self) -> str:
        """The version that answers."""
        return GatewayClient(self.gateway.endpoint).versions().versions[0].version


@pytest.fixture(scope="module")
def ward(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """Asks for the browser first: without one, nothing is started."""
    home = tmp_path_factory.mktemp("home")
    bundle = evaluated(make_tiny_bundle(home / "plain"), home / "bundle")
    first, second = (build_archive(bundle.folder, home / f"{one}.mar", version=one).path for one in "12")
    port = free_port()
    with running_gateway(home, first, port) as gateway:
        deployed = run_command(home, "deploy", str(second), "--port", str(port))
        assert deployed.returncode == 0, deployed.stderr
        with running_app(home, {"LESION_HOME": str(home)}, "--sign-in") as url:
            yield Ward(gateway, url)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    yield page
    context.close()


def sign_in(page: Page, url: str, key: str) -> None:
    """Open the app and enter a key."""
    page.goto(url)
    page.get_by_role("textbox", name="API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.locator(".st-key-consent button").wait_for()


def test_a_clinician_asks_judges_and_finds_it_again(ward: Ward, page: Page, image: Path) -> None:
    """Sign in, answer, agree, history, record, monitor, models: each page of what the gateway has kept."""
    sign_in(page, ward.app_url, ward.key(Role.CLINICIAN))
    page.get_by_role("link", name="Monitor").click()
    page.get_by_text("Nothing was answered in these days.").wait_for()
    page.get_by_role("link", name="Assess").click()
    page.locator(".st-key-consent button").click()
    assess = AssessPage(page, ward.app_url).upload(image)
    diagnosis = assess.diagnosis()

    page.get_by_role("button", name="Judge, report, export").click()
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Saved.").wait_for()

    page.get_by_role("link", name="History").click()
    page.get_by_text("1–1 of 1, newest first").wait_for()
    page.locator(".st-key-open button").click()
    page.get_by_role("heading", name=diagnosis).wait_for()
    page.get_by_text(": right –").wait_for()

    page.get_by_role("link", name="Monitor").click()
    page.get_by_text("1 answers were judged").wait_for()
    page.get_by_role("link", name="Models").click()
    page.get_by_text("Answers 100 % of the requests").wait_for()
    page.get_by_role("tab", name="Confusion").click()
    page.get_by_text("Measured on synthetic, part test").locator("visible=true").wait_for()
    assert page.get_by_role("tab", name="Promote").count() == 0


def test_an_engineer_rolls_back_and_promotes(ward: Ward, page: Page) -> None:
    """With a reason each time; the gateway changes over, and the history has both."""
    sign_in(page, ward.app_url, ward.key(Role.ENGINEER))
    page.get_by_role("link", name="Models").click()
    for champion in ("1", "2"):
        page.get_by_role("tab", name="Promote").click()
        page.locator(".st-key-deploy_choice label").filter(has_text=champion).last.click()
        page.get_by_role("textbox", name="Why").fill(f"so that {champion} answers")
        page.get_by_text("I have looked").click()
        page.get_by_role("button", name="Change now").click()
        page.get_by_text(f"Done: the champion is {champion}.").wait_for()
        assert ward.champion == champion
    page.get_by_role("tab", name="History").click()
    page.get_by_text("so that 1 answers").locator("visible=true").first.wait_for()
