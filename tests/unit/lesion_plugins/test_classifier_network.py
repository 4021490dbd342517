"""The classifier: its outputs, its parameters, and its way through a bundle."""

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from lesion_core.bundle import (
    BundleManifest,
    TrainingFacts,
    write_bundle,
)
from lesion_core.errors import BundleError
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_core.taxonomy import ISIC_2019
from lesion_plugins.backbone import RANDOM_ORIGIN
from lesion_plugins.classifier import build_classifier, classifier_from_bundle
from lesion_plugins.errors import InputSizeError, PluginMissingError, PluginVersionError
from lesion_plugins.registry import BackboneRegistry
from lesion_plugins.weights import weights_to_bytes
from support.decisions import DECISION

SIZE_PX = 32
CLASSES = len(ISIC_2019.trained)


@pytest.fixture
def registry(make_plugin, make_spec):
    """A registry with the tiny backbone only."""
    return BackboneRegistry.load(plugins=[make_plugin([make_spec()])])


def _build(spec, **changes):
    options = {"classes": CLASSES, "input_size_px": SIZE_PX, "pretrained": "none", **changes}
    classifier, _ = build_classifier(spec, **options)
    return classifier


def _write(folder, registry, classifier, **changes):
    manifest = BundleManifest(
        name="test",
        backbone=registry.identity("tiny_cnn", RANDOM_ORIGIN),
        taxonomy=ISIC_2019,
        preprocess=PreprocessSpec(input_size_px=SIZE_PX),
        decision=DECISION,
        training=TrainingFacts(
            dataset="none",
            data_digest="",
            split_digest="",
            seed=0,
            git_revision="",
            lock_digest="",
            created_at="2025-01-01T00:00:00+00:00",
            train_images=0,
            validation_images=0,
            metrics={},
        ),
    )
    files = {
        "weights.safetensors": weights_to_bytes(classifier),
        "reference.safetensors": b"",
        "card.md": b"",
    }
    return write_bundle(folder, attrs.evolve(manifest, **changes), files)


@settings(max_examples=15, deadline=None)
@given(batch=st.integers(1, 5), classes=st.integers(2, 9), input_size_px=st.integers(16, 48))
def test_outputs_have_their_declared_shapes_and_types(make_spec, batch, classes, input_size_px):
    """Logits ``(N, K)`` and embedding ``(N, D)``, float32."""

    classifier = _build(make_spec(), classes=classes, input_size_px=input_size_px)

    output = classifier(torch.zeros(batch, 3, input_size_px, input_size_px))

    assert ((batch, classes), (batch, 12)) == (output.logits.shape, output.embedding.shape)
    assert {torch.float32} == {output.logits.dtype, output.embedding.dtype}


@settings(max_examples=10, deadline=None)
@given(batch=st.integers(1, 6), seed=st.integers(0, 99))
def test_a_batch_equals_batches_of_one(make_spec, batch, seed):
    """In evaluation mode the images of a batch do not influence each other."""

    classifier = _build(make_spec()).eval()
    images = torch.randn(batch, 3, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(seed))

    together = classifier(images).logits

    assert torch.allclose(together, torch.cat([classifier(image[None]).logits for image in images]), atol=1e-5)


def test_memory_format_does_not_change_the_answer(make_spec):
    """``channels_last`` is only quicker."""

    classifier = _build(make_spec()).eval()
    images = torch.randn(2, 3, SIZE_PX, SIZE_PX)
    plain = classifier(images).logits

    classifier.to(memory_format=torch.channels_last)
    last = classifier(images.to(memory_format=torch.channels_last)).logits

    assert torch.allclose(plain, last, atol=1e-5)


def test_dropout_spares_the_embedding(make_spec):
    """The embedding feeds the out-of-distribution detector: it is what the backbone pooled."""

    classifier = _build(make_spec(), dropout=0.9).train()
    images = torch.randn(4, 3, SIZE_PX, SIZE_PX)

    output = classifier(images)

    assert torch.equal(classifier.backbone(images), output.embedding)
    assert not torch.allclose(classifier.head(output.embedding), output.logits)


def test_backbone_and_head_parameters_make_up_all(make_spec):
    """Two groups for two learning rates, without overlap."""

    classifier = _build(make_spec())
    groups = [*classifier.backbone.parameters(), *classifier.head_parameters()]

    assert {id(parameter) for parameter in classifier.parameters()} == {id(parameter) for parameter in groups}
    assert len(groups) == len(set(map(id, groups)))


def test_a_seed_makes_the_network(make_spec):
    """Building uses torch's global random state and nothing else."""

    def seeded(seed):
        torch.manual_seed(seed)
        return weights_to_bytes(_build(make_spec()))

    assert seeded(3) == seeded(3)
    assert seeded(3) != seeded(4)


def test_a_size_that_the_backbone_cannot_take_is_refused(make_spec):
    """Before anything is built."""

    with pytest.raises(InputSizeError, match="The nearest size is 16 px"):
        _build(make_spec(), input_size_px=8)


def test_a_bundle_gives_back_the_classifier_that_was_trained(tmp_path, registry, make_spec):
    """Same answers, in evaluation mode, and nothing to warn about."""

    trained = _build(make_spec(), dropout=0.5).eval()
    bundle = _write(tmp_path / "bundle", registry, trained)

    with capture_logs() as events:
        restored = classifier_from_bundle(bundle, registry)

    images = torch.randn(2, 3, SIZE_PX, SIZE_PX)
    assert not restored.training
    assert torch.equal(trained(images).logits, restored(images).logits)
    assert events == []


def test_a_backbone_of_a_version_that_does_not_serve_it_is_refused(tmp_path, registry, make_spec):
    """Weights that fit are not proof that the network is the same."""

    identity = attrs.evolve(registry.identity("tiny_cnn", RANDOM_ORIGIN), plugin_version="0.0.1")
    bundle = _write(tmp_path / "bundle", registry, _build(make_spec()), backbone=identity)

    with pytest.raises(PluginVersionError, match=r"pip install 'acme_plugin==0\.0\.1'"):
        classifier_from_bundle(bundle, registry)


def test_a_bundle_with_weights_of_another_network_is_refused(tmp_path, registry, make_spec):
    """Strictly: no tensor may be missing, left over or of another shape."""

    bundle = _write(tmp_path / "bundle", registry, _build(make_spec(), classes=3))

    with pytest.raises(BundleError, match="another network"):
        classifier_from_bundle(bundle, registry)


def test_a_bundle_whose_backbone_is_not_installed_is_refused(tmp_path, registry, make_spec):
    """The error names the backbone."""

    bundle = _write(tmp_path / "bundle", registry, _build(make_spec()))

    with pytest.raises(PluginMissingError, match="tiny_cnn"):
        classifier_from_bundle(bundle, BackboneRegistry.load(plugins=[]))


def test_a_metadata_branch_adds_to_the_logits_and_starts_silent(make_spec):
    """The embedding and the map stay those of the image."""

    classifier = _build(make_spec(), metadata_features=4).eval()
    images, metadata = torch.randn(3, 3, SIZE_PX, SIZE_PX), torch.randn(3, 4)

    fresh = classifier(images, metadata)
    torch.nn.init.ones_(classifier.metadata_branch[-1].weight)
    trained = classifier(images, metadata)

    assert torch.allclose(fresh.logits, classifier.head(fresh.embedding))
    assert torch.equal(fresh.embedding, trained.embedding)
    assert not torch.allclose(fresh.logits, trained.logits)


@pytest.mark.parametrize(("features", "metadata"), [(0, torch.zeros(1, 4)), (4, None)])
def test_metadata_and_its_branch_belong_together(make_spec, features, metadata):
    """Neither is ever left out in silence."""

    classifier = _build(make_spec(), metadata_features=features)

    with pytest.raises(ValueError, match="metadata"):
        classifier(torch.zeros(1, 3, SIZE_PX, SIZE_PX), metadata)
