"""Which versions serve, as values: who answers, what may stand beside what, and back."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesion_serve.deployment import (
    Deployed,
    Deployment,
    DeploymentError,
    choose_version,
    deployment_from_json,
    deployment_to_json,
    rolled_back,
    with_challenger,
    with_champion,
)
from support.deployments import deployed

FIRST = with_champion(None, deployed("1"))


@given(st.floats(0, 100), st.integers())
def test_the_challenger_gets_its_share(share: float, salt: int) -> None:
    """Within five standard deviations over 2,000 requests, whatever their ids look like."""
    deployment = with_challenger(FIRST, deployed("2"), share_percent=share, shadow=False)

    taken = sum(choose_version(deployment, f"{salt}-{n}").answering == "2" for n in range(2000))

    part = share / 100
    assert abs(taken - 2000 * part) <= 5 * (2000 * part * (1 - part)) ** 0.5 + 1


@given(st.text(), st.floats(0, 100))
def test_the_same_request_is_always_answered_by_the_same_version(request_id: str, share: float) -> None:
    """And none is taken from the challenger when its share grows."""
    deployment = with_challenger(FIRST, deployed("2"), share_percent=share, shadow=False)
    larger = attrs.evolve(deployment, share_percent=100.0, generation=9)
    choice = choose_version(deployment, request_id)

    assert choose_version(deployment_from_json(deployment_to_json(deployment)), request_id) == choice
    assert choice.answering in ("1", "2")
    assert choose_version(larger, request_id).answering == "2"


@given(st.text())
def test_a_shadow_never_answers(request_id: str) -> None:
    """It is asked each time."""
    choice = choose_version(with_challenger(FIRST, deployed("2"), share_percent=0, shadow=True), request_id)

    assert (choice.answering, choice.shadows) == ("1", ("2",))


def test_a_challenger_is_shadow_or_has_a_share() -> None:
    """Not both: answers of a shadow are never shown."""
    with pytest.raises(DeploymentError, match="choose one"):
        with_challenger(FIRST, deployed("2"), share_percent=5, shadow=True)


def test_the_champion_before_stays_and_a_rollback_brings_it_back() -> None:
    """Twice is where it began."""
    second = with_champion(FIRST, deployed("2"))

    assert [one.version for one in second.all] == ["2", "1"]
    assert [one.version for one in rolled_back(second).all] == ["1", "2"]
    assert rolled_back(rolled_back(second)) == second


def test_nor_does_a_version_challenge_itself_after_a_rollback() -> None:
    """The champion before may have been the challenger; its images would be asked about twice."""
    second = with_champion(FIRST, deployed("2"))
    challenged = with_challenger(second, deployed("1"), share_percent=0, shadow=True)

    after = rolled_back(challenged)

    assert (after.champion.version, after.challenger, after.shadow) == ("1", None, False)
    assert choose_version(after, "an id").shadows == ()


def test_there_is_no_rollback_without_a_champion_before() -> None:
    """It says so."""
    with pytest.raises(DeploymentError, match="before version 1") as caught:
        rolled_back(FIRST)

    assert caught.value.code == "nothing_before"


def test_a_challenger_that_becomes_champion_challenges_no_more() -> None:
    """Its share is gone with it."""
    challenged = with_challenger(FIRST, deployed("2"), share_percent=10, shadow=False)

    after = with_champion(challenged, deployed("2"))

    assert (after.champion.version, after.challenger, after.share_percent) == ("2", None, 0)


@pytest.mark.parametrize(
    ("other", "code"),
    [(deployed("1", content="x"), "version_taken"), (deployed("2", serving_name="other"), "other_name")],
)
def test_what_cannot_be_told_apart_does_not_stand_side_by_side(other: Deployed, code: str) -> None:
    """Refused while a server may run; a new start drops what was there."""
    with pytest.raises(DeploymentError) as caught:
        with_champion(FIRST, other)
    with pytest.raises(DeploymentError):
        with_challenger(FIRST, other, share_percent=0, shadow=True)

    assert caught.value.code == code
    assert with_champion(FIRST, other, afresh=True).all == (other,)


def test_the_same_content_changes_nothing() -> None:
    """A server that is started again with what it had."""

    assert with_champion(FIRST, deployed("1")) is FIRST


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 2}', '{"schema_version": 1}', "null"])
def test_a_torn_or_foreign_text_is_a_named_error(text: str) -> None:
    """Never something half."""
    with pytest.raises(DeploymentError):
        deployment_from_json(text)


@given(st.integers(0, 10**6), st.floats(0, 100), st.booleans())
def test_a_deployment_survives_its_file(generation: int, share: float, shadow: bool) -> None:
    """Bit for bit."""
    deployment = Deployment(
        generation=generation,
        champion=deployed("1"),
        previous=deployed("0"),
        challenger=deployed("2"),
        share_percent=share,
        shadow=shadow,
    )

    assert deployment_from_json(deployment_to_json(deployment)) == deployment
