"""The network that is trained and served: a backbone with dropout and one linear layer."""

# N images · K trained classes · D features · M metadata features · H, W pixels · h, w cells of the feature map

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from typing import NamedTuple

from torch import Tensor, nn

from lesion_core.bundle import WEIGHTS, Bundle
from lesion_core.decision.metadata import metadata_features
from lesion_plugins.backbone import BackboneSpec
from lesion_plugins.compatibility import require_served
from lesion_plugins.feature_map import FeatureMap
from lesion_plugins.registry import BackboneRegistry
from lesion_plugins.weights import NONE, load_pretrained, load_weights

METADATA_WIDTH = 32


class ClassifierOutput(NamedTuple):
    """Logits float32 ``(N, K)``, embedding float32 ``(N, D)``, feature map float32 ``(N, D, h, w)`` or ``None``."""

    logits: Tensor
    embedding: Tensor
    feature_map: Tensor | None


# What the layer of the feature map put out, in the forward pass of this thread.
_layer_output: ContextVar[list[Tensor] | None] = ContextVar("_layer_output", default=None)


def _keep_output(layer: nn.Module, inputs: object, output: Tensor) -> None:
    kept = _layer_output.get()
    if kept is not None:
        kept.append(output)


class Classifier(nn.Module):
    """Pixels → logits, embedding and feature map. The embedding is what the backbone pools, before dropout.

    With ``metadata_features``, a small second branch adds what age, sex and site say to the logits; the image's own
    share stays apart, so its activation maps mean the same with and without it. The branch starts silent.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        feature_dim: int,
        classes: int,
        feature_map: FeatureMap | None = None,
        metadata_features: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(feature_dim, classes)
        self.metadata_features = metadata_features
        self.metadata_branch = _metadata_branch(metadata_features, classes) if metadata_features else None
        self._map = feature_map
        if feature_map is not None:
            backbone.get_submodule(feature_map.layer).register_forward_hook(_keep_output)

    def forward(self, images: Tensor, metadata: Tensor | None = None) -> ClassifierOutput:
        """Classify normalised images.

        Args:
            images: float32 ``(N, 3, H, W)`` in either memory format.
            metadata: float32 ``(N, M)`` as ``lesion_core.decision.metadata.encode_metadata`` makes them, where the
                classifier has a branch for them; patients of whom nothing is known have a row too.
        Raises:
            ValueError: metadata without a branch, or a branch without metadata.
        """
        if (metadata is None) != (self.metadata_branch is None):
            raise ValueError(
                "This classifier has no metadata branch." if metadata is not None else "This classifier needs metadata."
            )
        kept: list[Tensor] = []
        before = _layer_output.set(kept)
        try:
            embedding: Tensor = self.backbone(images)
        finally:
            _layer_output.reset(before)
        logits = self.head(self.dropout(embedding))
        if self.metadata_branch is not None:
            logits = logits + self.metadata_branch(metadata)
        return ClassifierOutput(logits, embedding, self._feature_map(kept[-1]) if kept else None)

    def _feature_map(self, layer_output: Tensor) -> Tensor:
        assert self._map is not None
        cells = self._map.reshape(layer_output)
        if self._map.norm is None:
            return cells
        norm = self.backbone.get_submodule(self._map.norm)
        assert isinstance(norm, nn.LayerNorm)
        spread = cells.mean(dim=(2, 3)).var(dim=1, correction=0) + norm.eps
        centred = cells - cells.mean(dim=1, keepdim=True)
        normed = centred * spread.rsqrt()[:, None, None, None]
        return normed * norm.weight[:, None, None] + norm.bias[:, None, None]

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters that are never pretrained: of the linear layer, and of the metadata branch."""
        yield from self.head.parameters()
        if self.metadata_branch is not None:
            yield from self.metadata_branch.parameters()


def _metadata_branch(features: int, classes: int) -> nn.Sequential:
    last = nn.Linear(METADATA_WIDTH, classes)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(features, METADATA_WIDTH), nn.GELU(), last)


def build_classifier(
    spec: BackboneSpec,
    *,
    classes: int,
    input_size_px: int,
    pretrained: str,
    metadata_features: int = 0,
    dropout: float = 0.0,
) -> tuple[Classifier, str]:
    """Build a classifier in training mode on torch's global random state, which the caller seeds.

    Args:
        spec: the backbone.
        classes: trained classes, K.
        input_size_px: side of the square images.
        pretrained: ``"none"``, ``"bundled"``, ``"hub"`` or a ``.safetensors`` file; see ``load_pretrained``.
        metadata_features: M, of the metadata branch; 0 for none.
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
    classifier = Classifier(
        backbone,
        feature_dim=spec.feature_dim,
        classes=classes,
        feature_map=spec.feature_map,
        metadata_features=metadata_features,
        dropout=dropout,
    )
    return classifier, weights_origin


def classifier_from_bundle(bundle: Bundle, registry: BackboneRegistry) -> Classifier:
    """Rebuild a bundle's classifier, in evaluation mode on the CPU.

    Raises:
        PluginMissingError: the plugin that it was trained with is not installed.
        PluginVersionError: the plugin is installed in a version that does not serve the bundle.
        InputSizeError: the backbone cannot take the bundle's images.
        BundleError: the weights were altered, or belong to another network.
    """
    sites = bundle.manifest.metadata_sites
    classifier, _ = build_classifier(
        require_served(bundle.manifest.backbone, registry),
        classes=len(bundle.manifest.taxonomy.trained),
        input_size_px=bundle.manifest.preprocess.input_size_px,
        pretrained=NONE,
        metadata_features=0 if sites is None else metadata_features(sites),
    )
    load_weights(classifier, bundle.read(WEIGHTS))
    return classifier.eval()
