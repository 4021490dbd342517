"""What a request asks for in its headers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lesion_core.decision.metadata import PatientMetadata
from lesion_serve.request_headers import Asked, RequestHeaderError, read_headers


def test_without_our_headers_nothing_is_asked() -> None:
    """Other headers mean nothing here."""
    assert read_headers({"Content-Type": "image/jpeg", "X-Other": "true"}) == Asked(metadata=None, heat_map=False)


@pytest.mark.parametrize("write", [str, str.lower, str.upper])
def test_headers_count_however_their_names_are_written(write: Callable[[str], str]) -> None:
    """HTTP/2 has them in lower case, many clients not."""
    told = '{"age_approx": 55, "sex": "female", "anatom_site_general": "anterior torso"}'
    asked = read_headers({write("X-Lesion-Metadata"): told, write("X-Lesion-Heat-Map"): "true"})

    patient = PatientMetadata(age_approx=55, sex="female", anatom_site_general="anterior torso")
    assert asked == Asked(metadata=patient, heat_map=True)


@pytest.mark.parametrize(
    ("told", "patient"),
    [
        ("{}", PatientMetadata()),
        ('{"age_approx": null, "sex": null}', PatientMetadata()),
        ('{"age_approx": 0}', PatientMetadata(age_approx=0)),
        ('{"age_approx": 62.5}', PatientMetadata(age_approx=62.5)),
    ],
)
def test_each_field_may_be_missing_or_null(told: str, patient: PatientMetadata) -> None:
    """An object without fields still says that nothing is known, which is not the same as no object."""
    assert read_headers({"X-Lesion-Metadata": told}).metadata == patient


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("", "not JSON"),
        ("{'sex': 'male'}", "not JSON"),
        ("[" * 10_000, "not JSON"),
        ("[]", "a JSON list"),
        ("55", "a JSON int"),
        ("null", "a JSON NoneType"),
        ('{"age": 55}', "'age'. Known: age_approx, sex, anatom_site_general"),
        ('{"age_approx": "55"}', "not a number"),
        ('{"age_approx": true}', "not a number"),
        ('{"age_approx": -1}', "must be >= 0"),
        ('{"age_approx": 121}', "must be <= 120"),
        ('{"age_approx": NaN}', "must be >= 0"),
        ('{"sex": "Female"}', "must be in"),
        ('{"sex": ["male"]}', "not text"),
        ('{"anatom_site_general": 5}', "not text"),
    ],
)
def test_metadata_that_cannot_be_used_is_refused_with_the_reason(told: str, reason: str) -> None:
    """Never in silence: an answer without the age looks like one with it."""
    with pytest.raises(RequestHeaderError) as caught:
        read_headers({"X-Lesion-Metadata": told})

    assert caught.value.code == "bad_metadata"
    assert reason in caught.value.message
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(("name", "field"), [("X-Lesion-Heat-Map", "heat_map"), ("X-Lesion-Features", "features")])
@pytest.mark.parametrize("wish", ["", "True", "1", "yes", "MEL", "x" * 5000])
def test_a_wish_is_true_or_false(name: str, field: str, wish: str) -> None:
    """Nothing else is guessed at."""
    assert getattr(read_headers({name: "true"}), field)
    assert not getattr(read_headers({name: "false"}), field)
    with pytest.raises(RequestHeaderError, match=f"{name} is true or false") as caught:
        read_headers({name: wish})
    assert caught.value.code == "bad_request"
    assert len(caught.value.message) < 200
