"""The body of a request: counted as it comes, wanted in time, and read to its end where the answer did not need it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.types import Message, Receive

from lesion_core.errors import LesionError
from lesion_serve.gateway.admission import NotAdmittedError

BODIES_AT_ONCE = 4
LINGER_S = 2.0


class TooLargeError(LesionError):
    """A body of more bytes than the gateway takes."""

    code = "too_many_bytes"

    def __init__(self, limit: int) -> None:
        super().__init__(f"A request may have {limit / 2**20:g} MiB at most. Send fewer or smaller images.")


class UploadTooSlowError(LesionError):
    """A body that was not whole in time."""

    code = "upload_too_slow"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The request was not whole after {seconds:g} s. Send fewer or smaller images.")


class Body:
    """What is still to come of one request."""

    def __init__(
        self, receive: Receive, headers: dict[str, str], *, hold: Callable[[int], None], wait_s: float
    ) -> None:
        """Receive a body.

        Args:
            receive: of the server.
            headers: of the request, by their names in lower case.
            hold: told how many bytes came; may raise.
            wait_s: seconds that a body may take, from when somebody wants it.
        """
        self._receive = receive
        self._hold = hold
        self._wait_s = wait_s
        self._deadline = 0.0
        self._is_over = "transfer-encoding" not in headers and headers.get("content-length", "0") == "0"
        # Who asks whether to send at all takes a refusal for a no.
        self._is_sent = "expect" not in headers

    async def receive(self) -> Message:
        """The next part of it, or that the client went away.

        Raises:
            UploadTooSlowError: it did not come in time.
            LesionError: what ``hold`` raises.
        """
        if self._is_over:
            return await self._receive()
        now = asyncio.get_running_loop().time()
        self._deadline = self._deadline or now + self._wait_s
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._next()
        except TimeoutError as error:
            self._is_over = True  # for us
            raise UploadTooSlowError(self._wait_s) from error
        self._hold(len(message.get("body", b"")))
        return message

    @property
    def is_coming(self) -> bool:
        """Whether more of it will be sent, as far as one can know."""
        return self._is_sent and not self._is_over

    async def pass_over(self, limit: int) -> None:
        """Take in the rest, up to so many bytes and for ``LINGER_S`` seconds, and keep nothing of it.

        Whoever closes a connection on which something is still coming resets it, and the client may lose the answer.
        """
        try:
            async with asyncio.timeout(LINGER_S):
                while limit > 0 and not self._is_over:
                    limit -= len((await self._next()).get("body", b""))
        except TimeoutError:
            self._is_over = True

    async def _next(self) -> Message:
        self._is_sent = True
        message = await self._receive()
        self._is_over = not message.get("more_body", False)  # as does that the client went away
        return message


class Room:
    """Bytes of bodies in memory: of one request, of all at the same time, and of one key half of these."""

    def __init__(self, request_bytes: int) -> None:
        """Make room for ``BODIES_AT_ONCE`` bodies of ``request_bytes``, which is what one request may have."""
        self._request_bytes = request_bytes
        self._bytes = BODIES_AT_ONCE * request_bytes
        self._held = 0
        self._by_key = Counter[str | None]()

    @contextmanager
    def request(self, key_id: Callable[[], str | None]) -> Iterator[Callable[[int], None]]:
        """Yields what is to be told how many bytes came of one request; they are held until it has been answered.

        Args:
            key_id: of whoever asks, once bytes come; ``None`` without keys.
        Raises:
            TooLargeError, NotAdmittedError: by what is yielded; there is no room for more.
        """
        held = 0
        key: str | None = None

        def hold(size: int) -> None:
            nonlocal held, key
            key = key_id() if key is None else key
            held += size
            self._held += size
            self._by_key[key] += size
            if held > self._request_bytes:
                raise TooLargeError(self._request_bytes)
            if key is not None and self._by_key[key] > self._bytes // 2:
                raise NotAdmittedError(
                    "The server holds as many images of this API key as it may have. Send fewer at a time.",
                    retry_after_s=1,
                    code="too_many_requests",
                )
            if self._held > self._bytes:
                raise NotAdmittedError(
                    "The server holds as many images as it has room for. Try again in 1 s.",
                    retry_after_s=1,
                    code="busy",
                )

        try:
            yield hold
        finally:
            self._held -= held
            self._by_key[key] -= held
            if not self._by_key[key]:
                del self._by_key[key]
