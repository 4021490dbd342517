"""Requests that come at a rate of their own, whether or not those before them have been answered."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence

import attrs
import httpx


@attrs.frozen
class Timed:
    """One answer, and the seconds until it was there."""

    answer: httpx.Response
    seconds: float

    @property
    def is_refused(self) -> bool:
        """Told to come again later."""
        return self.answer.status_code in (429, 503)


def ask_at_rate(url: str, image: bytes, keys: Sequence[str], *, a_second: float, seconds: float) -> list[Timed]:
    """Post an image ``a_second`` times a second for ``seconds``, with the keys in turn; every answer."""
    return asyncio.run(_arriving(url, image, keys, a_second=a_second, seconds=seconds))


async def _arriving(url: str, image: bytes, keys: Sequence[str], *, a_second: float, seconds: float) -> list[Timed]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(trust_env=False, timeout=120, limits=limits) as client:

        async def ask(key: str) -> Timed:
            began = time.perf_counter()
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "image/jpeg"}
            answer = await client.post(url, content=image, headers=headers)
            return Timed(answer, time.perf_counter() - began)

        tasks, turn, began = list[asyncio.Task[Timed]](), itertools.cycle(keys), time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            while len(tasks) < passed * a_second:
                tasks.append(asyncio.create_task(ask(next(turn))))
            await asyncio.sleep(0.005)
        return list(await asyncio.gather(*tasks))
