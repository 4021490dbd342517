"""Feature maps and the activation maps that are made of them."""

import copy
import threading

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion_plugins import backbones
from lesion_plugins.activation_map import class_activation_maps
from lesion_plugins.classifier import build_classifier
from lesion_plugins.feature_map import channels_last, class_and_patch_tokens, patch_tokens
from lesion_plugins.registry import BackboneRegistry

CLASSES = 8
SIZE_PX = 64


def _classifier(name, *, pretrained="none", size_px=SIZE_PX):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        spec = BackboneRegistry.load(plugins=[backbones]).get(name)
        classifier, _ = build_classifier(spec, classes=CLASSES, input_size_px=size_px, pretrained=pretrained)
    return classifier.eval()


def _images(count=2, size_px=SIZE_PX):
    return torch.randn(count, 3, size_px, size_px, generator=torch.Generator().manual_seed(1))


def _maps(output, classifier):
    return class_activation_maps(output.feature_map.detach().numpy(), classifier.head.weight.detach().numpy())


FAMILIES = ["vit_tiny", "vit_small_dinov3", "convnext_atto", "convnextv2_atto", "efficientnet_lite0"]


@pytest.mark.parametrize("name", FAMILIES)
def test_activation_maps_add_up_to_the_logits(name):
    """Of every built-in family: nothing is approximated, whatever stands between map and embedding."""

    classifier = _classifier(name)
    with torch.no_grad():
        output = classifier(_images())

    assert torch.allclose(output.feature_map.mean(dim=(2, 3)), output.embedding, atol=1e-4)
    sums = _maps(output, classifier).mean(axis=(2, 3)) + classifier.head.bias.detach().numpy()
    np.testing.assert_allclose(sums, output.logits.numpy(), atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_map_has_the_layout_of_the_image(name):
    """Its cells are a square grid, and its features are the embedding's."""

    output = _classifier(name)(_images())

    assert output.feature_map.shape[:2] == output.embedding.shape
    assert output.feature_map.shape[2] == output.feature_map.shape[3] >= 2


def test_activation_maps_equal_grad_cam_up_to_a_factor():
    """For a network that ends in global average pooling, as Selvaraju et al. show; the factor is one for all cells."""

    classifier = _classifier("efficientnet_lite0")
    output = classifier(_images())
    maps = _maps(output, classifier)

    for label in range(CLASSES):
        (gradient,) = torch.autograd.grad(
            output.logits[:, label].sum(), output.feature_map, retain_graph=True, materialize_grads=True
        )
        grad_cam = (gradient.mean(dim=(2, 3), keepdim=True) * output.feature_map).sum(dim=1).detach().numpy()
        cells = grad_cam.shape[1] * grad_cam.shape[2]
        np.testing.assert_allclose(cells * grad_cam, maps[:, label], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("part", ["head", "backbone"])
def test_activation_maps_depend_on_the_weights(part):
    """The sanity check of Adebayo et al. 2018: with weights drawn anew, the maps are others."""

    classifier = _classifier("efficientnet_lite0", pretrained="bundled", size_px=128)
    randomised = copy.deepcopy(classifier)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        for module in getattr(randomised, part).modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    images = _images(4, 128)
    with torch.no_grad():
        before, after = (_maps(network(images), network) for network in (classifier, randomised))

    likeness = [
        abs(np.corrcoef(before[i, k].ravel(), after[i, k].ravel())[0, 1]) for i in range(4) for k in range(CLASSES)
    ]
    assert np.mean(likeness) < 0.5


def test_a_copy_has_a_map_of_its_own():
    """Training keeps an averaged copy of the network."""

    classifier = _classifier("efficientnet_lite0")
    copied = copy.deepcopy(classifier)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.mul_(1.1)
        one, other = classifier(_images()), copied(_images())

    assert torch.equal(one.feature_map.mean(dim=(2, 3)), classifier(_images()).feature_map.mean(dim=(2, 3)))
    assert not torch.allclose(one.feature_map, other.feature_map)


def test_threads_do_not_see_each_other_s_maps():
    """One network, several requests at once."""

    classifier = _classifier("convnext_atto")
    batches = [_images(count) for count in (1, 2, 3, 4)]
    shapes: dict[int, set[int]] = {}

    def run(batch):
        with torch.no_grad():
            for _ in range(5):
                shapes.setdefault(len(batch), set()).add(len(classifier(batch).feature_map))

    threads = [threading.Thread(target=run, args=(batch,)) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert shapes == {1: {1}, 2: {2}, 3: {3}, 4: {4}}


def test_a_backbone_without_a_map_gives_none(make_spec):
    """Then there is no heat map, and everything else works."""

    classifier, _ = build_classifier(make_spec(feature_map=None), classes=3, input_size_px=32, pretrained="none")

    assert classifier(_images(2, 32)).feature_map is None


def test_a_map_of_a_layer_that_does_not_exist_is_refused(make_spec):
    """When the network is built, not when somebody asks for a heat map."""

    spec = make_spec()
    spec = attrs.evolve(spec, feature_map=attrs.evolve(spec.feature_map, layer="no_such_layer"))

    with pytest.raises(AttributeError, match="no_such_layer"):
        build_classifier(spec, classes=3, input_size_px=32, pretrained="none")


@settings(max_examples=30, deadline=None)
@given(batch=st.integers(1, 3), side=st.integers(1, 5), prefix=st.integers(1, 5), width=st.integers(1, 4))
def test_tokens_become_cells_in_reading_order(batch, side, prefix, width):
    """Row by row from the top left; prefix tokens are left out, or the class token stands in every cell."""

    tokens = torch.randn(batch, prefix + side**2, width)

    patches = patch_tokens(prefix)(tokens)
    joined = class_and_patch_tokens(prefix)(tokens)

    assert patches.shape == (batch, width, side, side)
    assert torch.equal(patches[:, :, 0, side - 1], tokens[:, prefix + side - 1])
    assert torch.equal(patches[:, :, side - 1, 0], tokens[:, prefix + (side - 1) * side])
    assert torch.equal(joined[:, width:], patches)
    assert all(torch.equal(joined[:, :width, row, row], tokens[:, 0]) for row in range(side))


def test_channels_may_come_last():
    """Swin and its relatives put them there."""

    cells = torch.randn(2, 3, 4, 5)

    assert torch.equal(channels_last(cells)[1, 4, 2, 3], cells[1, 2, 3, 4])
