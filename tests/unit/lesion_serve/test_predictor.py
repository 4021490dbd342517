"""Bytes in, a prediction out."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import pytest
import safetensors.numpy
import torch
from PIL import Image

from lesion_core.bundle import REFERENCE, Bundle, write_bundle
from lesion_core.datasets.synthetic import draw_lesion
from lesion_core.decision.decide import decide
from lesion_core.decision.metadata import PatientMetadata, metadata_features
from lesion_core.decision.ood import NetworkOutput
from lesion_core.decision.parameters import MetadataAdjustment
from lesion_core.drift_reference import DRIFT, embedding_from_text, read_projection
from lesion_core.errors import BundleError, ImageError
from lesion_core.preprocess import decode_for, load_square, normalise, resize_square
from lesion_core.preprocess_spec import Views
from lesion_core.quality_measures import measure_quality
from lesion_core.taxonomy import ISIC_2019
from lesion_core.wire import DescribedPrediction, Prediction, from_json, to_json
from lesion_plugins.classifier import classifier_from_bundle
from lesion_plugins.registry import BackboneRegistry
from lesion_serve.predictor import Predictor
from support.bundles import make_tiny_bundle, with_drift, with_metadata_branch, with_views
from support.image_files import encoded
from support.images import encoded_lesion


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> object:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture(scope="module")
def predictor(bundle: object) -> Predictor:
    predictor = Predictor.load(bundle.folder, version="7")  # type: ignore[attr-defined]
    predictor.warm_up()
    return predictor


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "BMP"])
@pytest.mark.parametrize("side_px", [64, 150, 500])
def test_a_prediction_equals_the_parts_called_one_by_one(
    bundle: object, predictor: Predictor, kind: str, side_px: int
) -> None:
    """The predictor adds nothing of its own."""
    data = encoded_lesion(kind, side_px=side_px)
    manifest = bundle.manifest  # type: ignore[attr-defined]
    model = classifier_from_bundle(bundle, BackboneRegistry.load())  # type: ignore[arg-type]
    with torch.inference_mode():
        square = load_square(data, manifest.preprocess)
        output = model(torch.from_numpy(normalise(square[None], manifest.preprocess)))
    expected = decide(
        NetworkOutput(logits=output.logits.numpy(), embeddings=output.embedding.numpy()),
        parameters=manifest.decision,
        reference=safetensors.numpy.load(bundle.read(REFERENCE)),  # type: ignore[attr-defined]
        taxonomy=ISIC_2019,
    )

    prediction = predictor.predict(data)

    shown = [item.probability for item in prediction.probabilities]
    np.testing.assert_allclose(shown, expected.probabilities[0], atol=1e-6)
    assert prediction.out_of_distribution.score == pytest.approx(expected.strangeness[0], rel=1e-5)


def test_the_answer_names_the_model_and_the_request(bundle: object, predictor: Predictor) -> None:
    """And survives the wire."""
    prediction = predictor.predict(encoded_lesion(), request_id="r-42")

    assert prediction.request_id == "r-42"
    assert prediction.model.version == "7"
    assert prediction.model.bundle_digest == bundle.digest  # type: ignore[attr-defined]
    assert set(prediction.timings_ms) == {"decode", "quality", "preprocess", "network", "decision"}
    assert from_json(to_json(prediction), Prediction) == prediction


def test_equal_bytes_give_equal_probabilities(predictor: Predictor) -> None:
    """Nothing random is left in the network."""
    first, second = (predictor.predict(encoded_lesion()) for _ in range(2))

    assert first.probabilities == second.probabilities


def test_a_small_image_is_named_and_an_ordinary_one_is_not(predictor: Predictor) -> None:
    """Reduced decoding does not make a large image look small."""

    def codes(side_px: int) -> set[str]:
        return {finding.code for finding in predictor.predict(encoded_lesion(side_px=side_px)).quality}

    assert "low_resolution" in codes(80)
    assert "low_resolution" not in codes(150)
    assert "low_resolution" not in codes(1500)


@pytest.mark.parametrize("data", [b"", b"text", encoded_lesion()[:400], encoded_lesion("PNG")[:200]])
def test_what_is_no_image_is_a_named_error(predictor: Predictor, data: bytes) -> None:
    """And the predictor lives on."""
    with pytest.raises(ImageError):
        predictor.predict(data)

    assert predictor.predict(encoded_lesion())


def test_an_altered_bundle_is_refused(tmp_path: Path) -> None:
    """One byte is enough."""
    bundle = make_tiny_bundle(tmp_path / "b")
    path = bundle.folder / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))

    with pytest.raises(BundleError, match="altered"):
        Predictor.load(bundle.folder, version="1")


def test_the_answer_is_the_mean_over_the_views_of_the_bundle(bundle: Bundle, tmp_path: Path) -> None:
    """So a turned photograph is answered like the one that was not turned; without the views it is not."""
    square = resize_square(draw_lesion("MEL", seed=4), bundle.manifest.preprocess)
    pictures = [encoded(Image.fromarray(np.rot90(square, turns)), "PNG") for turns in range(2)]

    def scores(views: Views) -> list[float]:
        predictor = Predictor.load(with_views(bundle, tmp_path / views, views).folder, version="1")
        return [predictor.predict(picture).out_of_distribution.score for picture in pictures]

    one_way, turned = scores(Views.FLIPS_AND_ROTATIONS)
    assert turned == pytest.approx(one_way, rel=1e-4)
    one_way, turned = scores(Views.NONE)
    assert turned != pytest.approx(one_way, rel=1e-4)


def test_a_network_that_takes_metadata_is_told_what_is_known(bundle: Bundle, tmp_path: Path) -> None:
    """And that nothing is known where nothing is said."""
    predictor = Predictor.load(with_metadata_branch(bundle, tmp_path / "fused").folder, version="1")

    def answer(metadata: PatientMetadata | None) -> float:
        risk = predictor.predict(encoded_lesion(), metadata=metadata).risk
        assert risk is not None
        return risk.probability

    assert answer(None) == answer(PatientMetadata())
    assert answer(PatientMetadata(sex="male")) != answer(None)
    assert answer(PatientMetadata(anatom_site_general="back")) != answer(None)
    assert answer(PatientMetadata(anatom_site_general="nowhere")) == answer(None)


def test_features_describe_the_image_as_the_reference_does(bundle: Bundle, tmp_path: Path) -> None:
    """The projected embedding, to half precision; the measures; and what the image alone would be called."""
    described = with_drift(bundle, tmp_path / "described")
    manifest, data = described.manifest, encoded_lesion(side_px=200)
    answer = Predictor.load(described.folder, version="7").predict(data, features=True)
    model = classifier_from_bundle(described, BackboneRegistry.load())
    with torch.inference_mode():
        output = model(torch.from_numpy(normalise(load_square(data, manifest.preprocess)[None], manifest.preprocess)))
    projected = read_projection(described.read(DRIFT))(output.embedding.numpy())[0]

    assert isinstance(answer, DescribedPrediction)
    embedding = embedding_from_text(answer.features.embedding_base64)
    np.testing.assert_allclose(embedding, projected, atol=1e-3)
    assert np.abs(embedding).max() > 0.001
    assert answer.features.quality == attrs.asdict(measure_quality(decode_for(data, manifest.preprocess)))
    assert list(answer.features.probabilities) == [one.probability for one in answer.probabilities]
    assert set(answer.timings_ms) == {"decode", "quality", "preprocess", "network", "decision", "features"}


def test_features_do_not_depend_on_what_is_known_of_the_patient(bundle: Bundle, tmp_path: Path) -> None:
    """A clinic that begins to send the age is no drift."""
    alike = attrs.evolve(bundle.manifest.decision.ood, threshold=1e9)  # no image is strange to it
    plain = attrs.evolve(bundle.manifest.decision, ood=alike)
    adjusted = attrs.evolve(
        plain,
        metadata=MetadataAdjustment(sites=("back",), weights=((0.9, *[0.0] * 7),) * metadata_features(("back",))),
    )
    manifest = attrs.evolve(bundle.manifest, decision=plain, decision_with_metadata=adjusted, files={})
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    whole = with_drift(write_bundle(tmp_path / "adjusted", manifest, files), tmp_path / "described")
    predictor = Predictor.load(whole.folder, version="7")
    told = PatientMetadata(age_approx=80, sex="male", anatom_site_general="back")

    with_it = predictor.predict(encoded_lesion(), metadata=told, features=True)
    without = predictor.predict(encoded_lesion(), features=True)

    assert isinstance(with_it, DescribedPrediction)
    assert isinstance(without, DescribedPrediction)
    assert with_it.probabilities != without.probabilities
    assert with_it.features == without.features


def test_features_come_only_where_they_are_asked_for_and_can_be_had(bundle: Bundle, tmp_path: Path) -> None:
    """An older bundle, without a sample to compare with, answers as ever."""
    described = Predictor.load(with_drift(bundle, tmp_path / "described").folder, version="7")
    older = Predictor.load(bundle.folder, version="7")

    assert type(described.predict(encoded_lesion())) is Prediction
    assert type(older.predict(encoded_lesion(), features=True)) is Prediction
