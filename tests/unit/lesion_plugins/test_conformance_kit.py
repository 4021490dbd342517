"""The kit passes the built-in backbones and finds every kind of broken one."""

import pytest
import torch
from torch import nn

from lesion_plugins.backbones import lesion_register_backbones
from lesion_plugins.conformance import check_backbone
from lesion_plugins.errors import ConformanceError


class _Features(nn.Module):
    """Twelve features of an image, spoilt by ``spoil``; ``random`` weights are not in the state dict."""

    def __init__(self, spoil=lambda features: features, *, hidden=False):
        super().__init__()
        self.layer = nn.Linear(3, 12)
        self.spoil = spoil
        self.hidden = torch.randn(12) if hidden else torch.zeros(12)

    def forward(self, images):
        return self.spoil(self.layer(images.mean(dim=(2, 3))) + self.hidden)


@pytest.mark.parametrize("spec", lesion_register_backbones(), ids=lambda spec: spec.name)
def test_built_in_backbone_keeps_the_contract(spec):
    """Built-in backbones pass the same kit as a stranger's, at the smallest size they allow."""

    check_backbone(spec)


@pytest.mark.parametrize("name", ["vit_tiny", "convnext_atto", "efficientnet_b0"])
def test_built_in_backbone_takes_another_size_than_its_default(name):
    """One of each family, at a size between."""

    (spec,) = [spec for spec in lesion_register_backbones() if spec.name == name]

    check_backbone(spec, input_size_px=96)


def test_a_sound_backbone_passes_and_leaves_the_random_state_alone(make_spec):
    """Checking must not change what a later seed gives."""

    state = torch.random.get_rng_state()

    check_backbone(make_spec())

    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: "a network", "build() returned str, not a torch.nn.Module"),
        (lambda: _Features(lambda f: (f, f)), "it returned tuple, not a tensor"),
        (lambda: _Features(lambda f: f[:, :5]), "features have shape (2, 5), not (2, 12)"),
        (lambda: _Features(lambda f: f.double()), "features are torch.float64, not torch.float32"),
        (lambda: _Features(lambda f: f / 0), "features are not finite"),
        (lambda: _Features(lambda f: f - f.mean(0)), "a batch of 2 differs from two batches of 1 by "),
        (lambda: _Features(hidden=True), "after saving and loading its weights, features differ by "),
        (lambda: _Features(torch.Tensor.detach), "no gradient reaches its parameters"),
        (lambda: _Features(lambda f: f.detach().requires_grad_()), "no gradient reaches its parameters"),
        (lambda: _Features(lambda f: (f * 0).sqrt()), "gradients are not finite"),
    ],
)
def test_a_broken_backbone_is_found_and_the_reason_named(make_spec, build, reason):
    """One per promise of the contract."""

    spec = make_spec(build=lambda *, input_size_px: build())

    with pytest.raises(ConformanceError) as caught:
        check_backbone(spec)

    assert caught.value.reason.startswith(reason)
    assert str(caught.value).startswith("Backbone 'tiny_cnn' does not keep the contract: ")


def test_weights_whose_names_change_from_build_to_build_are_found(make_spec):
    """Such a network could never be loaded again."""

    names = iter("abcdef")

    def build(*, input_size_px):
        module = _Features()
        module.add_module(next(names), nn.Linear(1, 1))
        return module

    with pytest.raises(ConformanceError, match="its weights do not survive safetensors"):
        check_backbone(make_spec(build=build))
