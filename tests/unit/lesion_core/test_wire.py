"""The JSON between server and app."""

from __future__ import annotations

import base64
import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesion_core.errors import WireError
from lesion_core.taxonomy import ISIC_2019
from lesion_core.wire import (
    PNG_SIGNATURE,
    ClassProbability,
    ConformalSet,
    HeatMap,
    MalignancyRisk,
    ModelIdentity,
    OutOfDistribution,
    Prediction,
    Problem,
    QualityFinding,
    from_json,
    to_json,
)


def finding(grade: str) -> QualityFinding:
    return QualityFinding(
        code="too_dark", grade=grade, value=101.0, threshold=128.0, origin="0.5 % are below", message="Dark."
    )


def prediction(weights: list[float]) -> Prediction:
    total = sum(weights)
    return Prediction(
        request_id="r-1",
        model=ModelIdentity(name="skin-lesion", version="3", backbone="tiny", bundle_digest="ab" * 32),
        probabilities=tuple(
            ClassProbability(code=d.code, name=d.name, malignancy=d.malignancy, probability=w / total, plain=d.plain)
            for d, w in zip(ISIC_2019.diagnoses, weights, strict=True)
        ),
        out_of_distribution=OutOfDistribution(detector="mahalanobis", score=1.5, threshold=2.0, is_outside=False),
        conformal_set=ConformalSet(codes=("MEL", "NV"), coverage=0.9),
        risk=MalignancyRisk(
            probability=0.4,
            band="high",
            lower=0.3,
            upper=1.0,
            sensitivity=0.95,
            images=50,
            malignant=40,
            prevalence=0.3,
        ),
        quality=(finding("warn"),),
        timings_ms={"decode": 1.25},
    )


@given(st.lists(st.floats(0.001, 1), min_size=9, max_size=9))
def test_a_prediction_survives_the_wire(weights: list[float]) -> None:
    """Every field, at any probabilities."""
    value = prediction(weights)

    assert from_json(to_json(value), Prediction) == value


def test_the_top_diagnosis_is_the_most_probable() -> None:
    """NV here."""

    assert prediction([1, 9, 1, 1, 1, 1, 1, 1, 1]).top.code == "NV"


@pytest.mark.parametrize(
    ("grades", "worst"),
    [
        ((), "ok"),
        (("warn",), "warn"),
        (("warn", "warn"), "warn"),
        (("warn", "reject"), "reject"),
        (("reject",), "reject"),
    ],
)
def test_the_grade_of_the_photograph_is_the_worst_of_its_findings(grades: tuple[str, ...], worst: str) -> None:
    """Derived on both sides, never sent."""
    value = attrs.evolve(prediction([1.0] * 9), quality=tuple(finding(grade) for grade in grades))
    read = from_json(to_json(value), Prediction)

    assert read == value
    assert read.quality_grade == worst
    assert "quality_grade" not in json.loads(to_json(value))


def test_a_finding_has_a_known_grade() -> None:
    """Neither "ok", which would be no finding, nor anything else."""
    text = to_json(prediction([1.0] * 9)).replace('"grade":"warn"', '"grade":"ok"')

    with pytest.raises(WireError, match="grade"):
        from_json(text, Prediction)


def test_probabilities_that_do_not_sum_to_one_are_refused() -> None:
    """On either side of the wire."""
    text = to_json(prediction([1.0] * 9)).replace("0.1111111111111111", "0.2", 1)

    with pytest.raises(WireError, match="sum to"):
        from_json(text, Prediction)


def test_a_newer_server_may_add_a_key() -> None:
    """Within one schema version, anywhere."""
    problem, answer = Problem(code="busy", message="Try again."), prediction([1.0] * 9)
    data = json.loads(to_json(answer))
    data["model"]["size"] = "new"

    assert from_json(json.dumps({**json.loads(to_json(problem)), "hint": "new"}), Problem) == problem
    assert from_json(json.dumps(data), Prediction) == answer


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_a_number_is_never_sent(number: float) -> None:
    """JSON has no word for it, and a null in its place would say that nothing was measured."""
    with pytest.raises(ValueError, match="finite"):
        attrs.evolve(prediction([1.0] * 9).out_of_distribution, score=number)
    with pytest.raises(ValueError, match="finite"):
        attrs.evolve(finding("warn"), value=number)
    with pytest.raises(ValueError, match="finite"):
        attrs.evolve(prediction([1.0] * 9), timings_ms={"decode": number})
    for kind in (OutOfDistribution, ConformalSet, MalignancyRisk, QualityFinding, HeatMap):
        numbers = [field for field in attrs.fields(kind) if field.type == "float"]
        assert numbers
        assert all(field.validator is not None for field in numbers), kind


@pytest.mark.parametrize("value", ["0.1", None, True])
def test_a_number_is_no_text(value: object) -> None:
    """Nor is anything else taken for one."""
    data = json.loads(to_json(prediction([1.0] * 9)))
    data["probabilities"][0]["probability"] = value

    with pytest.raises(WireError, match="probability"):
        from_json(json.dumps(data), Prediction)


def test_a_heat_map_survives_the_wire_and_an_answer_without_one_is_read() -> None:
    """Servers before heat maps do not send the key; it is of the same schema version."""
    picture = PNG_SIGNATURE + b"and the rest"
    drawn = HeatMap(
        code="MEL",
        method="class_activation",
        lowest=-1.5,
        highest=9.25,
        colours="viridis",
        png_base64=base64.b64encode(picture).decode(),
    )
    value = attrs.evolve(prediction([1.0] * 9), heat_map=drawn)
    read = from_json(to_json(value), Prediction)
    old = {key: item for key, item in json.loads(to_json(value)).items() if key != "heat_map"}

    assert read == value
    assert read.heat_map is not None
    assert read.heat_map.png == picture
    assert from_json(json.dumps(old), Prediction) == prediction([1.0] * 9)


@pytest.mark.parametrize("sent", ["not base64!", base64.b64encode(b"<svg onload=...>").decode(), ""])
def test_a_heat_map_that_is_no_png_is_refused(sent: str) -> None:
    """Programs show it to people; what else it may be, nobody has looked at."""
    data = json.loads(to_json(prediction([1.0] * 9)))
    data["heat_map"] = {
        "code": "MEL",
        "method": "class_activation",
        "lowest": 0,
        "highest": 1,
        "colours": "viridis",
        "png_base64": sent,
    }

    with pytest.raises(WireError, match="png_base64 is not"):
        from_json(json.dumps(data), Prediction)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "nonsense", '{"schema_version": 2}', '{"schema_version": 1, "code": "x"}', b"\xff\xfe", "null"],
)
def test_what_is_no_message_is_a_named_error(text: str | bytes) -> None:
    """Nothing else is raised."""
    with pytest.raises(WireError):
        from_json(text, Problem)
