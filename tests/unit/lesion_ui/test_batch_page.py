"""Many images at once."""

from __future__ import annotations

import csv
import io
import threading
import time

from lesion_ui.asking import Upload
from lesion_ui.batch_job import BatchJob, results_csv, rows
from lesion_ui.client import GatewayClient
from lesion_ui.texts import texts_for
from lesion_ui.view import Question
from support.app_pages import open_app, text, upload
from support.fake_service import FakeService, outside_prediction
from support.zips import packed


def uploads(image: bytes, count: int) -> list[Upload]:
    return [Upload(id=str(n), name=f"{n}.png", data=image) for n in range(count)]


def finished(service: FakeService, files: list[Upload]) -> BatchJob:
    job = BatchJob(GatewayClient(service.endpoint), files, Question(heat_map=False))
    job.wait(60)
    assert not job.is_running
    return job


def test_every_image_has_a_row_with_its_picture_and_answer(service: FakeService, image: bytes) -> None:
    """A broken one has the reason, and ends nothing."""
    job = finished(service, [*uploads(image, 2), Upload(id="x", name="broken.png", data=b"no image")])
    table = rows(job.results, texts_for("en"))

    assert [row["File"] for row in table] == ["0.png", "1.png", "broken.png"]
    assert str(table[0]["Image"]).startswith("data:image/jpeg;base64,")
    assert table[0]["Answer"] == "▲ Melanoma"
    assert table[2]["Notes"] == "This image cannot be read"
    assert len(service.requests) == 2


def test_the_csv_has_a_row_for_each_image(service: FakeService, image: bytes) -> None:
    """With the code of the reason where there is no answer."""
    job = finished(service, [Upload(id="x", name="broken.png", data=b"no image"), *uploads(image, 1)])
    lines = list(csv.DictReader(io.StringIO(results_csv(job.results))))

    assert [line["error"] for line in lines] == ["unsupported_format", ""]
    assert lines[1]["top"] == "MEL"
    assert lines[1]["notice"]


def test_an_image_unlike_the_training_images_says_so_in_its_row(service: FakeService, image: bytes) -> None:
    """In words."""
    service.answer(outside_prediction())
    (row,) = rows(finished(service, uploads(image, 1)).results, texts_for("en"))

    assert row["Answer"] == "○ None of the above"
    assert "⚠ unlike the training images" in str(row["Notes"])


def test_a_cancelled_batch_asks_about_no_further_image(service: FakeService, image: bytes) -> None:
    """What was asked by then stays."""
    service.hang = True
    job = BatchJob(GatewayClient(service.endpoint), uploads(image, 20), Question())
    while not service.requests:
        time.sleep(0.01)
    job.cancel()
    threading.Thread(target=service.release).start()
    job.wait(60)

    assert job.is_cancelled
    assert 1 <= len(job.results) <= 2
    assert len(service.requests) == len(job.results)


def test_a_zip_becomes_a_table(connected: FakeService, image: bytes) -> None:
    """Unpacked in memory; what is no image is named."""
    app = open_app("batch")
    app.segmented_control(key="batch_source").set_value("zip").run()
    upload(app, ("a.zip", packed(("a.png", image), ("b.txt", b"x"))), mime="application/zip", key="batch_zip")
    assert "1 images found." in text(app)
    assert "b.txt" in text(app)

    app.button(key="batch_start").click().run()
    app.session_state["batch"].wait(60)
    app.run()

    assert "All 1 images were asked about; 0 have no answer." in text(app)
    assert len(app.dataframe[0].value) == 1


def test_a_zip_with_a_trick_is_refused_on_the_page(connected: FakeService, image: bytes) -> None:
    """With the reason, and nothing is asked."""
    app = open_app("batch")
    app.segmented_control(key="batch_source").set_value("zip").run()
    upload(app, ("a.zip", packed(("../a.png", image))), mime="application/zip", key="batch_zip")

    assert "This archive was refused" in text(app)
    assert connected.requests == []
