"""What the gateway says of itself holds: schemathesis sends what its description allows, and what it does not."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import msgspec
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth
from starlette.routing import Route

from lesion_core.workspace import Workspace
from lesion_serve.deploy import deploy
from lesion_serve.gateway.examples import EVALUATION, EXAMPLES
from lesion_serve.gateway.messages import DeploymentBody, FeedbackBody
from support.bundles import make_tiny_bundle
from support.gateways import GatewayUnderTest

pytest_plugins = ("schemathesis.pytest.plugin",)
# Bytes as all other images; schemathesis knows fewer media types than the gateway.
schemathesis.serializer.alias(["application/dicom", "image/bmp", "image/tiff"], "application/octet-stream")
# Here and not in a fixture: schemathesis makes the tests from the description when this module is read.
FOLDER = tempfile.TemporaryDirectory()
GATEWAY = GatewayUnderTest(Path(FOLDER.name), max_body_bytes=2**20)
TOKEN = "a-token-of-this-machine"
GUARDED_FOLDER = tempfile.TemporaryDirectory()
GUARDED = GatewayUnderTest(Path(GUARDED_FOLDER.name), max_body_bytes=2**20, with_keys=True, local_token=TOKEN)
BUNDLE = make_tiny_bundle(Path(FOLDER.name) / "bundle")
for each, folder in ((GATEWAY, FOLDER), (GUARDED, GUARDED_FOLDER)):
    deploy(each.deployments, str(BUNDLE.folder), workspace=Workspace(Path(folder.name) / "home"))
schema = schemathesis.openapi.from_asgi("/openapi.json", GATEWAY.app)
guarded = schemathesis.openapi.from_asgi("/openapi.json", GUARDED.app)
guarded.config.generation.update(modes=[GenerationMode.POSITIVE])
# The same examples in each run: some are wrong only in their type, which a form, being text, does not carry.
repeatable = settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


@schema.parametrize()
@repeatable
def test_every_answer_is_one_that_the_description_names(case: Case) -> None:
    """Status, content type and schema; valid requests are taken, invalid ones refused; nothing is a 500."""
    case.call_and_validate()


@guarded.parametrize()
@settings(repeatable, max_examples=300)
def test_whatever_the_description_allows_is_answered(case: Case) -> None:
    """With a valid key; that none and a wrong one are refused is tested by itself."""
    case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"}, excluded_checks=[ignored_auth])


@guarded.parametrize()
@settings(repeatable, max_examples=5)
def test_nobody_gets_further_without_a_key(case: Case) -> None:
    """Whatever is sent, but for what everybody may see."""
    answer = case.call(headers={"Authorization": "Bearer wrong"})

    assert answer.status_code == 401 or case.operation.path in ("/healthz", "/readyz")


def test_every_route_is_described_and_nothing_else() -> None:
    """The description is written by hand, beside the routes."""
    described = {(path, method.upper()) for path, methods in schema.raw_schema["paths"].items() for method in methods}
    routes = [route for route in GATEWAY.app.routes if isinstance(route, Route) and route.path != "/openapi.json"]

    assert described == {(route.path, method) for route in routes for method in (route.methods or set()) - {"HEAD"}}


def test_every_body_and_answer_has_an_example_of_the_message_that_it_is() -> None:
    """Read as the very class that is sent or taken, nothing is lost and nothing is too much."""
    document = schema.raw_schema
    contents = [
        content
        for path in document["paths"].values()
        for operation in path.values()
        for told in (operation.get("requestBody", {}), *operation["responses"].values())
        for media_type, content in told.get("content", {}).items()
        if media_type.endswith("json")
    ]

    assert len(contents) > 20
    for content in contents:
        named = content.get("examples", {})
        values: list[Any] = [one["value"] for one in named.values()] or [content["example"]]
        for value in values:
            assert value in (*EXAMPLES.values(), EVALUATION) or _is_body(value)
    for message, value in EXAMPLES.items():
        assert msgspec.json.decode(msgspec.json.encode(msgspec.convert(value, message))) == value


def _is_body(value: object) -> bool:
    """Whether the gateway takes it."""
    body = DeploymentBody if isinstance(value, dict) and "action" in value else FeedbackBody
    return bool(msgspec.convert(value, body))
