"""Which requests are taken on: those that can be answered in time. The others are told at once when to come again.

Under overload a queue without an end makes every answer late and none of them useful. Here a request is taken on only
if the requests before it will, as far as recent ones tell, be done within ``longest_wait_s``; nor can one client fill
the queue: each key has a share of it. A form with many images is taken on or refused as a whole.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from lesion_core.errors import LesionError

_MEMORY = 0.1  # share of the newest image in the average


class NotAdmittedError(LesionError):
    """Not taken on. ``retry_after_s`` is a whole number of seconds, at least 1.

    Codes: ``busy``: the server has as much to do as it can; ``too_many_requests``: this key has its share already.
    """

    code = "busy"

    def __init__(self, message: str, *, retry_after_s: int, code: str) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class Admission:
    """Counts images that are being answered or wait. For one event loop."""

    def __init__(
        self,
        *,
        at_once: int,
        longest_wait_s: float = 1.5,
        share: float = 0.75,
        first_guess_s: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set the limits.

        Args:
            at_once: images that the engine works on at the same time, at least 1.
            longest_wait_s: seconds that an image may wait for those before it.
            share: of all places, in (0, 1], above which a key gets no further one.
            first_guess_s: seconds that an image takes, before any was seen.
            clock: seconds, monotonic.
        """
        self.at_once = at_once
        self._longest_wait_s = longest_wait_s
        self._share = share
        self._clock = clock
        self._seconds = first_guess_s
        self._by_key = Counter[str]()
        self._taken = 0  # places: images that wait here, that wait in the engine's queue, and that it works on
        self._asked = 0  # of these the ones that the engine has

    @property
    def taken(self) -> int:
        """Images that are being answered or wait."""
        return self._taken

    @property
    def seconds_an_image(self) -> float:
        """What the engine takes for one, averaged over the last ones."""
        return self._seconds

    def expected_wait_s(self) -> float:
        """Seconds until an image that came now would be started."""
        waves = (self._taken - self.at_once + 1) / self.at_once
        return max(0.0, waves) * self._seconds

    def require_place(self, key_id: str) -> None:
        """Make sure that there is a place now; none is taken.

        Raises:
            NotAdmittedError: there is none.
        """
        wait_s = self.expected_wait_s()
        retry_after_s = max(1, math.ceil(wait_s))
        # However slow a model is, one may wait until the one that it works on is done.
        if wait_s > max(self._longest_wait_s, self._seconds):
            raise NotAdmittedError(
                f"The server has as much to do as it can answer in time. Try again in {retry_after_s} s.",
                retry_after_s=retry_after_s,
                code="busy",
            )
        places = self.at_once * (1 + self._longest_wait_s / self._seconds)
        if self._by_key[key_id] >= max(self.at_once, places * self._share):
            raise NotAdmittedError(
                f"This API key has {self._by_key[key_id]} images in progress, which is its share. "
                "Send fewer at a time.",
                retry_after_s=retry_after_s,
                code="too_many_requests",
            )

    @asynccontextmanager
    async def places(self, key_id: str, *, images: int = 1) -> AsyncIterator[Places]:
        """Places for the images of one request, all or none: it is taken on if its first image is started in time.

        Raises:
            NotAdmittedError: there are none.
        """
        self.require_place(key_id)
        self._take(key_id, images)
        places = Places(self, key_id, images)
        try:
            yield places
        finally:
            self._take(key_id, -places.left)

    @asynccontextmanager
    async def _turn(self, key_id: str) -> AsyncIterator[None]:
        """One image, while the engine has it."""
        self._asked += 1
        started, ahead = self._clock(), max(self._asked / self.at_once, 1.0)
        try:
            yield
            # With n images before it one takes n times as long: what it takes by itself is a share of that.
            self._seconds += _MEMORY * ((self._clock() - started) / ahead - self._seconds)
        finally:
            self._asked -= 1
            self._take(key_id, -1)

    def _take(self, key_id: str, images: int) -> None:
        self._taken += images
        self._by_key[key_id] += images
        if not self._by_key[key_id]:
            del self._by_key[key_id]


class Places:
    """The places of one request. Its images go to the engine as that has room, and not all at once: its own queue is
    shorter than a form may be."""

    def __init__(self, admission: Admission, key_id: str, images: int) -> None:
        self.left = images
        self._admission = admission
        self._key_id = key_id
        self._at_once = asyncio.Semaphore(admission.at_once)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the turn of one image; its place is given back when it has been answered."""
        async with self._at_once:
            self.left -= 1
            async with self._admission._turn(self._key_id):
                yield
