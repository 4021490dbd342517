"""The report as PDF."""

from __future__ import annotations

import base64
import re
import zlib

import attrs
import pytest
from PIL import Image

from lesion_core.datasets.synthetic import draw_lesion
from lesion_core.service import Feedback, Record
from lesion_core.wire import Prediction
from lesion_ui.report import feedback_text, report_pdf
from lesion_ui.texts import LANGUAGES, texts_for
from support.fake_service import FakeService, make_prediction, outside_prediction


@pytest.fixture
def record(service: FakeService) -> Record:
    """A kept answer with a judgement."""
    said = Feedback(
        at="2026-03-02T10:00:00+00:00", key_id="k", verdict="other", diagnosis="NV", comment="Ω <b>", source="histology"
    )
    found = service.record("req-0001")
    assert found is not None
    return attrs.evolve(found, feedback=(said,))


def streams(pdf: bytes) -> list[bytes]:
    """What is drawn on the pages, unpacked."""
    found = re.findall(rb"/ASCII85Decode /FlateDecode.*?stream\r?\n(.*?)~>", pdf, re.DOTALL)
    return [zlib.decompress(base64.a85decode(one)) for one in found]


@pytest.mark.parametrize("language", list(LANGUAGES))
def test_the_report_is_a_pdf_in_the_language_of_the_page(record: Record, language: str) -> None:
    """With its title and the notice as metadata, and pages that are drawn."""
    texts = texts_for(language)
    pdf = report_pdf(record, texts)

    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")
    assert f"/Lang ({language})".encode() in pdf
    assert any(b"Tj" in stream for stream in streams(pdf))


def test_an_equal_record_gives_equal_bytes(record: Record) -> None:
    """So a report can be told from a changed one."""

    assert report_pdf(record, texts_for("en")) == report_pdf(record, texts_for("en"))
    assert report_pdf(record, texts_for("en")) != report_pdf(attrs.evolve(record, subject="P-2"), texts_for("en"))


def test_the_image_is_in_the_report_where_it_is_at_hand(record: Record) -> None:
    """As JPEG; else the report says that it was not kept."""
    image = Image.fromarray(draw_lesion("MEL", seed=1))

    assert b"DCTDecode" in report_pdf(record, texts_for("en"), image=image)
    assert b"DCTDecode" not in report_pdf(record, texts_for("en"))


@pytest.mark.parametrize(
    "prediction", [outside_prediction(), make_prediction(risk=None), make_prediction({"NV": 1.0}, none=0.0)]
)
def test_every_kind_of_answer_can_be_reported(record: Record, prediction: Prediction) -> None:
    """Unlike the training images, without a risk, certain."""

    assert report_pdf(attrs.evolve(record, prediction=prediction), texts_for("de")).startswith(b"%PDF-")


def test_a_judgement_is_a_sentence(record: Record) -> None:
    """When, what, how it is known, and the words that were written."""
    words = feedback_text(record.feedback[0], {"NV": "Melanocytic nevus"}, texts_for("en")).replace("\u00a0", " ")

    assert words == "2026-03-02 10:00 UTC: another diagnosis – Melanocytic nevus – by histology – “Ω <b>”"
