"""A classifier in ONNX: written from torch, run without it."""

# N images · S side of the input · K classes · D features · M metadata features

from __future__ import annotations

import copy
import importlib
import os
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lesion_core.bundle import OnnxParity
from lesion_plugins.errors import OnnxError, OnnxPackageMissingError

if TYPE_CHECKING:
    from lesion_plugins.classifier import Classifier

IMAGES, METADATA = "images", "metadata"
OUTPUTS = ("logits", "embedding", "feature_map")
LARGEST_BATCH = 1024


class OnnxOutput(NamedTuple):
    """As ``ClassifierOutput``, in numpy: float32 ``(N, K)``, ``(N, D)`` and ``(N, D, h, w)`` or ``None``."""

    logits: NDArray[np.float32]
    embedding: NDArray[np.float32]
    feature_map: NDArray[np.float32] | None


def export_onnx(classifier: Classifier, *, input_size_px: int) -> bytes:
    """Write a classifier as ONNX, for any batch of up to ``LARGEST_BATCH`` images.

    Equal classifiers give equal bytes. They hold names of layers and weights, but nothing of the machine.

    Args:
        classifier: in evaluation mode, on the CPU.
        input_size_px: S, the only size that it then takes.
    Raises:
        OnnxPackageMissingError: a package for it is not installed.
        OnnxError: torch cannot export this network.
    """
    import torch

    try:
        importlib.import_module("onnxscript")  # which torch uses; what serves needs neither
    except ImportError as error:
        raise OnnxPackageMissingError("torch needs onnxscript to export: pip install onnx onnxscript") from error
    # Training leaves weights in channels-last order, loading does not; the bytes are not to depend on it.
    classifier = copy.deepcopy(classifier).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for module in classifier.modules():
        if getattr(module, "inplace", False):  # which the exporter takes far longer over
            module.inplace = False  # type: ignore[assignment]
    batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    inputs = [torch.zeros(2, 3, input_size_px, input_size_px)]
    shapes = {IMAGES: {0: batch}}
    if classifier.metadata_features:
        inputs.append(torch.zeros(2, classifier.metadata_features))
        shapes[METADATA] = {0: batch}
    with torch.inference_mode():
        outputs = [name for name, value in zip(OUTPUTS, classifier(*inputs), strict=True) if value is not None]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about its own ways
            # Captured here: the exporter would fall back on ways that freeze the size of the batch without a word.
            captured = torch.export.export(classifier, tuple(inputs), dynamic_shapes=(*shapes.values(),))
            program = torch.onnx.export(
                captured,
                dynamo=True,
                dynamic_shapes=shapes,
                input_names=list(shapes),
                output_names=outputs,
                verbose=False,
            )
    except Exception as error:  # a stranger's network raises what it likes
        first_line = next(iter(str(error).strip().splitlines()), "no reason given")
        raise OnnxError(f"torch cannot export this network to ONNX: {type(error).__name__}: {first_line}") from error
    assert program is not None
    model = program.model_proto
    _drop_traces(model)
    return bytes(model.SerializeToString(deterministic=True))


class OnnxNetwork:
    """An exported classifier in ONNX Runtime, on the CPU. One instance a thread of requests."""

    def __init__(self, data: bytes, *, threads: int = 1) -> None:
        """Load it.

        Args:
            data: what ``export_onnx`` wrote.
            threads: that calculate.
        Raises:
            OnnxPackageMissingError: ONNX Runtime is not installed.
            OnnxError: it cannot read ``data``.
        """
        # From release 1.29 on the official builds report each model that is loaded to their makers, unless told before.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        try:
            import onnxruntime
        except ImportError as error:
            raise OnnxPackageMissingError("ONNX Runtime is not installed: pip install onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no common class
            raise OnnxError(f"ONNX Runtime cannot read this network: {error}") from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, images: NDArray[np.float32], metadata: NDArray[np.float32] | None = None) -> OnnxOutput:
        """Classify normalised images: float32 ``(N, 3, S, S)``; metadata float32 ``(N, M)`` where it takes some.

        Raises:
            OnnxError: ONNX Runtime cannot run the network on them.
        """
        inputs = {IMAGES: images} if metadata is None else {IMAGES: images, METADATA: metadata}
        try:
            answers = self._session.run(None, inputs)
        except Exception as error:  # its errors have no common class
            raise OnnxError(f"ONNX Runtime cannot run this network: {error}") from error
        found = dict(zip(self._outputs, answers, strict=True))
        return OnnxOutput(found["logits"], found["embedding"], found.get("feature_map"))


def compare_logits(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> OnnxParity:
    """How far two sets of logits ``(N, K)`` of the same images are apart."""
    return OnnxParity(
        images=len(ours),
        max_logit_gap=float(np.abs(ours - theirs).max()),
        disagreements=int((ours.argmax(axis=1) != theirs.argmax(axis=1)).sum()),
    )


def _drop_traces(model: Any) -> None:
    """Take out where in whose sources each node came from."""
    graph = model.graph
    for item in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""
