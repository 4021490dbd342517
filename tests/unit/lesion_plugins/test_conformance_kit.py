"""The kit passes the built-in backbones and finds every kind of broken one."""

import contextlib
import socket
import sys

import attrs
import pytest
import torch
from torch import nn

from lesion_plugins import conformance_checks
from lesion_plugins.backbones import lesion_register_backbones
from lesion_plugins.conformance import CHECKS, check_backbone, parametrize_with_checks
from lesion_plugins.errors import ConformanceError, OnnxPackageMissingError
from lesion_plugins.feature_map import FeatureMap

QUICK = tuple(name for name in CHECKS if name != "onnx")
SMALLEST_OF_THEIR_KIND = ("vit_tiny", "vit_small_dinov3", "convnext_atto", "convnextv2_atto", "efficientnet_lite0")
BUILT_IN = tuple(lesion_register_backbones())
LARGE = 40_000_000  # parameters


@parametrize_with_checks([spec for spec in BUILT_IN if spec.parameters < LARGE], only=QUICK)
def test_built_in_backbones_keep_the_contract(spec, check):
    """The same kit as for a stranger's, at the smallest size they allow."""

    check(spec)


@parametrize_with_checks([spec for spec in BUILT_IN if spec.parameters >= LARGE], only=["spec", "feature_map"])
def test_large_built_in_backbones_are_as_their_specs_say(spec, check):
    """They are smaller ones made wider and deeper; what is theirs alone is their numbers."""

    check(spec)


@parametrize_with_checks([spec for spec in BUILT_IN if spec.name in SMALLEST_OF_THEIR_KIND], only=["onnx"])
def test_built_in_families_answer_the_same_in_onnx_runtime(spec, check):
    """The smallest of each: the others differ in width and depth only."""

    check(spec)


@pytest.mark.parametrize("name", ["vit_tiny", "convnext_atto", "efficientnet_b0"])
def test_a_built_in_backbone_takes_another_size_than_its_default(name):
    """One of each family, at a size between."""

    (spec,) = [spec for spec in BUILT_IN if spec.name == name]

    check_backbone(spec, only=("features", "batch"), input_size_px=96)


def test_a_sound_backbone_passes_and_leaves_the_random_state_alone(make_spec):
    """Checking must not change what a later seed gives."""

    state = torch.random.get_rng_state()

    check_backbone(make_spec(), only=QUICK)

    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("only", [QUICK, ("features", "gradients", "determinism", "batch", "weights")])
def test_a_network_with_running_statistics_passes_twice_and_in_any_order(make_spec, only):
    """Training it moves them, which no other check may see."""

    spec = make_spec()

    check_backbone(spec, only=only)
    check_backbone(spec, only=only)


class _Features(nn.Module):
    """Twelve features of an image, spoilt by ``spoil``; ``hidden`` weights are not in the state dict."""

    def __init__(self, spoil=lambda features: features, *, hidden=False, idle=False):
        super().__init__()
        self.layer = nn.Linear(3, 12)
        self.spoil = spoil
        self.hidden = torch.randn(12) if hidden else torch.zeros(12)
        if idle:
            self.idle = nn.Linear(2, 2)

    def forward(self, images):
        return self.spoil(self.layer(images.mean(dim=(2, 3))) + self.hidden)


@pytest.fixture
def sound(make_spec):
    """What is true of ``_Features``."""
    return make_spec(
        build=lambda *, input_size_px: _Features(),
        parameters=48,
        multiply_adds=36,
        layer_groups=("layer",),
        feature_map=None,
        exports_onnx=False,
    )


def test_the_network_of_these_tests_is_sound_until_it_is_spoilt(sound):
    """Otherwise they would prove nothing."""

    check_backbone(sound)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: "a network", "build() returned str, not a torch.nn.Module"),
        (lambda: _Features(lambda f: (f, f)), "it returned tuple, not a tensor"),
        (lambda: _Features(lambda f: f[:, :5]), "features have shape (2, 5), not (2, 12)"),
        (lambda: _Features(lambda f: f.double()), "features are torch.float64, not torch.float32"),
        (lambda: _Features(lambda f: f / 0), "features are not finite"),
        (lambda: _Features(lambda f: f + torch.randn(12)), "the same images give features that differ by "),
        (lambda: _Features(lambda f: f - f.mean(0)), "a batch of 2 differs from two batches of 1 by "),
        (lambda: _Features(hidden=True), "after saving and loading its weights, features differ by "),
        (lambda: _Features(torch.Tensor.detach), "no gradient reaches its parameters"),
        (lambda: _Features(lambda f: f.detach().requires_grad_()), "no gradient reaches its parameters"),
        (lambda: _Features(idle=True), "no gradient reaches 2 of its parameters: idle.weight, idle.bias"),
        (lambda: _Features(lambda f: (f * 0).sqrt()), "gradients are not finite"),
        (lambda: _Features(lambda f: f * 0), "the gradient of 2 of its parameters is zero: layer.weight, layer.bias"),
        (lambda: _Features().requires_grad_(False), "2 of its parameters are frozen: layer.weight, layer.bias; a"),
        (
            lambda: _Features(lambda f: f.missing),
            "features: AttributeError: 'Tensor' object has no attribute 'missing'",
        ),
    ],
)
def test_a_broken_network_is_found_and_the_reason_named(sound, build, reason):
    """One per promise of the contract."""

    spec = attrs.evolve(sound, build=lambda *, input_size_px: build())

    with pytest.raises(ConformanceError) as caught:
        check_backbone(spec)

    assert caught.value.reason.startswith(reason)
    assert str(caught.value).startswith("Backbone 'tiny_cnn' does not keep the contract: ")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"parameters": 47}, "its spec says parameters=47, it has 48"),
        ({"multiply_adds": 35}, "its spec says multiply_adds=35, counted were 36"),
        ({"layer_groups": ("head",)}, "parameter 'layer.weight' of tiny_cnn belongs to none of its layer groups"),
        ({"layer_groups": ("layer", "head")}, "no parameter belongs to 1 of its layer groups: head"),
    ],
)
def test_a_spec_that_is_not_true_is_found_with_what_was_measured(sound, changes, reason):
    """So that its author can write it down."""

    with pytest.raises(ConformanceError) as caught:
        check_backbone(attrs.evolve(sound, **changes))

    assert caught.value.reason == reason


def test_weights_whose_names_change_from_build_to_build_are_found(sound):
    """Such a network could never be loaded again."""

    names = iter("abcdefgh")

    def build(*, input_size_px):
        module = _Features()
        module.add_module(next(names), nn.Linear(1, 1))
        return module

    with pytest.raises(ConformanceError, match="its weights do not survive safetensors"):
        check_backbone(attrs.evolve(sound, build=build), only=("weights",))


def test_a_residual_branch_that_begins_at_zero_is_sound(sound):
    """It gets its gradient from the second step on."""

    class Residual(_Features):
        def __init__(self):
            super().__init__()
            self.branch = nn.Linear(12, 12)
            self.gain = nn.Parameter(torch.zeros(12))

        def forward(self, images):
            features = super().forward(images)
            return features + self.gain * self.branch(features)

    check_backbone(attrs.evolve(sound, build=lambda *, input_size_px: Residual()), only=("gradients",))


def test_a_size_that_the_spec_accepts_and_the_network_does_not_is_found(sound):
    """Here a network that is made for multiples of 16."""

    class Picky(_Features):
        def forward(self, images):
            return super().forward(images.unflatten(2, (-1, 16)).flatten(2, 3))

    with pytest.raises(ConformanceError, match="it cannot take 17 px, which its spec accepts: "):
        check_backbone(attrs.evolve(sound, build=lambda *, input_size_px: Picky()), only=("input_sizes",))


def test_the_largest_size_that_the_spec_names_is_tried(sound):
    """It is what a user is told to take instead of a larger one."""

    class Small(_Features):
        def forward(self, images):
            assert images.shape[-1] < 100, "too large"
            return super().forward(images)

    spec = attrs.evolve(sound, build=lambda *, input_size_px: Small(), largest_input_px=128)

    with pytest.raises(ConformanceError, match="it cannot take 128 px, which its spec accepts: too large"):
        check_backbone(spec, only=("input_sizes",))


@pytest.mark.parametrize(
    "ask",
    [
        lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
        lambda: socket.socket().connect(("127.0.0.1", 9)),
        lambda: socket.socket().connect_ex(("127.0.0.1", 9)),
        lambda: socket.getaddrinfo("weights.example", 443),
    ],
    ids=["a connection", "connect", "connect_ex", "a name"],
)
@pytest.mark.parametrize("is_swallowed", [False, True], ids=["fails", "goes on"])
def test_a_build_that_asks_the_network_is_found(sound, ask, is_swallowed):
    """Weights are a matter of ``bundled`` and ``hub``; nobody is really asked, and going on is no excuse."""

    def build(*, input_size_px):
        with contextlib.suppress(OSError if is_swallowed else KeyError):
            ask()
        return _Features()

    with pytest.raises(ConformanceError, match=r"build\(\) opened a network connection"):
        check_backbone(attrs.evolve(sound, build=build), only=("offline",))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"reshape": lambda output: output.transpose(2, 3)},
            r"a bright square in quadrant \(0, 1\) .* changes \(1, 0\)",
        ),
        ({"reshape": lambda output: output.flip(2)}, r"a bright square in quadrant \(0, 0\) .* changes \(1, 0\)"),
        ({"reshape": lambda output: output.flatten(2)}, r"its feature map is \(5, 12, \d+\), not \(N, 12, h, w\)"),
        (
            {"reshape": lambda output: output.mean((2, 3), keepdim=True)},
            "its feature map has 1 x 1 cells for 224 px, an",
        ),
        ({"layer": "0"}, "its map is not pooled by the mean: that differs from the features by "),
    ],
    ids=["rows and columns", "upside down", "no places", "one place", "another layer"],
)
def test_a_feature_map_that_is_not_as_the_image_is_found(make_spec, changes, reason):
    """A heat map of it would point beside the lesion."""

    tiny = make_spec()
    spec = attrs.evolve(tiny, feature_map=attrs.evolve(tiny.feature_map, **changes))

    with pytest.raises(ConformanceError, match=reason):
        check_backbone(spec, only=("feature_map",))


@pytest.mark.parametrize("largest_px", [128, 100])
def test_the_map_of_a_network_for_small_images_is_checked_at_a_size_that_it_takes(make_spec, largest_px):
    """The largest multiple that it accepts."""

    def build(*, input_size_px):
        assert input_size_px <= largest_px
        return tiny.build(input_size_px=input_size_px)

    tiny = make_spec()
    spec = attrs.evolve(tiny, build=build, largest_input_px=largest_px, input_multiple_px=16)

    check_backbone(spec, only=("feature_map",))


def test_answers_that_differ_in_onnx_runtime_are_found(sound):
    """Here by a number that the export freezes."""

    class Fickle(_Features):
        def forward(self, images):
            return super().forward(images) + (0 if torch.compiler.is_exporting() else 1)

    spec = attrs.evolve(sound, build=lambda *, input_size_px: Fickle(), exports_onnx=True)

    with pytest.raises(ConformanceError, match="in ONNX Runtime its "):
        check_backbone(spec, only=("onnx",))


def test_a_feature_map_that_is_missing_in_onnx_runtime_is_found(make_spec, monkeypatch):
    """Servers would have no heat map, and nobody would know why."""

    class Mapless(conformance_checks.OnnxNetwork):
        def __call__(self, images):
            return super().__call__(images)._replace(feature_map=None)

    monkeypatch.setattr(conformance_checks, "OnnxNetwork", Mapless)

    with pytest.raises(ConformanceError, match="its feature map is missing in ONNX Runtime"):
        check_backbone(make_spec(), only=("onnx",))


def test_a_package_that_is_missing_is_no_failure_of_the_backbone(make_spec, monkeypatch):
    """A known failure must not hide that nothing was checked."""

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    mark = parametrize_with_checks([make_spec()], only=["onnx"], known_failures={("tiny_cnn", "onnx"): "odd"})
    (((expected,),),) = ([param.marks for param in mark.args[1]],)

    with pytest.raises(OnnxPackageMissingError) as caught:
        check_backbone(make_spec(), only=("onnx",))

    assert not isinstance(caught.value, expected.kwargs["raises"])


def test_a_test_runs_once_for_each_check_of_each_backbone(make_spec):
    """Named after both."""

    mark = parametrize_with_checks([make_spec(name="one"), make_spec(name="two")])

    assert [param.id for param in mark.args[1]] == [f"{name}-{check}" for name in ("one", "two") for check in CHECKS]


def test_a_known_failure_is_expected_strictly_and_with_its_reason(make_spec):
    """One that passes after all is a failure, by pytest's own strict mode."""

    mark = parametrize_with_checks([make_spec()], known_failures={("tiny_cnn", "batch"): "norm over the batch"})

    marked = {param.id: param.marks for param in mark.args[1] if param.marks}
    ((expected,),) = marked.values()
    assert list(marked) == ["tiny_cnn-batch"]
    assert expected.kwargs["strict"] is True
    assert expected.kwargs["reason"] == "norm over the batch"


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ({("tiny_cnn", "batch"): " "}, "the known failure of 'batch' has no reason"),
        ({("tiny_cnn", "speed"): "slow"}, "the known failure of 'speed' is of nothing that is checked here"),
        ({("tiny_cmm", "batch"): "odd"}, "the known failure of 'batch' is of nothing that is checked here"),
    ],
)
def test_a_known_failure_without_a_reason_or_of_nothing_is_refused(make_spec, known, reason):
    """It would hide something, or do nothing."""

    with pytest.raises(ConformanceError, match=reason):
        parametrize_with_checks([make_spec()], known_failures=known)


def test_a_map_needs_a_layer():
    """An empty name is the whole network, which puts out features and not a map."""

    with pytest.raises(ValueError, match="layer"):
        FeatureMap(layer="", reshape=lambda output: output)
