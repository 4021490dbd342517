"""Which requests are taken on: those that can be answered in time. The others are told at once when to come again.

Under overload a queue without an end makes every answer late and none of them useful. Here a request is taken on only
if the requests before it will, as far as recent ones tell, be done within ``longest_wait_s``; nor can one client fill
the queue: each key has a share of it.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from lesion_core.errors import LesionError

_MEMORY = 0.1  # share of the newest request in the average


class NotAdmittedError(LesionError):
    """Not taken on. ``retry_after_s`` is a whole number of seconds, at least 1.

    Codes: ``busy``: the server has as much to do as it can; ``too_many_requests``: this key has its share already.
    """

    code = "busy"

    def __init__(self, message: str, *, retry_after_s: int, code: str) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class Admission:
    """Counts requests that are being answered or wait. For one event loop."""

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
            at_once: requests that the engine works on at the same time, at least 1.
            longest_wait_s: seconds that a request may wait for those before it.
            share: of all places, in (0, 1], that one key may take.
            first_guess_s: seconds that a request takes, before any was seen.
            clock: seconds, monotonic.
        """
        self._at_once = at_once
        self._longest_wait_s = longest_wait_s
        self._share = share
        self._clock = clock
        self._seconds = first_guess_s
        self._by_key = Counter[str]()
        self._taken = 0

    @property
    def taken(self) -> int:
        """Requests that are being answered or wait."""
        return self._taken

    @property
    def seconds_a_request(self) -> float:
        """What the engine takes for one, averaged over the last ones."""
        return self._seconds

    def expected_wait_s(self) -> float:
        """Seconds until a request that came now would be started."""
        waves = (self._taken - self._at_once + 1) / self._at_once
        return max(0.0, waves) * self._seconds

    @asynccontextmanager
    async def place(self, key_id: str, *, images: int = 1) -> AsyncIterator[None]:
        """A place for a request while it is answered.

        Raises:
            NotAdmittedError: there is none.
        """
        self._require_place(key_id)
        self._taken += images
        self._by_key[key_id] += images
        started, ahead = self._clock(), max(self._taken / self._at_once, 1.0)
        try:
            yield
            # With n requests before it a request takes n times as long: what one takes by itself is a share of it.
            self._seconds += _MEMORY * ((self._clock() - started) / ahead - self._seconds)
        finally:
            self._taken -= images
            self._by_key[key_id] -= images
            if not self._by_key[key_id]:
                del self._by_key[key_id]

    def _require_place(self, key_id: str) -> None:
        wait_s = self.expected_wait_s()
        retry_after_s = max(1, math.ceil(wait_s))
        if wait_s > self._longest_wait_s:
            raise NotAdmittedError(
                f"The server has as much to do as it can answer in time. Try again in {retry_after_s} s.",
                retry_after_s=retry_after_s,
                code="busy",
            )
        places = self._at_once * (1 + self._longest_wait_s / self._seconds)
        if self._by_key[key_id] >= max(self._at_once, places * self._share):
            raise NotAdmittedError(
                f"This API key has {self._by_key[key_id]} requests in progress, which is its share. "
                "Send fewer at a time.",
                retry_after_s=retry_after_s,
                code="too_many_requests",
            )
