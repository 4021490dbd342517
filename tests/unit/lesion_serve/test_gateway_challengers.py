"""Champion and challenger behind the gateway: who answers, who is asked as well, and what when one cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lesion_core.wire import Prediction, Problem, from_json
from lesion_serve.deployment import Deployment
from lesion_serve.engine.engine import (
    BusyError,
    DeadlineError,
    EngineDownError,
    EngineError,
    RefusedError,
    UnknownVersionError,
    WorkerDiedError,
)
from lesion_serve.store import Role as StoreRole
from support.gateways import JPEG, GatewayUnderTest, deployed, problem_of


def test_the_challengers_answer_is_recorded_and_never_shown(gateway: GatewayUnderTest) -> None:
    """Its failure is nobody's business but the log's."""
    gateway.deployment = Deployment(generation=2, champion=deployed("1"), challenger=deployed("2"), shadow=True)
    gateway.engine.errors = [None, None, None, EngineError("the challenger is ill")]

    first, second = gateway.ask(), gateway.ask()

    assert [from_json(answer.content, Prediction).model.version for answer in (first, second)] == ["1", "1"]
    assert [(kept.model.version, kept.role) for kept in gateway.kept] == [
        ("1", StoreRole.ANSWERED),
        ("2", StoreRole.SHADOW),
        ("1", StoreRole.ANSWERED),
    ]


def test_a_challenger_in_the_shadow_draws_nothing(gateway: GatewayUnderTest) -> None:
    """Nobody would see it; what is known of the patient it has to know too."""
    gateway.deployment = Deployment(generation=2, champion=deployed("1"), challenger=deployed("2"), shadow=True)

    gateway.ask(headers={**JPEG, "X-Lesion-Heat-Map": "true", "X-Lesion-Metadata": '{"sex": "male"}'})

    (_, _, shown), (_, _, hidden) = gateway.engine.asked
    assert sorted(shown) == ["X-Lesion-Features", "X-Lesion-Heat-Map", "X-Lesion-Metadata"]
    assert sorted(hidden) == ["X-Lesion-Features", "X-Lesion-Metadata"]


def test_a_share_of_the_answers_is_the_challengers(gateway: GatewayUnderTest) -> None:
    """As many as the deployment says."""
    gateway.deployment = Deployment(generation=2, champion=deployed("1"), challenger=deployed("2"), share_percent=100)

    assert from_json(gateway.ask().content, Prediction).model.version == "2"


@pytest.mark.parametrize(
    "errors",
    [
        [EngineDownError("no worker")],
        [BusyError("no worker")],
        [UnknownVersionError("2", ("1",))],
        [WorkerDiedError("gone"), WorkerDiedError("gone again")],
        [RefusedError(500, Problem(code="prediction_failed", message="It failed."))],
        [EngineError("nonsense", code="bad_answer")],
    ],
    ids=lambda errors: errors[-1].code,
)
def test_the_champion_answers_for_a_challenger_that_cannot(
    errors: list[Exception | None], gateway: GatewayUnderTest
) -> None:
    """An experiment costs no client an answer."""
    gateway.deployment = Deployment(generation=2, champion=deployed("1"), challenger=deployed("2"), share_percent=100)
    gateway.engine.errors = list(errors)

    assert from_json(gateway.ask().content, Prediction).model.version == "1"
    assert [version for version, _, _ in gateway.engine.asked] == [*["2"] * len(errors), "1"]
    assert "lesion_fallbacks_total 1.0" in gateway.metrics.text().decode()


def test_what_a_challenger_says_of_the_image_stands(gateway: GatewayUnderTest) -> None:
    """The champion would say the same, and the client has to send another image."""
    gateway.deployment = Deployment(generation=2, champion=deployed("1"), challenger=deployed("2"), share_percent=100)
    gateway.engine.errors = [RefusedError(422, Problem(code="corrupt_image", message="It ends too early."))]

    assert problem_of(gateway.ask())["code"] == "corrupt_image"
    assert len(gateway.engine.asked) == 1


def test_when_the_time_is_over_no_champion_is_asked(tmp_path: Path) -> None:
    """It could not answer in time either, and would be kept from other questions."""
    gateway = GatewayUnderTest(tmp_path, deadline_s=0.0)
    gateway.deployment = Deployment(generation=2, champion=deployed("1"), challenger=deployed("2"), share_percent=100)
    gateway.engine.errors = [DeadlineError("too late")]

    assert problem_of(gateway.ask())["code"] == "deadline_passed"
    assert len(gateway.engine.asked) == 1


def test_who_was_chosen_and_then_unloaded_is_chosen_anew(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deployment may change between the choice and the question; only once, or it would go on for ever."""
    engine, was_asked = gateway.engine, gateway.engine.predict

    async def predict(image: bytes, **given: Any) -> Prediction:
        gateway.deployment = Deployment(generation=2, champion=deployed("2"))
        return await was_asked(image, **given)

    monkeypatch.setattr(engine, "predict", predict)
    engine.errors = [UnknownVersionError("1", ("2",))]
    assert from_json(gateway.ask().content, Prediction).model.version == "2"

    engine.errors = [UnknownVersionError("2", ())]
    assert problem_of(gateway.ask())["code"] == "unknown_version"
    assert len(engine.asked) == 3
