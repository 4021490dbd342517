"""How far a pass over many images is, which can take minutes: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from tqdm import tqdm

log = structlog.get_logger()

LINE_EVERY_S = 30.0


@contextmanager
def image_bar(images: int, doing: str) -> Iterator[Callable[[int], object]]:
    """Gives what is to be called with how many more are done; a pass that is over soon leaves nothing behind.

    Args:
        images: how many there are.
        doing: what is done with them, in a word or two.
    """
    if not sys.stderr.isatty():
        yield _Lines(images, doing)
        return
    with tqdm(total=images, desc=doing, unit="image", dynamic_ncols=True, leave=False) as bar:
        yield bar.update


class _Lines:
    def __init__(self, images: int, doing: str) -> None:
        self._images, self._doing, self._done = images, doing, 0
        self._last = time.monotonic()

    def __call__(self, images: int) -> None:
        self._done += images
        now = time.monotonic()
        if now - self._last >= LINE_EVERY_S:
            self._last = now
            log.info("images_done", doing=self._doing, done=self._done, of=self._images)
