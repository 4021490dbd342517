"""What the gateway says of itself holds: schemathesis sends what its description allows, and what it does not."""

from __future__ import annotations

import tempfile
from pathlib import Path

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case

from support.gateways import GatewayUnderTest

# Here and not in a fixture: schemathesis makes the tests from the description when this module is read. No keys: it
# would take the one that it is given for a request's own.
FOLDER = tempfile.TemporaryDirectory()
GATEWAY = GatewayUnderTest(Path(FOLDER.name), max_body_bytes=2**20)
schema = schemathesis.openapi.from_asgi("/openapi.json", GATEWAY.app)


@schema.parametrize()
# The same examples in each run: some are wrong only in their type, which a form, being text, does not carry.
@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_one_that_the_description_names(case: Case) -> None:
    """Status, content type and schema; valid requests are taken, invalid ones refused; nothing is a 500."""
    case.call_and_validate()
