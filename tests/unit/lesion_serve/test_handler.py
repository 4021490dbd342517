"""TorchServe's side, with a stand-in for its context."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from lesion_core.imaging import MEDIA_TYPES
from lesion_core.wire import Prediction, Problem, from_json
from lesion_serve.archive import build_archive
from lesion_serve.handler import Handler
from support.bundles import make_tiny_bundle
from support.image_files import dicom_file, drawn, seed_files
from support.images import encoded_lesion


class FakeContext:
    """The methods of ``ts.context.Context`` that a handler uses."""

    def __init__(
        self,
        folder: Path,
        content_type: str | None = "image/jpeg",
        header: str = "Content-Type",
        also: Mapping[int, Mapping[str, str]] | None = None,
    ) -> None:
        self.system_properties = {"model_dir": str(folder)}
        self.status: dict[int, int] = {}
        self.types: dict[int, str] = {}
        self._headers = {"Host": "127.0.0.1"} if content_type is None else {"Host": "127.0.0.1", header: content_type}
        self._also = also or {}  # further headers of single items

    def get_request_id(self, index: int) -> str:
        return f"r-{index}"

    def get_all_request_header(self, index: int) -> dict[str, str]:
        return {**self._headers, **self._also.get(index, {})}

    def set_response_content_type(self, index: int, value: str) -> None:
        self.types[index] = value

    def set_response_status(self, code: int, phrase: str, idx: int) -> None:
        self.status[idx] = code


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import zipfile

    folder = tmp_path_factory.mktemp("model")
    bundle = make_tiny_bundle(folder / "source")
    info = build_archive(bundle.folder, folder / "a.mar", version="3")
    zipfile.ZipFile(info.path).extractall(folder / "unpacked")
    return folder / "unpacked"


@pytest.fixture(scope="module")
def handler(unpacked: Path) -> Handler:
    handler = Handler()
    handler.initialize(FakeContext(unpacked))
    return handler


def test_one_bad_item_does_not_harm_the_other_seven(handler: Handler, unpacked: Path) -> None:
    """Exactly one 4xx in the batch, at its place."""
    context = FakeContext(unpacked)
    batch = [{"body": encoded_lesion(seed=n)} for n in range(8)]
    batch[3] = {"body": b"not an image"}

    answers = handler.handle(batch, context)

    assert context.status == {3: 415}
    assert from_json(answers[3], Problem).request_id == "r-3"
    for index in (0, 1, 2, 4, 5, 6, 7):
        assert from_json(answers[index], Prediction).request_id == f"r-{index}"
    assert set(context.types.values()) == {"application/json"}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"X-Lesion-Metadata": '{"age": 55}'}, "bad_metadata"),
        ({"x-lesion-metadata": "55"}, "bad_metadata"),
        ({"X-LESION-HEAT-MAP": "please"}, "bad_request"),
    ],
)
def test_bad_headers_of_one_item_do_not_harm_the_other_seven(
    handler: Handler, unpacked: Path, headers: dict[str, str], code: str
) -> None:
    """Headers belong to a request, also where it shares a batch."""
    context = FakeContext(unpacked, also={5: headers})

    answers = handler.handle([{"body": encoded_lesion(seed=n)} for n in range(8)], context)

    assert context.status == {5: 422}
    problem = from_json(answers[5], Problem)
    assert (problem.code, problem.request_id) == (code, "r-5")
    assert [from_json(answers[n], Prediction).request_id for n in range(8) if n != 5] == [
        f"r-{n}" for n in range(8) if n != 5
    ]


def test_a_heat_map_is_drawn_for_the_item_that_asks(handler: Handler, unpacked: Path) -> None:
    """And for no other one of its batch."""
    context = FakeContext(unpacked, also={1: {"x-lesion-heat-map": "true"}, 2: {"X-Lesion-Heat-Map": "false"}})

    answers = handler.handle([{"body": encoded_lesion(seed=n)} for n in range(3)], context)

    drawn = [from_json(answer, Prediction).heat_map is not None for answer in answers]
    assert drawn == [False, True, False]


@pytest.mark.parametrize(
    ("item", "content_type", "status", "code"),
    [
        ({}, None, 400, "empty_body"),
        ({"body": b""}, "image/png", 400, "empty_body"),
        ({"body": b"text"}, None, 415, "unsupported_format"),
        ({"body": dicom_file(b"", syntax="jpegls")}, "application/dicom", 415, "unsupported_encoding"),
        ({"body": seed_files()["tiff-pages"]}, "image/tiff", 422, "several_images"),
        ({"body": encoded_lesion()[:500]}, "image/jpeg", 422, "corrupt_image"),
        ({"body": b"\xff\xd8\xff" + bytes(21 * 1024 * 1024)}, "image/jpeg", 413, "too_many_bytes"),
        ({"body": encoded_lesion()}, "application/x-www-form-urlencoded", 415, "unsupported_request"),
        ({"file": encoded_lesion()}, "multipart/form-data; boundary=x", 415, "unsupported_request"),
        ({"body": {"a": 1}}, "application/json", 415, "unsupported_request"),
        ({"body": {"a": 1}}, None, 415, "unsupported_request"),
    ],
)
def test_bad_input_gets_its_own_status_and_code(
    handler: Handler, unpacked: Path, item: dict[str, object], content_type: str | None, status: int, code: str
) -> None:
    """With a sentence for people."""
    context = FakeContext(unpacked, content_type)

    (answer,) = handler.handle([item], context)

    problem = from_json(answer, Problem)
    assert (context.status[0], problem.code) == (status, code)
    assert problem.message.endswith((".", "…"))


@pytest.mark.parametrize("format_name", sorted(MEDIA_TYPES))
def test_every_format_is_taken_with_its_content_type(handler: Handler, unpacked: Path, format_name: str) -> None:
    """DICOM too."""
    context = FakeContext(unpacked, MEDIA_TYPES[format_name])
    body = dicom_file(drawn().tobytes()) if format_name == "DICOM" else encoded_lesion(format_name)

    (answer,) = handler.handle([{"body": body}], context)

    assert context.status == {}
    assert from_json(answer, Prediction).request_id == "r-0"


@pytest.mark.parametrize("header", ["Content-Type", "content-type", "CONTENT-TYPE"])
def test_the_content_type_counts_however_its_name_is_written(handler: Handler, unpacked: Path, header: str) -> None:
    """Several HTTP clients write it in lower case, and TorchServe passes it on as it came."""
    context = FakeContext(unpacked, "text/plain", header)

    (answer,) = handler.handle([{"body": encoded_lesion()}], context)

    assert from_json(answer, Problem).code == "unsupported_request"


def test_a_bundle_that_cannot_be_loaded_is_a_runtime_error(unpacked: Path, tmp_path: Path) -> None:
    """The only kind of which TorchServe logs the text, and so the user sees it."""
    shutil.copytree(unpacked, tmp_path / "model")
    (tmp_path / "model" / "bundle" / "card.md").write_text("other")

    with pytest.raises(RuntimeError, match=r"BundleError: .*altered"):
        Handler().initialize(FakeContext(tmp_path / "model"))


def test_a_fault_of_ours_is_a_500_that_tells_nothing_about_the_inside(
    handler: Handler, unpacked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not an exception, which would fail the whole batch."""
    context = FakeContext(unpacked)
    monkeypatch.setattr(handler._predictor, "predict", lambda *_, **__: 1 / 0)

    (answer,) = handler.handle([{"body": encoded_lesion()}], context)

    assert context.status == {0: 500}
    assert "division" not in answer
