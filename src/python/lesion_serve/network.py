"""A bundle's network, ready to run: in ONNX Runtime where it was shown to answer the same there, else in torch."""

# N images · S side of the input · K classes · D features · M metadata features · h, w cells of the feature map

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import attrs
import numpy as np
import safetensors.numpy
import structlog
from numpy.typing import NDArray

from lesion_core.bundle import ONNX, WEIGHTS, Bundle
from lesion_core.decision.ood import NetworkOutput
from lesion_plugins.compatibility import require_served
from lesion_plugins.errors import OnnxError
from lesion_plugins.onnx_network import OnnxNetwork
from lesion_plugins.registry import BackboneRegistry

log = structlog.get_logger()

HEAD_WEIGHT = "head.weight"  # of the classifier, among a bundle's weights
Engine = Literal["auto", "onnx", "torch"]
Images = NDArray[np.float32]
Metadata = NDArray[np.float32] | None


class NetworkAnswer(NamedTuple):
    """What a network says of N images, and its feature map float32 ``(N, D, h, w)`` where its backbone has one."""

    output: NetworkOutput
    feature_map: NDArray[np.float32] | None


@attrs.frozen(kw_only=True)
class Network:
    """A network that runs.

    Attributes:
        run: normalised images float32 ``(N, 3, S, S)``, and metadata float32 ``(N, M)`` if it takes some, to an answer.
        engine: that it runs in, ``onnx`` or ``torch``.
        head_weight: float32 ``(K, D)``, of the linear layer.
        is_pooled_by_mean: whether the embedding is the mean of the feature map; see ``FeatureMap``.
    """

    run: Callable[[Images, Metadata], NetworkAnswer]
    engine: str
    head_weight: NDArray[np.float32] = attrs.field(repr=False)
    is_pooled_by_mean: bool


def load_network(bundle: Bundle, registry: BackboneRegistry, *, engine: Engine, threads: int) -> Network:
    """Load a bundle's network.

    Args:
        bundle: verified.
        registry: of the plugins that are installed.
        engine: ``auto`` takes ONNX Runtime where the bundle's parity holds and it is installed, else torch.
        threads: that calculate, on the CPU.
    Raises:
        PluginMissingError, PluginVersionError: its backbone's plugin is not here in a version that serves it.
        OnnxError: ``onnx`` was asked for and cannot be had.
        BundleError: a file was altered, or its weights belong to another network.
    """
    spec = require_served(bundle.manifest.backbone, registry)
    run, became = _load(bundle, registry, engine, threads)
    # Read from the file for both: the network in ONNX Runtime has it too, but under a name of the exporter's.
    head_weight = safetensors.numpy.load(bundle.read(WEIGHTS))[HEAD_WEIGHT]
    return Network(
        run=run,
        engine=became,
        head_weight=head_weight,
        is_pooled_by_mean=spec.feature_map is not None and spec.feature_map.is_pooled_by_mean,
    )


def _load(
    bundle: Bundle, registry: BackboneRegistry, engine: Engine, threads: int
) -> tuple[Callable[[Images, Metadata], NetworkAnswer], str]:
    parity = bundle.manifest.onnx_parity
    if engine != "torch" and parity is not None and parity.holds:
        try:
            return _in_onnx_runtime(OnnxNetwork(bundle.read(ONNX), threads=threads)), "onnx"
        except OnnxError as error:
            if engine == "onnx":
                raise
            log.warning("onnx_unavailable", reason=error.message, instead="torch")
    if engine == "onnx":
        raise OnnxError(
            "This bundle has no network for ONNX Runtime that answers as torch does. Serve it with torch, or make it "
            "one: lesion-train export BUNDLE"
        )
    return _in_torch(bundle, registry, threads), "torch"


def _in_onnx_runtime(network: OnnxNetwork) -> Callable[[Images, Metadata], NetworkAnswer]:
    def run(images: Images, metadata: Metadata) -> NetworkAnswer:
        answer = network(images, metadata)
        return NetworkAnswer(NetworkOutput(logits=answer.logits, embeddings=answer.embedding), answer.feature_map)

    return run


def _in_torch(bundle: Bundle, registry: BackboneRegistry, threads: int) -> Callable[[Images, Metadata], NetworkAnswer]:
    import torch  # half a gigabyte that a worker with ONNX Runtime does without

    from lesion_plugins.classifier import classifier_from_bundle

    torch.set_num_threads(threads)
    classifier = classifier_from_bundle(bundle, registry)

    def run(images: Images, metadata: Metadata) -> NetworkAnswer:
        with torch.inference_mode():
            answer = classifier(torch.from_numpy(images), None if metadata is None else torch.from_numpy(metadata))
        return NetworkAnswer(
            NetworkOutput(logits=answer.logits.numpy(), embeddings=answer.embedding.numpy()),
            None if answer.feature_map is None else answer.feature_map.numpy(),
        )

    return run
