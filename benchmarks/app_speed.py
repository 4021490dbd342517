"""How long does a clinician wait for the app itself? In a real browser, before a service that answers at once.

    ./pants run benchmarks/app_speed.py -- [VISITS]

Each visit is a browser without a cache. Printed, with limits where there are some:

1. From the address to the first paint with content, and to a field that takes an image.
2. From the service's answer to the diagnosis on the page, and to the last bar of the chart.
3. With no service: from the address to the words that say what to do.

The exit code is 1 where a limit does not hold.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import attrs
import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from lesion_core.datasets.synthetic import draw_lesion
from lesion_core.processes import free_port
from support.app_programs import running_app
from support.fake_service import FakeService
from support.pages import AssessPage, launch_chromium

VISITS = 10


class TimedService(FakeService):
    """Knows when it answered the last image."""

    answered = 0.0

    def _reply(self, method: str, target: str, headers: Mapping[str, str], data: bytes) -> tuple[int, bytes]:
        answer = super()._reply(method, target, headers, data)
        if method == "POST":
            self.answered = time.perf_counter()
        return answer


@attrs.frozen
class Waited:
    """Seconds of every visit, and how many the median may have, where that is limited."""

    what: str
    seconds: list[float]
    limit_s: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the median is within its limit."""
        return self.limit_s is None or float(np.median(self.seconds)) <= self.limit_s

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "DOES NOT HOLD"
        bound = "" if self.limit_s is None else f", at most {self.limit_s:.0f} s: {verdict}"
        return f"{self.what:52} median {np.median(self.seconds):5.2f} s, longest {max(self.seconds):5.2f} s{bound}"


def main(visits: int) -> int:
    """Print all of it; how many limits do not hold."""
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as name:
        browser, folder = launch_chromium(playwright), Path(name)
        image = folder / "SYNTHETIC.png"
        Image.fromarray(draw_lesion("MEL", seed=1, side_px=450)).save(image)
        found = [*with_service(browser, folder, image, visits), without_service(browser, folder, visits)]
        browser.close()
    print("\n".join(map(str, found)))
    return sum(not one.holds for one in found)


def with_service(browser: Browser, folder: Path, image: Path, visits: int) -> list[Waited]:
    """Visits that end with an answer."""
    service = TimedService()
    painted, usable, named, drawn = list[float](), list[float](), list[float](), list[float]()
    environment = {"LESION_ENDPOINT_URL": service.endpoint.url, "LESION_ENDPOINT_TOKEN": service.endpoint.token}
    with running_app(folder, environment) as url:
        for _ in range(visits):
            context = browser.new_context(viewport={"width": 1280, "height": 1000})
            page, began = context.new_page(), time.perf_counter()
            AssessPage(page, url).open()
            usable.append(time.perf_counter() - began)
            painted.append(first_paint_s(page))
            page.set_input_files("input[type=file]", image)
            page.locator(".st-key-diagnosis h2").wait_for()
            named.append(time.perf_counter() - service.answered)
            page.locator(".st-key-chart .bartext").last.wait_for()
            drawn.append(time.perf_counter() - service.answered)
            context.close()
    service.close()
    return [
        Waited("first paint with content", painted, 3),
        Waited("a field that takes an image (after the note)", usable),
        Waited("the service's answer, until the diagnosis is there", named, 1),
        Waited("the service's answer, until the chart is drawn", drawn, 1),
    ]


def without_service(browser: Browser, folder: Path, visits: int) -> Waited:
    """Visits that find nobody at the address of the service."""
    told, environment = list[float](), {"LESION_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}/v1/predictions"}
    with running_app(folder, {**environment, "LESION_ENDPOINT_TOKEN": "none"}) as url:
        for _ in range(visits):
            context = browser.new_context()
            page, began = context.new_page(), time.perf_counter()
            page.goto(url)
            page.get_by_text("The prediction service cannot be reached").wait_for()
            told.append(time.perf_counter() - began)
            context.close()
    return Waited("no service: until the page says what to do", told, 2)


def first_paint_s(page: Page) -> float:
    """Seconds from the request of the page to its first contentful paint, as the browser says."""
    script = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    return float(page.evaluate(script)) / 1000


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else VISITS) > 0)
