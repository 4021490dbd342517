"""A kept answer as files."""

from __future__ import annotations

import csv
import io
import json

import attrs
import pytest

from lesion_core.service import Feedback, Record
from lesion_core.wire import NOTICE
from lesion_ui.export import file_name, lines_csv, record_csv, record_json, to_csv
from support.fake_service import FakeService
from support.kept import make_label, make_lines


@pytest.fixture
def record(service: FakeService) -> Record:
    """A kept answer with a judgement that a spreadsheet would take for a formula."""
    said = Feedback(at="2026-03-02T10:00:00+00:00", key_id="k", verdict="other", diagnosis="NV", comment="=1+1")
    found = service.record("req-0001")
    assert found is not None
    return attrs.evolve(found, feedback=(said,))


def test_json_is_the_record_under_the_notice(record: Record) -> None:
    """Nothing left out."""
    content = json.loads(record_json(record))

    assert content["notice"] == NOTICE
    assert content["record"]["prediction"]["model"]["version"] == "3"
    assert content["record"]["request_id"] == "req-0001"
    assert content["record"]["feedback"][0]["diagnosis"] == "NV"


def test_csv_has_every_probability_versions_and_the_notice(record: Record) -> None:
    """In one row."""
    (row,) = csv.DictReader(io.StringIO(record_csv(record)))

    assert row["notice"] == NOTICE
    assert (row["request_id"], row["model_version"], row["top"], row["verdict"]) == ("req-0001", "3", "MEL", "other")
    shares = [float(value) for name, value in row.items() if name.startswith("p_")]
    assert sum(shares) == pytest.approx(1, abs=1e-4)
    assert len(shares) == 9


def test_a_remark_takes_no_diagnosis_back(record: Record) -> None:
    """It stands beside it, as in the list of predictions."""
    remark = Feedback(
        at="2026-03-03T10:00:00+00:00", key_id="k", verdict="comment", diagnosis=None, comment="seen again"
    )
    (row,) = csv.DictReader(io.StringIO(record_csv(attrs.evolve(record, feedback=(*record.feedback, remark)))))

    assert (row["verdict"], row["diagnosis"], row["comment"]) == ("other", "NV", "'=1+1 | seen again")


def test_no_cell_is_a_formula(record: Record) -> None:
    """A comment is written by people, and a spreadsheet runs what begins with these."""
    (row,) = csv.DictReader(io.StringIO(record_csv(record)))

    assert row["comment"] == "'=1+1"
    assert to_csv([{"a": "@SUM(A1)", "b": -1, "c": None}]).splitlines()[1] == '"\'@SUM(A1)","-1",""'


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "\uff1d"])
def test_nothing_that_a_spreadsheet_runs_begins_a_cell(start: str) -> None:
    """Whatever it is hidden behind; what stands further on in a cell is left alone."""
    (row,) = csv.DictReader(io.StringIO(to_csv([{"a": f"{start}1+1", "b": "1+1=2, or; so"}])))

    assert row == {"a": f"'{start}1+1", "b": "1+1=2, or; so"}


def test_names_stand_beside_codes(record: Record) -> None:
    """Those of the model's own taxonomy."""
    renamed = tuple(attrs.evolve(one, name=f"Own {one.code}") for one in record.prediction.probabilities)
    own = attrs.evolve(record, prediction=attrs.evolve(record.prediction, probabilities=renamed))
    (row,) = csv.DictReader(io.StringIO(record_csv(own)))

    assert (row["top_name"], row["diagnosis_name"]) == ("Own MEL", "Own NV")
    assert row["conformal_set_names"] == "Own MEL | Own NV"


def test_a_list_is_a_row_for_each_prediction() -> None:
    """With the columns of the gateway."""
    known = {"2": {one.code: one for one in make_label().diagnoses}}
    rows = list(csv.DictReader(io.StringIO(lines_csv(make_lines(5), known))))

    assert len(rows) == 5
    assert [row["top_name"] for row in rows] == ["Melanoma", "", "", "", ""]  # of version 3 nothing is known
    assert {"request_id", "top", "band", "review", "notice"} <= set(rows[0])


def test_a_file_is_named_by_its_request_and_by_nothing_that_a_file_system_reads() -> None:
    """The number comes from elsewhere."""

    assert file_name("req-0001", "pdf") == "lesion-req-0001.pdf"
    assert file_name("../../etc/x\0", "csv") == "lesion-______etc_x_.csv"
