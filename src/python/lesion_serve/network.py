"""A bundle's network, ready to run: in ONNX Runtime where it was shown to answer the same there, else in torch."""

# N images · S side of the input · M metadata features

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from lesion_core.bundle import ONNX, Bundle
from lesion_core.decision.ood import NetworkOutput
from lesion_plugins.compatibility import require_served
from lesion_plugins.errors import OnnxError
from lesion_plugins.onnx_network import OnnxNetwork
from lesion_plugins.registry import BackboneRegistry

log = structlog.get_logger()

Engine = Literal["auto", "onnx", "torch"]


class Network(Protocol):
    """Normalised images float32 ``(N, 3, S, S)``, and metadata float32 ``(N, M)`` if it takes some, to an output."""

    def __call__(self, images: NDArray[np.float32], metadata: NDArray[np.float32] | None) -> NetworkOutput:
        """Run it."""
        ...


def load_network(bundle: Bundle, registry: BackboneRegistry, *, engine: Engine, threads: int) -> tuple[Network, str]:
    """Load a bundle's network.

    Args:
        bundle: verified.
        registry: of the plugins that are installed.
        engine: ``auto`` takes ONNX Runtime where the bundle's parity holds and it is installed, else torch.
        threads: that calculate, on the CPU.
    Returns:
        The network, and which engine it runs in: ``onnx`` or ``torch``.
    Raises:
        PluginMissingError, PluginVersionError: its backbone's plugin is not here in a version that serves it.
        OnnxError: ``onnx`` was asked for and cannot be had.
        BundleError: a file was altered, or its weights belong to another network.
    """
    require_served(bundle.manifest.backbone, registry)
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


def _in_onnx_runtime(network: OnnxNetwork) -> Network:
    def run(images: NDArray[np.float32], metadata: NDArray[np.float32] | None) -> NetworkOutput:
        output = network(images, metadata)
        return NetworkOutput(logits=output.logits, embeddings=output.embedding)

    return run


def _in_torch(bundle: Bundle, registry: BackboneRegistry, threads: int) -> Network:
    import torch  # half a gigabyte that a worker with ONNX Runtime does without

    from lesion_plugins.classifier import classifier_from_bundle

    torch.set_num_threads(threads)
    classifier = classifier_from_bundle(bundle, registry)

    def run(images: NDArray[np.float32], metadata: NDArray[np.float32] | None) -> NetworkOutput:
        with torch.inference_mode():
            output = classifier(torch.from_numpy(images), None if metadata is None else torch.from_numpy(metadata))
        return NetworkOutput(logits=output.logits.numpy(), embeddings=output.embedding.numpy())

    return run
