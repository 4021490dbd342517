"""The gateway as a program: TLS, keys, records, and how it ends."""

from __future__ import annotations

import http.client
import signal
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import attrs
import httpx
import pytest

from lesion_core.processes import child_environment, free_port
from lesion_core.wire import Prediction, from_json
from lesion_core.workspace import Workspace
from lesion_serve.gateway.keys import ApiKeys, Role
from lesion_serve.gateway.settings import keys_file
from lesion_ui.client import GatewayClient
from lesion_ui.refusals import ServiceError
from support.bundles import make_tiny_bundle
from support.certificates import make_certificate
from support.gateway_programs import COMMAND, running_gateway
from support.images import encoded_lesion
from support.waiting import wait_for


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "bundle").folder


def test_with_a_certificate_it_speaks_tls_only_and_takes_keys_made_meanwhile(bundle: Path, tmp_path: Path) -> None:
    """An answer over https is in the store; plain http gets none; a revoked key none either."""
    certificate, private_key = make_certificate(tmp_path, "127.0.0.1")
    options = ("--certificate", str(certificate), "--private-key", str(private_key))
    context = ssl.create_default_context(cafile=str(certificate))
    with running_gateway(tmp_path, bundle, free_port(), *options) as gateway:
        url = gateway.endpoint.url
        keys = ApiKeys(keys_file(Workspace(tmp_path)))
        key = keys.create("a clinic", Role.CLINICIAN)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "image/jpeg"}
        with httpx.Client(verify=context, trust_env=False, timeout=60, headers=headers) as client:
            answer = client.post(url, content=encoded_lesion())
            prediction = from_json(answer.content, Prediction)
            record = client.get(f"{url}/{prediction.request_id}")
            keys.revoke(key.split("_")[1])
            refused = client.post(url, content=encoded_lesion())
        with pytest.raises(httpx.HTTPError):
            httpx.post(url.replace("https", "http"), content=b"", trust_env=False, timeout=60)

    assert url.startswith("https://127.0.0.1")
    assert record.json()["prediction"] == answer.json()
    assert refused.status_code == 401
    verified = subprocess.run(
        [*COMMAND, "audit", "verify"],
        env=child_environment({"LESION_HOME": str(tmp_path)}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_programs_of_this_machine_trust_a_certificate_for_another_name(bundle: Path, tmp_path: Path) -> None:
    """Signed by nobody whom the system knows: command and app find it in the endpoint file; strangers are refused."""
    certificate, private_key = make_certificate(tmp_path, "gateway.example")
    image = tmp_path / "image.png"
    image.write_bytes(encoded_lesion())
    options = ("--certificate", str(certificate), "--private-key", str(private_key))
    with running_gateway(tmp_path, bundle, free_port(), *options) as gateway:
        asked = subprocess.run(
            [*COMMAND, "ask", str(image), "--json"],
            env=child_environment({"LESION_HOME": str(tmp_path)}),
            capture_output=True,
            text=True,
            check=False,
        )
        answer = GatewayClient(gateway.endpoint).predict(image.read_bytes())
        other, _ = make_certificate(tmp_path, "gateway.example", stem="other")
        for stranger in (
            attrs.evolve(gateway.endpoint, server_name="elsewhere.example"),
            attrs.evolve(gateway.endpoint, certificate=str(other)),
            attrs.evolve(gateway.endpoint, certificate=None),
        ):
            with pytest.raises(ServiceError) as refused:
                GatewayClient(stranger).predict(image.read_bytes())
            assert refused.value.code == "unreachable"

    assert asked.returncode == 0, asked.stderr
    assert from_json(asked.stdout, Prediction).probabilities == answer.probabilities


def test_the_app_keeps_an_answer_judges_it_and_reads_it_again(bundle: Path, tmp_path: Path) -> None:
    """Its client and the gateway agree on every route that the app's first pages need."""
    with running_gateway(tmp_path, bundle, free_port()) as gateway:
        client = GatewayClient(gateway.endpoint)
        caller = client.caller()
        answer = client.predict(encoded_lesion(), metadata={"age_approx": 55}, heat_map=True, subject="P-1")
        client.give_feedback(
            answer.request_id, verdict="agree", diagnosis=None, comment="as expected", is_histology=False
        )
        record = client.record(answer.request_id)
        label = client.label()

    assert {"predict", "read_own", "feedback", "models"} <= set(caller.permissions)
    assert answer.heat_map is not None
    assert record.prediction == attrs.evolve(answer, heat_map=None)
    assert record.subject == "P-1"
    assert [(one.verdict, one.comment) for one in record.feedback] == [("agree", "as expected")]
    assert label.model_version == answer.model.version


def test_who_is_connected_at_its_end_is_answered_and_nobody_later(bundle: Path, tmp_path: Path) -> None:
    """Connected while it could not look, silent when SIGTERM came: each is answered; the next one is refused."""
    with running_gateway(tmp_path, bundle, free_port()) as gateway:
        url, headers = httpx.URL(gateway.endpoint.url), gateway.headers
        address = (url.host, url.port)
        gateway.process.send_signal(signal.SIGSTOP)
        clients = [http.client.HTTPConnection(*address, timeout=60) for _ in range(3)]
        for client in clients:
            client.connect()
        gateway.process.terminate()
        gateway.process.send_signal(signal.SIGCONT)
        wait_for(lambda: _is_refused(address))
        time.sleep(1)  # as a client on a busy machine, which takes its time between connecting and asking
        for client in clients:
            client.request("POST", url.path, body=encoded_lesion(), headers=headers)
        answers = [client.getresponse() for client in clients]

        assert [answer.status for answer in answers] == [200, 200, 200]
        for client in clients:
            client.close()
        assert gateway.process.wait(60) == 0


def _is_refused(address: tuple[str, int | None]) -> bool:
    try:
        socket.create_connection(address, timeout=60).close()
    except ConnectionRefusedError:
        return True
    return False


def test_it_ends_with_all_answered_that_it_took_on(bundle: Path, tmp_path: Path) -> None:
    """SIGTERM between requests of eight clients: a connection is refused or answered, never cut."""
    outcomes = list[object]()
    with running_gateway(tmp_path, bundle, free_port(), "--workers", "2") as gateway:
        headers, url = gateway.headers, gateway.endpoint.url

        def ask() -> None:
            while True:
                try:
                    answer = httpx.post(url, content=encoded_lesion(), headers=headers, trust_env=False, timeout=60)
                except httpx.ConnectError:
                    return
                except httpx.HTTPError as error:
                    outcomes.append(error)
                    return
                outcomes.append(answer.status_code)

        clients = [threading.Thread(target=ask) for _ in range(8)]
        for client in clients:
            client.start()
        while len(outcomes) < 20:
            assert gateway.process.poll() is None
        gateway.process.terminate()
        for client in clients:
            client.join()

        assert gateway.process.wait(60) == 0
    assert set(outcomes) <= {200, 429, 503}
    assert not Workspace(tmp_path).endpoint.exists()


def test_a_refusal_reaches_a_client_that_is_still_sending(bundle: Path, tmp_path: Path) -> None:
    """Told so before its image is whole, on a connection that it wants closed: it reads all of it, and is not reset."""
    size = 2**20
    lines = ("POST /v1/predictions HTTP/1.1", "Host: gateway", "Content-Type: image/jpeg", f"Content-Length: {size}")
    with running_gateway(tmp_path, bundle, free_port()) as gateway:
        url = httpx.URL(gateway.endpoint.url)
        with socket.create_connection((url.host, url.port), timeout=60) as client:
            client.sendall("\r\n".join((*lines, "Connection: close", "", "")).encode() + b"x" * 1000)
            told = client.recv(2**16)
            for _ in range(size // 2**16):
                client.sendall(b"x" * 2**16)
            while more := client.recv(2**16):
                told += more

    assert told.startswith(b"HTTP/1.1 401 ")
    assert b'"no_key"' in told
