"""Heat maps: what they show is what the network adds up, and they are small."""

from __future__ import annotations

import io
from pathlib import Path

import attrs
import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from lesion_core.bundle import Bundle
from lesion_core.datasets.synthetic import draw_lesion
from lesion_core.decision.metadata import PatientMetadata, encode_metadata
from lesion_core.preprocess import load_square, normalise
from lesion_core.preprocess_spec import Views
from lesion_core.taxonomy import ISIC_2019
from lesion_core.views import views_of
from lesion_core.wire import HeatMap, Prediction
from lesion_plugins.activation_map import class_activation_maps
from lesion_plugins.classifier import classifier_from_bundle
from lesion_plugins.registry import BackboneRegistry
from lesion_serve import predictor as predictor_module
from lesion_serve.heat_map import LONGEST_SIDE_PX, draw_heat_map, evidence_for
from lesion_serve.network import load_network
from lesion_serve.predictor import Predictor
from support.bundles import make_tiny_bundle, with_metadata_branch, with_views
from support.images import encoded_lesion


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture
def predictor(bundle: Bundle) -> Predictor:
    return Predictor.load(bundle.folder, version="7")


def opened(drawn: HeatMap) -> Image.Image:
    return Image.open(io.BytesIO(drawn.png))


def steps_of(drawn: HeatMap) -> NDArray[np.int64]:
    """How much evidence each pixel shows, 0 to 15."""
    return np.asarray(opened(drawn), dtype=np.int64) // HeatMap.LEVELS


def top_trained(prediction: Prediction) -> str:
    return max(prediction.probabilities[:-1], key=lambda item: item.probability).code


def some_evidence(side: int, lowest: float, highest: float) -> NDArray[np.float32]:
    return np.linspace(lowest, highest, side * side, dtype=np.float32).reshape(side, side)


def test_the_picture_is_the_classifiers_own_activation_map(bundle: Bundle, predictor: Predictor) -> None:
    """Of the top diagnosis, enlarged to the square that the network saw; read back from the pixels."""
    data = encoded_lesion(code="MEL", seed=3)
    manifest = bundle.manifest
    model = classifier_from_bundle(bundle, BackboneRegistry.load())
    square = load_square(data, manifest.preprocess)
    with torch.inference_mode():
        output = model(torch.from_numpy(normalise(square[None], manifest.preprocess)))
        maps = class_activation_maps(output.feature_map.numpy(), model.head.weight.numpy())
        own = torch.nn.functional.interpolate(torch.from_numpy(maps), square.shape[:2], mode="bilinear")[0].numpy()

    prediction = predictor.predict(data, heat_map=True)

    drawn = prediction.heat_map
    assert drawn is not None
    assert drawn.code == top_trained(prediction)
    expected = own[manifest.taxonomy.trained_codes.index(drawn.code)]
    assert (drawn.lowest, drawn.highest) == pytest.approx((expected.min(), expected.max()), abs=1e-4)
    assert drawn.highest > 0
    wanted = np.rint((HeatMap.LEVELS - 1) * expected.clip(0) / expected.max()).astype(np.int64)
    assert len(np.unique(wanted)) > 5
    assert (steps_of(drawn) != wanted).mean() < 0.01  # a value on the edge of two steps may fall to either side


@pytest.mark.parametrize("views", list(Views))
def test_evidence_adds_up_to_the_logit_whatever_the_views(bundle: Bundle, tmp_path: Path, views: Views) -> None:
    """Its mean and the head's bias are the averaged logit of every class."""
    viewed = with_views(bundle, tmp_path / "viewed", views)
    spec, registry = viewed.manifest.preprocess, BackboneRegistry.load()
    square = load_square(encoded_lesion(), spec)
    network = load_network(viewed, registry, engine="torch", threads=1)

    answer = network.run(normalise(np.concatenate(list(views_of(square[None], views))), spec), None)

    assert answer.feature_map is not None
    bias = classifier_from_bundle(viewed, registry).head.bias.detach().numpy()
    sums = [
        evidence_for(row, answer.feature_map, views=views, side_px=len(square)).mean() for row in network.head_weight
    ]
    np.testing.assert_allclose(np.array(sums) + bias, answer.output.logits.mean(axis=0), atol=1e-4)


def test_a_turned_photograph_has_a_turned_heat_map(bundle: Bundle, tmp_path: Path) -> None:
    """Where all symmetries are averaged."""
    viewed = with_views(bundle, tmp_path / "viewed", Views.FLIPS_AND_ROTATIONS)
    predictor = Predictor.load(viewed.folder, version="1")
    pixels = draw_lesion("MEL", seed=4, side_px=bundle.manifest.preprocess.input_size_px)

    def steps(picture: NDArray[np.uint8]) -> NDArray[np.int64]:
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "PNG")
        drawn = predictor.predict(stream.getvalue(), heat_map=True).heat_map
        assert drawn is not None
        return steps_of(drawn)

    upright, turned = steps(pixels), steps(np.ascontiguousarray(np.rot90(pixels)))

    assert (turned != np.rot90(upright)).mean() < 0.01
    assert (turned != upright).mean() > 0.05


def test_the_map_explains_the_diagnosis_that_metadata_made_the_most_probable(bundle: Bundle, tmp_path: Path) -> None:
    """Also of an image so strange that nothing is left for any trained diagnosis, as this bundle finds them all."""
    fused = with_metadata_branch(bundle, tmp_path / "fused")
    predictor = Predictor.load(fused.folder, version="1")
    model = classifier_from_bundle(fused, BackboneRegistry.load())
    spec, sites = fused.manifest.preprocess, fused.manifest.metadata_sites
    assert sites is not None
    images = torch.from_numpy(normalise(load_square(encoded_lesion(), spec)[None], spec))
    patients = [PatientMetadata(age_approx=age, sex=sex) for age in (None, 0, 40, 120) for sex in ("female", "male")]

    answers = [predictor.predict(encoded_lesion(), metadata=patient, heat_map=True) for patient in patients]

    with torch.inference_mode():
        told = [torch.from_numpy(encode_metadata([patient], sites).astype(np.float32)) for patient in patients]
        tops = [ISIC_2019.trained_codes[int(model(images, one).logits.argmax())] for one in told]
    assert [answer.heat_map.code for answer in answers if answer.heat_map is not None] == tops
    assert len(set(tops)) > 1
    assert sum(item.probability for item in answers[0].probabilities[:-1]) == 0


def test_nothing_is_drawn_unless_it_is_asked_for(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary answer costs what it did before."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("evidence was computed")

    asked = predictor.predict(encoded_lesion(), heat_map=True)
    monkeypatch.setattr(predictor_module, "evidence_for", refuse)
    plain = predictor.predict(encoded_lesion())

    assert plain.heat_map is None
    assert "heat_map" not in plain.timings_ms
    assert "heat_map" in asked.timings_ms
    assert plain.probabilities == asked.probabilities
    with pytest.raises(AssertionError, match="was computed"):
        predictor.predict(encoded_lesion(), heat_map=True)


def test_features_without_places_have_no_heat_map(predictor: Predictor) -> None:
    """The answer is there all the same."""
    network = predictor._network
    predictor._network = attrs.evolve(
        network, run=lambda images, metadata: network.run(images, metadata)._replace(feature_map=None)
    )

    assert predictor.predict(encoded_lesion(), heat_map=True).heat_map is None


@pytest.mark.parametrize(("is_additive", "method"), [(True, "class_activation"), (False, "opinion_of_places")])
def test_the_map_names_what_it_is(is_additive: bool, method: str) -> None:
    """Only where the features are the mean of the map do its values add up to something."""
    drawn = draw_heat_map(draw_lesion("NV", seed=1), some_evidence(150, -1, 3), code="NV", is_additive=is_additive)

    assert (drawn.code, drawn.method) == ("NV", method)
    assert (drawn.lowest, drawn.highest) == (-1, 3)


@pytest.mark.parametrize("highest", [0.0, -0.5])
def test_without_evidence_no_place_is_coloured(highest: float) -> None:
    """What speaks against the diagnosis is drawn as nothing, and the range says that it is there."""
    drawn = draw_heat_map(draw_lesion("NV", seed=1), some_evidence(150, -3, highest), code="NV", is_additive=True)

    assert not steps_of(drawn).any()
    assert (drawn.lowest, drawn.highest) == (-3, highest)


def test_the_picture_is_small_however_large_the_square() -> None:
    """It travels inside of JSON."""
    square = draw_lesion("MEL", seed=1, side_px=700)
    noise = np.random.default_rng(0).normal(0, 12, square.shape)
    square = np.clip(square + noise, 0, 255).astype(np.uint8)

    drawn = draw_heat_map(square, some_evidence(700, -1, 3), code="MEL", is_additive=True)

    assert opened(drawn).size == (LONGEST_SIDE_PX, LONGEST_SIDE_PX)
    assert len(drawn.png) < 150_000


def test_more_evidence_is_lighter_over_any_grey() -> None:
    """Lightness alone tells the order, so nobody needs to see the hues."""
    ramp = (
        np.repeat(np.arange(HeatMap.LEVELS) * (256 // HeatMap.LEVELS), HeatMap.LEVELS)
        .reshape(HeatMap.LEVELS, HeatMap.LEVELS)
        .astype(np.uint8)
    )
    evidence = np.tile(np.arange(HeatMap.LEVELS, dtype=np.float32), (HeatMap.LEVELS, 1))

    drawn = draw_heat_map(np.repeat(ramp[..., None], 3, axis=2), evidence, code="NV", is_additive=True)

    shown = np.asarray(opened(drawn).convert("RGB"), dtype=np.float32) / 255
    lightness = cv2.cvtColor(shown, cv2.COLOR_RGB2Lab)[..., 0]
    rises = np.diff(lightness, axis=1)  # from step to step, one row for each grey
    assert rises.min() > 0.5
    assert rises.max() < 4 * rises.min()
