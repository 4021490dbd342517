"""The network that is trained and served: a backbone with dropout and one linear layer."""

# N images · K trained classes · D features · H, W pixels

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import structlog
from torch import Tensor, nn

from lesion_core.bundle import WEIGHTS, Bundle
from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.registry import BackboneRegistry
from lesion_plugins.weights import NONE, load_pretrained, load_weights

log = structlog.get_logger(__name__)


class ClassifierOutput(NamedTuple):
    """Logits float32 ``(N, K)`` and embedding float32 ``(N, D)``."""

    logits: Tensor
    embedding: Tensor


class Classifier(nn.Module):
    """Pixels → logits and embedding. The embedding is what the backbone pools, before dropout."""

    def __init__(self, backbone: nn.Module, *, feature_dim: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(feature_dim, classes)

    def forward(self, images: Tensor) -> ClassifierOutput:
        """Classify normalised images, float32 ``(N, 3, H, W)`` in either memory format."""
        embedding: Tensor = self.backbone(images)
        return ClassifierOutput(logits=self.head(self.dropout(embedding)), embedding=embedding)

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the backbone, for a learning rate of their own."""
        return self.backbone.parameters()

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the linear layer, which are never pretrained."""
        return self.head.parameters()


def build_classifier(
    spec: BackboneSpec, *, classes: int, input_size_px: int, pretrained: str, dropout: float = 0.0
) -> tuple[Classifier, str]:
    """Build a classifier in training mode on torch's global random state, which the caller seeds.

    Args:
        spec: the backbone.
        classes: trained classes, K.
        input_size_px: side of the square images.
        pretrained: ``"none"``, ``"bundled"``, ``"hub"`` or a ``.safetensors`` file; see ``load_pretrained``.
        dropout: fraction of the embedding that is dropped before the linear layer, while training.
    Returns:
        The classifier, and the origin of its backbone's weights in words.
    Raises:
        InputSizeError: the backbone cannot take images of this size.
        WeightsError: the weights cannot be had, or do not fit.
    """
    spec.check_input_size(input_size_px)
    backbone = spec.build(input_size_px=input_size_px)
    weights_origin = load_pretrained(backbone, spec, pretrained, input_size_px=input_size_px)
    classifier = Classifier(backbone, feature_dim=spec.feature_dim, classes=classes, dropout=dropout)
    return classifier, weights_origin


def classifier_from_bundle(bundle: Bundle, registry: BackboneRegistry) -> Classifier:
    """Rebuild a bundle's classifier, in evaluation mode on the CPU.

    If the backbone comes from another distribution or version than the one it was trained with, that is
    logged; it is used if the weights fit.

    Raises:
        UnknownBackboneError: no installed plugin offers the bundle's backbone.
        InputSizeError: the backbone cannot take the bundle's images.
        BundleError: the weights were altered, or belong to another network.
    """
    trained = bundle.manifest.backbone
    installed = registry.source(trained.name)
    if (installed.distribution, installed.version) != (trained.plugin, trained.plugin_version):
        log.warning(
            "backbone_source_differed",
            backbone=trained.name,
            trained_with=f"{trained.plugin} {trained.plugin_version}",
            installed=f"{installed.distribution} {installed.version}",
        )
    classifier, _ = build_classifier(
        registry.get(trained.name),
        classes=len(bundle.manifest.taxonomy.trained),
        input_size_px=bundle.manifest.preprocess.input_size_px,
        pretrained=NONE,
    )
    load_weights(classifier, bundle.read(WEIGHTS))
    return classifier.eval()
