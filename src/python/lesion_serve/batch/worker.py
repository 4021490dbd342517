"""A worker: answers tasks that come through a connection, one at a time, until it closes. ``pool`` starts it."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Protocol

import cattrs

from lesion_core.errors import LesionError
from lesion_core.logs import configure_logging
from lesion_serve.batch.answering import Answer, Answerer, Model, Task

READY, FAILED = b"ready", b"failed:"


class Answers(Protocol):
    """What a worker asks: an ``Answerer``."""

    def answer(self, task: Task) -> Answer:
        """Answer for one image."""


def serve(connection: Connection, load: Callable[[Model], Answers]) -> None:
    """Read the model, load it, say so, and answer."""
    try:
        answerer = load(cattrs.structure(json.loads(connection.recv_bytes()), Model))
    except (LesionError, OSError) as error:
        connection.send_bytes(FAILED + str(error).encode())
        return
    connection.send_bytes(READY)
    while True:
        connection.send_bytes(answerer.answer(Task.from_json(connection.recv_bytes())).to_json())


def main(load: Callable[[Model], Answers] = Answerer) -> None:
    """The program; its argument is the number of an open file."""
    configure_logging()
    # An end of the connection is the end of the run, one way or the other.
    with contextlib.suppress(EOFError, ConnectionError), Connection(int(sys.argv[1])) as connection:
        serve(connection, load)


if __name__ == "__main__":
    main()
