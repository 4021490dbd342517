"""Requests that come at a rate of their own, whether or not those before them have been answered.

Written to the socket as they are: a client library takes milliseconds of the processor for each of them, and where that
is the bottleneck, its own queue is measured and no overload reaches the server.
"""

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
    requests = itertools.cycle([_request(url, image, key) for key in keys])
    tasks, began = list[asyncio.Task[Timed]](), time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        while len(tasks) < passed * a_second:
            tasks.append(asyncio.create_task(_ask(url, next(requests))))
        await asyncio.sleep(0.005)
    return list(await asyncio.gather(*tasks))


def _request(url: str, image: bytes, key: str) -> bytes:
    address = httpx.URL(url)
    lines = (
        f"POST {address.path} HTTP/1.1",
        f"Host: {address.host}:{address.port}",
        f"Authorization: Bearer {key}",
        "Content-Type: image/jpeg",
        f"Content-Length: {len(image)}",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode() + image


async def _ask(url: str, request: bytes) -> Timed:
    began, address = time.perf_counter(), httpx.URL(url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(request)
    whole = await reader.read()
    writer.close()
    seconds = time.perf_counter() - began
    head, _, body = whole.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return Timed(httpx.Response(int(first.split()[1]), headers=headers, content=body), seconds)
