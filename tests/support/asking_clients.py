"""Clients that ask a gateway without a pause, each with a key of its own."""

from __future__ import annotations

import secrets
import threading
from collections import Counter

import httpx

from lesion_core.workspace import Workspace
from lesion_serve.engine.engine import BusyError
from lesion_serve.gateway.errors import as_problem
from lesion_serve.gateway.keys import ApiKeys, Role
from lesion_serve.gateway.settings import keys_file
from support.gateway_programs import GatewayProgram
from support.images import encoded_lesion

# The gateway and the engine behind it say "busy" with one code: only the engine's own words tell who it was.
ENGINE_IS_BUSY = as_problem(BusyError("")).detail


def make_key(gateway: GatewayProgram, role: Role) -> str:
    """An API key, for a principal of its own."""
    return ApiKeys(keys_file(Workspace(gateway.home))).create(secrets.token_hex(8), role)


def clinicians(gateway: GatewayProgram, count: int) -> list[str]:
    """API keys of so many clinicians; each has a share of the gateway's places."""
    return [make_key(gateway, Role.CLINICIAN) for _ in range(count)]


class AskingClients:
    """A block in which ``count`` clients ask. Whoever the gateway asks to come again later, does.

    Attributes:
        answered: predictions that arrived.
        put_off: how often the gateway's own admission said when to come again, by its code.
        failures: everything else: what a client had to notice.
    """

    def __init__(self, gateway: GatewayProgram, count: int) -> None:
        self.answered = 0
        self.put_off = Counter[str]()
        self.failures = list[str]()
        self._url = gateway.endpoint.url
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(key,)) for key in clinicians(gateway, count)]

    def __enter__(self) -> AskingClients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "image/jpeg"}
        with httpx.Client(trust_env=False, timeout=120, headers=headers) as client:
            while not self._end.is_set():
                try:
                    answer = client.post(self._url, content=encoded_lesion())
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    continue
                if answer.status_code == 200:
                    self.answered += 1
                    continue
                told = answer.json()
                if told["code"] in ("busy", "too_many_requests") and told["detail"] != ENGINE_IS_BUSY:
                    self.put_off[told["code"]] += 1
                    self._end.wait(float(answer.headers["retry-after"]))
                else:
                    self.failures.append(answer.text)
