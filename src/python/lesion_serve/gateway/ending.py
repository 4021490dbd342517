"""How a gateway ends.

At SIGINT or SIGTERM, who is connected is answered if the request begins to arrive within ``ON_ITS_WAY_S``, for
``GRACE_S`` at most; every later connection is refused. A connection that has had an answer may be closed at any time,
as HTTP/1.1 allows (RFC 9112, 9.3.1): a client that keeps one asks again on a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable

import uvicorn

GRACE_S = 30
ON_ITS_WAY_S = 5.0
HANDSHAKE_S = 0.3
LOOK_S = 0.02


class Server(uvicorn.Server):
    """Says when it listens, and ends as this module promises. Its configuration has ``GRACE_S`` for its end."""

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening
        self._greetings = set[asyncio.Task[None]]()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does, then say so."""
        await super().startup(sockets)
        if self.started:
            self._on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new connections, and wait for the first request of those that there are; then as uvicorn does.

        uvicorn would cut both a connection that the kernel has made and nobody has accepted, and one that is accepted
        and whose request has not come.
        """
        left = [one.dup() for one in sockets or []]  # with it open, closing the other resets no connection
        for server in self.servers:
            server.close()
        for one in left:
            self._accept_all(one)
            one.close()
        await asyncio.sleep(HANDSHAKE_S)  # uvicorn does not know a connection before its handshake is done
        deadline = time.monotonic() + ON_ITS_WAY_S
        while self._silent() and time.monotonic() < deadline and not self.force_exit:
            await asyncio.sleep(LOOK_S)
        await super().shutdown(sockets)

    def _accept_all(self, listening: socket.socket) -> None:
        """Those that the kernel has connected and the loop has not seen."""
        listening.setblocking(False)
        loop = asyncio.get_running_loop()
        connected = list[socket.socket]()
        with contextlib.suppress(BlockingIOError):
            while True:
                connected.append(listening.accept()[0])
        for one in connected:
            one.setblocking(False)
            self._greetings.add(loop.create_task(self._greet(one)))

    async def _greet(self, connected: socket.socket) -> None:
        def protocol() -> asyncio.Protocol:
            made: asyncio.Protocol = self.config.http_protocol_class(
                config=self.config,  # type: ignore[call-arg]
                server_state=self.server_state,
                app_state=self.lifespan.state,
            )
            return made

        with contextlib.suppress(OSError):  # it is gone, or speaks no TLS
            await asyncio.get_running_loop().connect_accepted_socket(protocol, connected, ssl=self.config.ssl)

    def _silent(self) -> bool:
        """Whether a connection has not asked for anything yet."""
        return any(not one.done() for one in self._greetings) or any(
            getattr(one, "cycle", one) is None for one in self.server_state.connections
        )
