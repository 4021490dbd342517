"""Any model of timm, described by building it without weights."""

import pytest
import torch

from lesion_plugins import backbones, torchvision_remedy
from lesion_plugins.classifier import build_classifier
from lesion_plugins.errors import InputSizeError, UnknownBackboneError, UnusableModelError, WeightsError
from lesion_plugins.registry import BackboneRegistry

torchvision_remedy.apply()

import timm  # noqa: E402  (needs the remedy first)


@pytest.fixture(scope="module")
def registry():
    """The built-in plugin, which holds the bridge as a stranger's would."""
    return BackboneRegistry.load(plugins=[backbones])


@pytest.mark.parametrize(
    ("model", "features", "map_shape", "other_px"),
    [
        ("resnet18", 512, (3, 3), 96),
        ("vit_tiny_patch16_224", 192, (6, 6), 96),
        ("swin_tiny_patch4_window7_224", 768, (7, 7), None),
        ("mobilenetv4_conv_small", 1280, None, 96),
    ],
)
def test_what_the_spec_says_is_what_the_network_does(registry, model, features, map_shape, other_px):
    """Features, parameters, the map where there is one, and a layer group for every parameter."""

    spec = registry.get(f"timm:{model}")
    side = other_px or spec.preprocess.input_size_px
    classifier, _ = build_classifier(spec, classes=3, input_size_px=side, pretrained="none")
    with torch.no_grad():
        output = classifier.eval()(torch.randn(2, 3, side, side))

    assert output.embedding.shape == (2, features) == (2, spec.feature_dim)
    assert sum(parameter.numel() for parameter in spec.build(input_size_px=224).parameters()) == spec.parameters
    assert (None if output.feature_map is None else output.feature_map.shape[2:]) == map_shape
    groups = {spec.layer_of(name) for name, _ in classifier.backbone.named_parameters()}
    assert groups == set(range(len(spec.layer_groups)))


def test_a_network_that_is_made_for_one_size_takes_no_other(registry):
    """Its windows fit that size only."""

    spec = registry.get("timm:swin_tiny_patch4_window7_224")

    for size_px in (192, 448):
        with pytest.raises(InputSizeError, match=r"it takes 224 px only\. The nearest size is 224 px"):
            spec.check_input_size(size_px)


def test_weights_are_named_with_the_tag_and_licence_that_timm_would_take(registry):
    """A bundle says for good what training started from."""

    tagged = registry.get("timm:resnet18.fb_swsl_ig1b_ft_in1k")

    assert registry.get("timm:resnet18").hub.origin == "hub: timm/resnet18.a1_in1k, Apache-2.0"
    assert (tagged.hub.license, tagged.weights_license) == ("CC-BY-NC-4.0", "CC-BY-NC-4.0")


@pytest.mark.parametrize(
    ("model", "repository"),
    [
        ("cspnext_m.rsb_a1_in1k", "munehiro-k/cspnext_m.rsb_a1_in1k"),
        ("fastvit_mci0.apple_mclip", "apple/mobileclip_s0_timm"),
        ("resnet18.a1_in1k", "timm/resnet18.a1_in1k"),
    ],
)
def test_weights_of_somebody_else_are_named_and_looked_for_in_their_repository(
    registry, monkeypatch, model, repository
):
    """timm knows where; the hub's cache goes by that name."""

    asked = []

    def refuse(name):
        asked.append(name)
        raise WeightsError("no hub in this test")

    monkeypatch.setattr("lesion_plugins.hub.require_hub", refuse)
    hub = registry.get(f"timm:{model}").hub

    with pytest.raises(WeightsError):
        hub.load(64)

    assert hub.origin.startswith(f"hub: {repository}, ")
    assert asked == [repository]


def test_weights_that_are_in_no_repository_are_not_called_weights_of_the_hub(registry):
    """timm would take an old checkpoint from an address."""

    assert registry.get("timm:gcvit_small.in1k").hub is None


@pytest.mark.parametrize("spec", [spec for spec in backbones.lesion_register_backbones() if spec.hub])
def test_built_in_weights_are_in_the_repository_that_they_name(spec):
    """Written down, since listing them does not import timm."""

    model = spec.hub.origin.removeprefix("hub: timm/").rsplit(", ")[0]

    assert timm.get_pretrained_cfg(model).hf_hub_id == f"timm/{model}"


def test_a_transformer_with_one_number_for_its_patch_is_described(registry):
    """Most have two."""

    assert registry.get("timm:xcit_nano_12_p16_224").preprocess.input_size_px == 224


@pytest.mark.parametrize(
    ("name", "closest"),
    [
        ("timm:resnet81", "timm:resnet18"),
        ("timm:convnext_atto.d2_in2k", "timm:convnext_atto.d2_in1k"),
        ("timm:", None),
        ("timm:zzzzzzzz", None),
    ],
)
def test_a_name_that_timm_does_not_know_is_answered_with_the_closest(registry, name, closest):
    """By the bridge, since only timm knows its names."""

    with pytest.raises(UnknownBackboneError) as caught:
        registry.get(name)

    assert (caught.value.name, caught.value.closest) == (name, closest)


def test_a_network_whose_images_are_not_shifted_is_described(registry):
    """Its mean is 0."""

    assert registry.get("timm:mobilevit_s").preprocess.mean == (0, 0, 0)


def test_a_model_that_exists_and_cannot_be_a_backbone_is_answered_with_the_reason(registry, monkeypatch):
    """It is not called unknown: nothing is wrong with the name."""

    def refuse(*_):
        raise RuntimeError("two streams expected")

    monkeypatch.setattr("lesion_plugins.timm_bridge._probe", refuse)

    with pytest.raises(UnusableModelError, match=r"timm:resnet34 cannot be a backbone: it does not run .* two streams"):
        registry.get("timm:resnet34")
