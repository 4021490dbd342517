"""Reference images: built from labelled ones, found again by what a prediction left behind, shown to who may see it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lesion_core.bundle import Bundle
from lesion_core.datasets import read_dataset
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.drift_reference import embedding_to_text
from lesion_core.wire import DescribedPrediction, Features, Prediction, describe
from lesion_plugins.registry import BackboneRegistry
from lesion_serve.atlas import NEIGHBOURS, Atlas, AtlasError, Atlases
from lesion_serve.atlas_build import THUMBNAIL_PX, agreement, build_atlas
from lesion_serve.cli import app
from lesion_serve.gateway.keys import Role
from lesion_serve.predictor import Predictor
from support.bundles import make_tiny_bundle, with_drift
from support.gateways import GatewayUnderTest


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_dataset(tmp_path_factory.mktemp("data"), images_per_class=6, side_px=64)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    return with_drift(make_tiny_bundle(folder / "bare"), folder / "described")


def predictor_of(bundle: Bundle) -> Predictor:
    return Predictor(bundle, BackboneRegistry.load(), version="1")


def make_atlas(digest: str, *, images: int = 8) -> Atlas:
    """Image ``n`` lies at ``n`` on the first axis; every second one is a naevus."""
    embeddings = np.zeros((images, 2), np.float32)
    embeddings[:, 0] = np.arange(images)
    return Atlas(
        bundle_digest=digest,
        source="isic-2019:data",
        embeddings=embeddings,
        diagnoses=tuple(("NV", "MEL")[row % 2] for row in range(images)),
        thumbnails=tuple(b"\xff\xd8" + bytes([row]) * row for row in range(images)),
        agreement=0.25,
    )


def test_an_image_of_the_atlas_is_nearest_to_itself(data: Path, bundle: Bundle) -> None:
    """One image of each lesion, so many of each class at most; the same every time."""
    dataset = read_dataset(data)
    predictor = predictor_of(bundle)
    seen: list[tuple[int, int]] = []

    atlas, problems = build_atlas(
        predictor, dataset, images_per_class=2, on_image=lambda done, of: seen.append((done, of))
    )
    again, _ = build_atlas(predictor, dataset, images_per_class=2)

    assert problems == ()
    assert len(atlas) == 2 * len(dataset.class_counts)
    assert seen[-1] == (len(atlas), len(atlas))
    assert atlas.bundle_digest == bundle.digest
    np.testing.assert_array_equal(atlas.embeddings, again.embeddings)
    nearest = atlas.nearest(atlas.embeddings[3])
    assert (nearest[0].distance, nearest[0].diagnosis) == (0, atlas.diagnoses[3])
    assert nearest[0].jpeg == atlas.thumbnails[3]
    assert len(nearest) == NEIGHBOURS
    assert [one.distance for one in nearest] == sorted(one.distance for one in nearest)
    assert max(Image.open(io.BytesIO(nearest[0].jpeg)).size) <= THUMBNAIL_PX


def test_images_that_cannot_be_read_are_left_out_by_name(tmp_path: Path, bundle: Bundle) -> None:
    folder = write_synthetic_dataset(tmp_path, images_per_class=2, side_px=64)
    dataset = read_dataset(folder)
    broken = dataset.records[0]
    broken.path.write_bytes(b"no image")

    atlas, problems = build_atlas(predictor_of(bundle), dataset, images_per_class=9)

    (problem,) = problems
    assert problem.startswith(broken.isic_id)
    assert len(atlas) == len({one.lesion_id for one in dataset.records}) - 1
    for record in dataset.records:
        record.path.unlink()
    with pytest.raises(AtlasError, match="No image can be read"):
        build_atlas(predictor_of(bundle), dataset, images_per_class=9)


def test_a_bundle_without_a_projection_says_so(data: Path, tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="train it again") as failed:
        build_atlas(predictor_of(make_tiny_bundle(tmp_path / "bare")), read_dataset(data), images_per_class=1)
    assert failed.value.code == "no_features"


@pytest.mark.parametrize(
    ("places", "names", "expected"),
    [
        ([0, 1, 10, 11], ["NV", "NV", "MEL", "MEL"], 1.0),
        ([0, 1, 10, 11], ["NV", "MEL", "NV", "MEL"], 0.0),
        ([0, 1, 2, 100], ["NV", "NV", "NV", "MEL"], 0.5),  # the classes count alike
        ([0], ["NV"], 0.0),
    ],
)
def test_agreement_is_of_an_image_s_nearest_others(places: list[int], names: list[str], expected: float) -> None:
    embeddings = np.array(places, dtype=np.float32)[:, None]

    assert agreement(embeddings, names, count=1) == expected


def test_a_file_is_read_as_it_was_written_and_anew_when_it_changed(tmp_path: Path) -> None:
    atlases = Atlases(tmp_path / "atlases")
    with pytest.raises(AtlasError) as failed:
        atlases.of("d1")
    assert failed.value.code == "no_atlas"

    make_atlas("d1").save(atlases.path_of("d1"))
    read = atlases.of("d1")
    make_atlas("d1", images=3).save(atlases.path_of("d1"))

    assert read.thumbnails == make_atlas("d1").thumbnails
    assert read.diagnoses == make_atlas("d1").diagnoses
    assert (read.source, read.agreement) == ("isic-2019:data", 0.25)
    assert len(atlases.of("d1")) == 3
    atlases.path_of("d1").write_bytes(b"cut")
    with pytest.raises(AtlasError, match="Build it again"):
        atlases.of("d1")


class Asked:
    """A gateway that was asked once, by a clinician, with features kept or not."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, embedding: list[float] | None) -> None:
        self.gateway = GatewayUnderTest(folder, with_keys=True)
        self.keys = {
            name: self.gateway.keys.create(name, role)
            for name, role in (("own", Role.CLINICIAN), ("other", Role.CLINICIAN), ("auditor", Role.AUDITOR))
        }
        was_asked = self.gateway.engine.predict

        async def predict(*given: object, **more: object) -> Prediction:
            answer = await was_asked(*given, **more)  # type: ignore[arg-type]
            if embedding is None:
                return answer
            told = embedding_to_text(np.array(embedding, np.float32))
            return describe(answer, Features(embedding_base64=told, probabilities=(1.0,), quality={}))

        monkeypatch.setattr(self.gateway.engine, "predict", predict)
        self.gateway.ask(headers={"Content-Type": "image/jpeg", "Authorization": f"Bearer {self.keys['own']}"})
        (self.prediction,) = self.gateway.kept
        self.atlases = folder / "atlases"

    def similar(self, who: str = "own", request_id: str | None = None) -> dict[str, object]:
        path = f"/v1/predictions/{request_id or self.prediction.request_id}/similar"
        answer = self.gateway.send("GET", path, headers={"Authorization": f"Bearer {self.keys[who]}"})
        return {"status": answer.status_code, **answer.json()}


def test_a_prediction_is_set_beside_what_is_like_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(tmp_path, monkeypatch, [2.2, 0.0])
    digest = asked.prediction.prediction.model.bundle_digest
    make_atlas(digest).save(Atlases(asked.atlases).path_of(digest))

    told = asked.similar()

    assert (told["status"], told["images"], told["source"], told["agreement"]) == (200, 8, "isic-2019:data", 0.25)
    cases = told["cases"]
    assert isinstance(cases, list)
    assert [one["diagnosis"] for one in cases] == ["NV", "MEL", "MEL", "NV", "NV", "MEL"]
    assert cases[0]["distance"] == pytest.approx(0.2, abs=1e-3)
    assert base64.b64decode(cases[0]["jpeg_base64"]) == make_atlas(digest).thumbnails[2]
    assert asked.similar("other")["code"] == "no_prediction"
    assert asked.similar("auditor")["status"] in (200, 403)
    assert asked.similar(request_id="unknown-0001")["status"] == 404


@pytest.mark.parametrize(
    ("embedding", "prepare", "status", "code"),
    [
        ([0.0, 0.0], lambda _: None, 404, "no_atlas"),
        (None, lambda path: make_atlas(path.stem).save(path), 404, "no_features"),
        ([0.0, 0.0], lambda path: make_atlas("another").save(path), 503, "bad_atlas"),
        ([0.0, 0.0], lambda path: (path.parent.mkdir(), path.write_bytes(b"cut")), 503, "bad_atlas"),
    ],
    ids=["not built", "nothing kept", "of another model", "broken"],
)
def test_why_there_is_nothing_to_show(
    embedding: list[float] | None,
    prepare: Callable[[Path], None],
    status: int,
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = Asked(tmp_path, monkeypatch, embedding)
    prepare(Atlases(asked.atlases).path_of(asked.prediction.prediction.model.bundle_digest))

    told = asked.similar()

    assert (told["status"], told["code"]) == (status, code)
    assert str(tmp_path) not in json.dumps(told)


def test_the_command_builds_what_the_gateway_finds(
    data: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LESION_HOME", str(tmp_path / "home"))

    app(
        ["atlas", "build", str(bundle.folder), "--data", str(data), "--images-per-class", "1", "--json"],
        result_action="return_value",
    )

    told = json.loads(capsys.readouterr().out)
    assert Path(told["path"]) == tmp_path / "home" / "serving" / "atlases" / f"{bundle.digest}.safetensors"
    assert told["images"] == len(Atlas.load(Path(told["path"]))) == 8
    answer = predictor_of(bundle).predict(read_dataset(data).records[0].path.read_bytes(), features=True)
    assert isinstance(answer, DescribedPrediction)
