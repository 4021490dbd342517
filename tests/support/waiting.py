"""Wait for what happens by itself, in another thread or program."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], bool], *, timeout_s: float = 400, poll_s: float = 0.1) -> None:
    """Return once ``condition()`` holds; after ``timeout_s`` the test has failed."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"still waiting after {timeout_s:g} s"
        time.sleep(poll_s)
