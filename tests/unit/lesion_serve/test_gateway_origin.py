"""Requests that a page of anybody's makes a browser send to a gateway on the same machine."""

from __future__ import annotations

import pytest

from support.gateways import IMAGE, JPEG, GatewayUnderTest, problem_of

ROUTES = [
    ("GET", "/v1/predictions"),
    ("GET", "/v1/caller"),
    ("GET", "/v1/versions"),
    ("GET", "/metrics"),
    ("POST", "/v1/predictions"),
    ("POST", "/v1/deployment"),
    ("POST", "/v1/predictions/some-id-1/feedback"),
]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "attacker.example"},
        {"Host": "attacker.example:8000"},
        {"Host": "127.0.0.1.attacker.example:8000"},
        {"Host": "attacker.example@127.0.0.1"},
        {"Host": "192.168.1.2"},
        {"Host": ""},
        {"Origin": "https://attacker.example"},
        {"Origin": "http://127.0.0.1.attacker.example"},
        {"Origin": "null"},
        {"Origin": "file://localhost"},
    ],
)
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_keys_nothing_is_for_a_page_of_another_host(
    method: str, path: str, headers: dict[str, str], gateway: GatewayUnderTest
) -> None:
    """Neither to change what serves nor, by a name that leads to loopback, to read what was answered."""
    answer = gateway.send(method, path, headers=headers)

    assert (answer.status_code, problem_of(answer)["code"]) == (403, "foreign_request")
    assert "127.0.0.1" in answer.json()["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:9000"},
        {"Host": "[::1]:8000"},
        {"Host": "[::1]"},
        {"Host": "LOCALHOST:8000"},
        {"Host": "localhost", "Origin": "http://localhost:8501"},
        {"Origin": "https://[::1]:8501"},
    ],
)
def test_programs_and_pages_of_this_machine_need_no_key(headers: dict[str, str], gateway: GatewayUnderTest) -> None:
    """By whichever name of loopback they ask."""
    assert gateway.ask(headers={**JPEG, **headers}).status_code == 200
    assert gateway.send("GET", "/v1/predictions", headers=headers).status_code == 200


def test_with_a_key_every_name_is_a_good_one(guarded: GatewayUnderTest) -> None:
    """No page has the key; and a gateway with a certificate has a name of its own."""
    answer = guarded.send("POST", "/v1/predictions", content=IMAGE, headers={**JPEG, "Host": "lesion.example"})

    assert problem_of(answer)["code"] == "no_key"


@pytest.mark.parametrize("media_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
@pytest.mark.parametrize("path", ["/v1/deployment", "/v1/predictions/some-id-1/feedback"])
def test_what_is_said_in_json_has_to_come_as_json(path: str, media_type: str | None, gateway: GatewayUnderTest) -> None:
    """These are the types that a browser sends to any address without asking first."""
    headers = {"Content-Type": media_type} if media_type else {}
    answer = gateway.send("POST", path, content=b'{"action": "rollback"}', headers=headers)

    assert (answer.status_code, problem_of(answer)["code"]) == (415, "unsupported_request")
    assert "Content-Type: application/json" in answer.json()["detail"]


def test_json_may_name_its_encoding(gateway: GatewayUnderTest) -> None:
    """As many clients do."""
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    answer = gateway.send("POST", "/v1/deployment", content=b"{}", headers=headers)

    assert problem_of(answer)["code"] == "bad_deployment"
